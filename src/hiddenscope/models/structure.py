"""Where a model keeps its blocks and its final norm, found out rather than assumed.

The blocks are those that the transformers class declares as recordable hidden states. What
follows them, whether the model is causal, and which site each entry of Hugging Face's
``hidden_states`` holds is read off one forward pass over a few tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils.output_capturing import OutputRecorder

from hiddenscope.errors import ModelError
from hiddenscope.sites import Site, trunk

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_TOKENS = 6


@dataclass(frozen=True)
class Structure:
    """The modules that the trunk passes through.

    Attributes
    ----------
    blocks : tuple of Module
        In the order of calls.
    block_paths : tuple of str
    output_index : int
        Where in a block's output tuple the hidden state is.
    final_norm : Module or None
        What turns the last block's output into the model's output.
    final_norm_path : str or None
    width : int
        Channels of the residual stream.
    causal : bool
        Whether a token's states depend on earlier tokens only.
    hf : dict of str to int
        Site → index in Hugging Face's ``hidden_states``.
    found : str
        How the blocks were found, in words.
    """

    blocks: tuple[torch.nn.Module, ...]
    block_paths: tuple[str, ...]
    output_index: int
    final_norm: torch.nn.Module | None
    final_norm_path: str | None
    width: int
    causal: bool
    hf: dict[str, int]
    found: str

    @property
    def sites(self) -> tuple[Site, ...]:
        """The trunk."""
        return trunk(len(self.blocks), final_norm=self.final_norm is not None)

    @property
    def hf_sites(self) -> tuple[Site, ...]:
        """The sites of Hugging Face's ``hidden_states`` tuple, in its order."""
        return tuple(Site(name) for name, _ in sorted(self.hf.items(), key=lambda item: item[1]))


def hidden_state(output: Any, index: int = 0) -> torch.Tensor:
    """Take the hidden state out of what a block returned."""
    state: torch.Tensor = output[index] if isinstance(output, tuple | list) else output
    return state


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """Take the hidden state out of what a block was called with."""
    state: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return state


def inspect(model: PreTrainedModel) -> Structure:
    """Find a model's blocks and final norm.

    Parameters
    ----------
    model : PreTrainedModel
        A base model without a head.

    Returns
    -------
    Structure

    Raises
    ------
    ModelError
        The class does not declare its blocks, or is an encoder-decoder.
    """
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        msg = f"{name} is an encoder-decoder, which is not supported yet: use a decoder or encoder"
        raise ModelError(msg)
    recorder, found = _declaration(model)
    candidates = {
        module: path for path, module in model.named_modules() if _is_block(module, path, recorder)
    }
    if not candidates:
        msg = (
            f"cannot find the blocks of {name}: transformers declares {found} as its blocks, "
            "but the model holds none"
        )
        raise ModelError(msg)
    probe = _Probe(model, candidates, recorder.index)
    probe.run()
    return probe.structure(name, found)


def _declaration(model: PreTrainedModel) -> tuple[OutputRecorder, str]:
    declared = (getattr(model, "_can_record_outputs", None) or {}).get("hidden_states")
    if isinstance(declared, list):
        declared = declared[0] if len(declared) == 1 else None
    if declared is None:
        msg = (
            f"cannot find the blocks of {type(model).__name__}: its class does not declare what "
            "its hidden states are (_can_record_outputs), so nothing is measured rather than "
            "something guessed"
        )
        raise ModelError(msg)
    if isinstance(declared, str):
        declared = OutputRecorder(target_class=None, class_name=declared)
    elif not isinstance(declared, OutputRecorder):
        declared = OutputRecorder(target_class=declared)
    target = declared.target_class.__name__ if declared.target_class else declared.class_name
    return declared, str(target)


def _is_block(module: torch.nn.Module, path: str, recorder: OutputRecorder) -> bool:
    of_class = recorder.target_class is not None and isinstance(module, recorder.target_class)
    of_name = recorder.class_name is not None and path.endswith(recorder.class_name)
    if not (of_class or of_name):
        return False
    layer = recorder.layer_name
    return layer is None or f".{layer.strip('.')}." in f".{path}."


class _Probe:
    """One forward pass over a few tokens, with every call written down."""

    def __init__(
        self,
        model: PreTrainedModel,
        candidates: dict[torch.nn.Module, str],
        output_index: int,
    ) -> None:
        self.model = model
        self.candidates = candidates
        self.output_index = output_index
        self.paths = {module: path for path, module in model.named_modules()}
        self.calls: list[torch.nn.Module] = []
        self.inputs: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []
        # Modules called with the last block's output, with what they returned.
        self.after: list[tuple[torch.nn.Module, torch.Tensor]] = []

    def run(self) -> None:
        """Run two sequences that differ in the last token only."""
        vocabulary = int(self.model.config.vocab_size)
        ids = torch.arange(PROBE_TOKENS, device=self.model.device) % vocabulary
        ids = torch.stack([ids, ids])
        ids[1, -1] = (ids[1, -1] + 1) % vocabulary
        handles = [m.register_forward_hook(self._hook, with_kwargs=True) for m in self.paths]
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                result = self.model(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    output_hidden_states=True,
                    return_dict=True,
                )
        finally:
            self.model.train(training)
            for handle in handles:
                handle.remove()
        self.last = result.last_hidden_state
        self.hf_states = tuple(result.hidden_states or ())

    def _hook(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if module in self.candidates:
            self.calls.append(module)
            self.inputs.append(block_input(args, kwargs).clone())
            self.outputs.append(hidden_state(output, self.output_index).clone())
            self.after.clear()
        elif self.outputs and module is not self.model and isinstance(output, torch.Tensor):
            given = args[0] if args else next(iter(kwargs.values()), None)
            if isinstance(given, torch.Tensor) and same_bits(given, self.outputs[-1]):
                self.after.append((module, output.clone()))

    def structure(self, name: str, found: str) -> Structure:
        """Put the findings together."""
        if not self.calls:
            msg = f"cannot find the blocks of {name}: no {found} was called in a forward pass"
            raise ModelError(msg)
        if len(set(self.calls)) < len(self.calls):
            msg = f"{name} calls the same block several times, which is not supported yet"
            raise ModelError(msg)
        for i, (out, into) in enumerate(zip(self.outputs, self.inputs[1:], strict=False)):
            if not same_bits(out, into):
                msg = (
                    f"the blocks of {name} ({found}) are not one chain: block {i + 1} does not "
                    f"read what block {i} wrote, so its residual stream cannot be told"
                )
                raise ModelError(msg)
        norm = next((m for m, out in self.after if same_bits(out, self.last)), None)
        if norm is None and not same_bits(self.last, self.outputs[-1]):
            msg = (
                f"cannot tell how {name} makes its output from its last block: no module turns "
                "the one into the other"
            )
            raise ModelError(msg)
        return Structure(
            blocks=tuple(self.calls),
            block_paths=tuple(self.candidates[m] for m in self.calls),
            output_index=self.output_index,
            final_norm=norm,
            final_norm_path=self.paths[norm] if norm is not None else None,
            width=int(self.outputs[-1].shape[-1]),
            causal=self._causal(),
            hf=self._hf(has_norm=norm is not None),
            found=f"declared by transformers ({found})",
        )

    def _causal(self) -> bool:
        # The rows differ in the last token alone: in a causal model nothing before it changes.
        before = self.last[:, :-1].float()
        return bool(torch.allclose(before[0], before[1], rtol=1e-3, atol=1e-5))

    def _hf(self, *, has_norm: bool) -> dict[str, int]:
        sites = trunk(len(self.calls), final_norm=has_norm)
        states = [self.inputs[0], *self.outputs, *([self.last] if has_norm else [])]
        mapping: dict[str, int] = {}
        for index, held in enumerate(self.hf_states):
            # The last entry may be the last block or the final norm; should they be equal
            # (a norm that changes nothing), it is what transformers ties: the output.
            tied = index == len(self.hf_states) - 1
            matches = [s.name for s, x in zip(sites, states, strict=True) if same_bits(x, held)]
            matches = [m for m in matches if m not in mapping]
            if matches:
                mapping[matches[-1] if tied else matches[0]] = index
        return mapping


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit, so that equal NaN are equal."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = (x.contiguous().view(torch.uint8) for x in (a, b))
    return bool(torch.equal(a, b))
