"""What a run checks of itself: inside its first forward pass, and against one without hooks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.capture.hooks import Capture
from hiddenscope.models import block_input, hidden_state, same_bits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hiddenscope.models import Structure

MAX_ROWS = 2
MAX_TOKENS = 256


@dataclass(frozen=True)
class Check:
    """One thing that a run checked.

    Attributes
    ----------
    name : str
    passed : bool
    detail : str
        What was found, in words.
    level : {'check', 'warning', 'note'}
        A failed ``check`` means that the numbers cannot be trusted; a ``warning`` is a
        property of the data that a reader should know; a ``note`` is only told.
    """

    name: str
    passed: bool
    detail: str
    level: str = "check"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


class Watch:
    """Hooks that check one forward pass, the measured one itself, and are gone after it.

    Each block must read bitwise what the one before it wrote, and what follows the last block,
    applied to its output, must give bitwise what the model returns. One state is kept at a time.

    Parameters
    ----------
    model : PreTrainedModel
        The base model.
    structure : Structure

    Attributes
    ----------
    checks : list of Check
        Empty until a forward pass is complete.
    """

    def __init__(self, model: PreTrainedModel, structure: Structure) -> None:
        self.structure = structure
        self.checks: list[Check] = []
        self._broken: list[int] = []
        self._seen = 0
        self._last: torch.Tensor | None = None
        self._handles = [
            handle
            for i, block in enumerate(structure.blocks)
            for handle in (
                block.register_forward_pre_hook(self._reads(i), with_kwargs=True),
                block.register_forward_hook(self._writes(i)),
            )
        ]
        self._handles.append(model.register_forward_hook(self._finish))

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _reads(self, number: int) -> Any:
        def hook(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if number == 0:
                # A forward pass that was broken off before says nothing about this one.
                self._seen, self._broken = 0, []
            elif self._last is None or not same_bits(block_input(args, kwargs), self._last):
                self._broken.append(number)

        return hook

    def _writes(self, number: int) -> Any:
        def hook(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            # A copy: should a later module change it in place, the next comparison shows it.
            self._last = hidden_state(output, self.structure.output_index[number]).detach().clone()
            self._seen += 1

        return hook

    @torch.no_grad()
    def _finish(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        if self._last is not None and not self.checks:
            result = output[0] if isinstance(output, tuple) else output.last_hidden_state
            self.checks = [self._check_chain(), self._check_final(result)]
        self._last = None
        self.remove()

    def _check_chain(self) -> Check:
        blocks = len(self.structure.blocks)
        if self._seen != blocks:
            detail = f"{self._seen} calls of blocks were seen, expected {blocks}"
        elif self._broken:
            at = self._broken[0]
            detail = f"block {at} does not read what was captured after block {at - 1}"
        else:
            detail = f"the input of each of {blocks} blocks is bitwise the output of the one before"
        return Check("residual stream", not self._broken and self._seen == blocks, detail)

    def _check_final(self, result: torch.Tensor) -> Check:
        structure, last = self.structure, self._last
        assert last is not None
        if structure.output is None:
            passed = same_bits(last, result)
            detail = "the last block's output is bitwise last_hidden_state; there is no final norm"
        else:
            passed = same_bits(hidden_state(structure.output.forward(last)), result)
            what = "the final norm"
            if structure.final_norm is None:
                what = f"{structure.output_path}, which is no site as it changes the width,"
            detail = f"{what} of the last block's output is bitwise last_hidden_state"
        return Check("final norm", passed, detail if passed else f"does not hold: {detail}")


@torch.no_grad()
def verify(
    model: PreTrainedModel,
    structure: Structure,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
) -> list[Check]:
    """Run a small part of the first batch with and without hooks and compare.

    Parameters
    ----------
    model : PreTrainedModel
    structure : Structure
    input_ids, attention_mask : Tensor[batch, pos]
        Only the first rows and positions are used.

    Returns
    -------
    list of Check
    """
    ids, mask = (t[:MAX_ROWS, : MAX_TOKENS // MAX_ROWS] for t in (input_ids, attention_mask))
    call = {"input_ids": ids, "attention_mask": mask, "return_dict": True, "use_cache": False}
    plain = model(**call, output_hidden_states=True)
    states: dict[str, torch.Tensor] = {}
    with Capture(
        model, structure, structure.sites, take=lambda name, x: states.update({name: x.clone()})
    ):
        hooked = model(**call)
    return [
        _check_hf(structure, states, tuple(plain.hidden_states or ())),
        _check_unchanged(hooked.last_hidden_state, plain.last_hidden_state),
    ]


def _check_hf(
    structure: Structure, states: dict[str, torch.Tensor], plain: tuple[torch.Tensor, ...]
) -> Check:
    if not plain:
        return Check("hidden_states", False, "the model returns no hidden_states to compare with")
    by_index = {index: name for name, index in structure.hf.items()}
    # What has another width than the residual stream is the model's output and no site.
    held = {i: x for i, x in enumerate(plain) if x.shape[-1] == structure.width}
    wrong = [
        i
        for i, x in held.items()
        if by_index.get(i) not in states or not same_bits(states[by_index[i]], x)
    ]
    if wrong:
        detail = f"entry {wrong[0]} of Hugging Face's hidden_states is not what was captured"
        return Check("hidden_states", False, detail)
    end = {"final_norm": "the final norm", None: structure.output_path}
    last = end.get(by_index.get(len(plain) - 1), "the last block")
    what = f"all {len(plain)} entries of Hugging Face's hidden_states are"
    if len(held) < len(plain):
        what = f"the {len(held)} entries of Hugging Face's hidden_states of the stream's width are"
    detail = f"{what} bitwise what was captured; its last entry is the output of {last}"
    return Check("hidden_states", True, detail)


def _check_unchanged(hooked: torch.Tensor, plain: torch.Tensor) -> Check:
    passed = same_bits(hooked, plain)
    detail = "the output with our hooks is bitwise the output without"
    return Check("hooks", passed, detail if passed else f"does not hold: {detail}")
