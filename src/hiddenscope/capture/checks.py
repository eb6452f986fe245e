"""What a run checks of itself on its first batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.capture.hooks import Capture
from hiddenscope.models import block_input, same_bits

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
    call = {"input_ids": ids, "attention_mask": mask, "return_dict": True}
    plain = model(**call, output_hidden_states=True)
    states: dict[str, torch.Tensor] = {}
    inputs: list[torch.Tensor] = []
    handles = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs: inputs.append(block_input(args, kwargs).clone()),
            with_kwargs=True,
        )
        for block in structure.blocks
    ]
    try:
        with Capture(
            model, structure, structure.sites, take=lambda name, x: states.update({name: x.clone()})
        ):
            hooked = model(**call)
    finally:
        for handle in handles:
            handle.remove()
    return [
        _check_chain(states, inputs),
        _check_final(structure, states, hooked.last_hidden_state),
        _check_hf(structure, states, tuple(plain.hidden_states or ())),
        _check_unchanged(hooked.last_hidden_state, plain.last_hidden_state),
    ]


def _check_chain(states: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> Check:
    broken = [
        i
        for i, given in enumerate(inputs[1:])
        if not same_bits(given, states[f"block.{i}.resid_post"])
    ]
    detail = (
        f"block {broken[0] + 1} does not read what was captured after block {broken[0]}"
        if broken
        else f"the input of each of {len(inputs)} blocks is bitwise the output of the one before"
    )
    return Check("residual stream", not broken, detail)


def _check_final(
    structure: Structure, states: dict[str, torch.Tensor], last: torch.Tensor
) -> Check:
    final = states[f"block.{len(structure.blocks) - 1}.resid_post"]
    if structure.final_norm is None:
        passed = same_bits(final, last)
        detail = "the last block's output is bitwise last_hidden_state; there is no final norm"
    else:
        passed = same_bits(structure.final_norm(final.clone()), last) and same_bits(
            states["final_norm"], last
        )
        detail = "the final norm of the last block's output is bitwise last_hidden_state"
    return Check("final norm", passed, detail if passed else f"does not hold: {detail}")


def _check_hf(
    structure: Structure, states: dict[str, torch.Tensor], plain: tuple[torch.Tensor, ...]
) -> Check:
    if not plain:
        return Check("hidden_states", False, "the model returns no hidden_states to compare with")
    by_index = {index: name for name, index in structure.hf.items()}
    wrong = [
        i
        for i, x in enumerate(plain)
        if by_index.get(i) not in states or not same_bits(states[by_index[i]], x)
    ]
    if wrong:
        detail = f"entry {wrong[0]} of Hugging Face's hidden_states is not what was captured"
    else:
        last = "the final norm" if by_index[len(plain) - 1] == "final_norm" else "the last block"
        detail = (
            f"all {len(plain)} entries of Hugging Face's hidden_states are bitwise what was "
            f"captured; its last entry is the output of {last}"
        )
    return Check("hidden_states", not wrong, detail)


def _check_unchanged(hooked: torch.Tensor, plain: torch.Tensor) -> Check:
    passed = same_bits(hooked, plain)
    detail = "the output with our hooks is bitwise the output without"
    return Check("hooks", passed, detail if passed else f"does not hold: {detail}")
