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
    output_index : tuple of int
        Where in each block's output tuple the hidden state is.
    output : Module or None
        What turns the last block's output into the model's output; None where that is the same.
    output_path : str or None
    output_width : int
        Channels of the model's output.
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
    output_index: tuple[int, ...]
    output: torch.nn.Module | None
    output_path: str | None
    output_width: int
    width: int
    causal: bool
    hf: dict[str, int]
    found: str

    @property
    def final_norm(self) -> torch.nn.Module | None:
        """What follows the last block, a site where it keeps the residual stream's width.

        A projection to another width (OPT 350m) is the model's output, but no site.
        """
        return self.output if self.output_width == self.width else None

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
    recorders, found = _declaration(model)
    candidates = {
        module: (path, recorder.index)
        for path, module in model.named_modules()
        for recorder in recorders
        if _is_block(module, path, recorder)
    }
    if not candidates:
        msg = (
            f"cannot find the blocks of {name}: transformers declares {found} as its blocks, "
            "but the model holds none"
        )
        raise ModelError(msg)
    probe = _Probe(model, candidates)
    probe.run()
    return probe.structure(name, found)


def _declaration(model: PreTrainedModel) -> tuple[list[OutputRecorder], str]:
    declared = (getattr(model, "_can_record_outputs", None) or {}).get("hidden_states")
    if not declared:
        msg = (
            f"cannot find the blocks of {type(model).__name__}: its class does not declare what "
            "its hidden states are (_can_record_outputs), so nothing is measured rather than "
            "something guessed"
        )
        raise ModelError(msg)
    # A hybrid declares several kinds of blocks (Jamba: attention and Mamba).
    recorders = [_recorder(d) for d in (declared if isinstance(declared, list) else [declared])]
    names = [str(r.target_class.__name__ if r.target_class else r.class_name) for r in recorders]
    return recorders, ", ".join(names)


def _recorder(declared: Any) -> OutputRecorder:
    if isinstance(declared, OutputRecorder):
        return declared
    if isinstance(declared, str):
        return OutputRecorder(target_class=None, class_name=declared)
    return OutputRecorder(target_class=declared)


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
        candidates: dict[torch.nn.Module, tuple[str, int]],
    ) -> None:
        self.model = model
        self.candidates = candidates
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
                    use_cache=False,
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
            index = self.candidates[module][1]
            self.outputs.append(hidden_state(output, index).clone())
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
        end = next((m for m, out in self.after if same_bits(out, self.last)), None)
        if end is None and not same_bits(self.last, self.outputs[-1]):
            msg = (
                f"cannot tell how {name} makes its output from its last block: no module turns "
                "the one into the other"
            )
            raise ModelError(msg)
        return Structure(
            blocks=tuple(self.calls),
            block_paths=tuple(self.candidates[m][0] for m in self.calls),
            output_index=tuple(self.candidates[m][1] for m in self.calls),
            output=end,
            output_path=self.paths[end] if end is not None else None,
            output_width=int(self.last.shape[-1]),
            width=int(self.outputs[-1].shape[-1]),
            causal=self._causal(),
            hf=self._hf(has_norm=end is not None),
            found=f"declared by transformers ({found})",
        )

    def _causal(self) -> bool:
        # The rows differ in the last token alone: in a causal model nothing before it changes,
        # neither in the output nor, should that be NaN, in any block.
        return all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
            for a, b in (x[:, :-1].float() for x in (*self.outputs, self.last))
        )

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
