"""Finding a model's structure: found out by a forward pass over a few tokens, not assumed.

The blocks are those that the transformers class declares as recordable hidden states; for a
class that declares none, those of a list of modules with a usual name (`BLOCK_LISTS`), provided
that Hugging Face's ``hidden_states`` confirm every one of them. What follows the blocks, whether a
stream is causal, and which site each entry of ``hidden_states`` holds is read off the pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.errors import ModelError
from hiddenscope.models.anatomy import dissect
from hiddenscope.models.blocks import BLOCK_LISTS, candidates, fills_up, parts_of_blocks
from hiddenscope.models.calling import forward_arguments, forward_pass, plain_ids
from hiddenscope.models.heads import look_around
from hiddenscope.models.linear import linear_layers
from hiddenscope.models.packing import keeps_apart
from hiddenscope.models.restoring import left_alone
from hiddenscope.models.structure import DECODER, ENCODER, RESIDUAL, Stream, Structure
from hiddenscope.models.taps import (
    BATCH_FIRST,
    Tap,
    block_input,
    layout_of,
    same_bits,
    tensors_in,
    turns_into,
)
from hiddenscope.models.trace import Trace
from hiddenscope.sites import trunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from hiddenscope.models.anatomy import Anatomy

PROBE_TOKENS = 6


def find_structure(model: PreTrainedModel, outer: PreTrainedModel | None = None) -> Structure:
    """Find a model's blocks, their points, its final norm, and what its linear layers read.

    Parameters
    ----------
    model : PreTrainedModel
        A base model without a head. It is left as it was.
    outer : PreTrainedModel, optional
        The same model with its head, by whose names linear layers are called.

    Returns
    -------
    Structure

    Raises
    ------
    ModelError
        The blocks cannot be found, or are not one chain through the model.
    """
    owners: dict[str, torch.nn.Module] = {RESIDUAL: model}
    if getattr(model.config, "is_encoder_decoder", False):
        owners = {ENCODER: model.get_encoder(), DECODER: model.get_decoder()}
    paths = {module: path for path, module in model.named_modules()}
    with left_alone(model):
        kind = type(model).__name__
        probes: list[_Probe] = []
        for name, owner in owners.items():
            probes.append(_Probe(name, owner, paths, kind, probes[-1] if probes else None))
        call, result = _run(model, probes)
        streams = tuple(probe.stream(result) for probe in probes)
        around = look_around(outer, model, call, result, probes[-1].last)
        return Structure(streams, linear_layers(streams, model, around))


def _run(model: PreTrainedModel, probes: Sequence[_Probe]) -> tuple[dict[str, Any], Any]:
    """Run rows that differ in their last token only, of the text or of what a decoder reads."""
    plain = plain_ids(model, PROBE_TOKENS + 1)
    rows = torch.tensor([plain[:-1], [*plain[:-2], plain[-1]], plain[:-1]], device=model.device)
    call = forward_arguments(model, rows, torch.ones_like(rows))
    if "decoder_input_ids" in call:
        # Shorter than the text, so that a state of the one is never taken for the other's.
        decoder = call["decoder_input_ids"][[0, 0, 0], :-1].clone()
        decoder[2, -1] = plain[-1]
        call["decoder_input_ids"] = decoder
        call["decoder_attention_mask"] = torch.ones_like(decoder)
    try:
        for probe in probes:
            start = "decoder_" if probe.name == DECODER else ""
            probe.length = call.get(f"{start}input_ids", rows).shape[1]
            probe.masked = f"{start}attention_mask" in call
            probe.hook()
        with forward_pass(type(model).__name__, f"{rows.shape[1]} tokens"):
            return call, model(**call, output_hidden_states=True, return_dict=True)
    finally:
        for probe in probes:
            probe.unhook()


class _Probe:
    """What one forward pass over a few tokens shows of a stream."""

    def __init__(
        self,
        name: str,
        owner: torch.nn.Module,
        paths: dict[torch.nn.Module, str],
        model: str,
        before: _Probe | None,
    ) -> None:
        self.name, self.owner, self.model, self.before = name, owner, model, before
        self.paths = {module: paths[module] for module in owner.modules()}
        self.candidates, self.declared = candidates(owner, self.paths)
        # Of blocks that no module is: what they are made of, and the first block that a module is
        # part of, as XLM's share an activation.
        self.parts = parts_of_blocks(owner, self.paths)
        self.part_of = {
            m: i
            for i, parts in reversed([*enumerate(self.parts)])
            for part in parts.values()
            for m in part.modules()
        }
        named = [part for parts in self.parts for part in parts.values()] or self.candidates
        kinds = ", ".join(dict.fromkeys(type(m).__name__ for m in named))
        self.found = (
            f"declared by transformers ({kinds})" if self.declared else f"by name ({kinds})"
        )
        self.calls: dict[torch.nn.Module, int] = {}
        self.trace: Trace | None = None
        self.blocks: list[Tap] = []
        self.entries: list[Tap] = []
        self.inputs: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []
        # How many tokens the owner is given, and whether with a mask.
        self.length, self.masked = PROBE_TOKENS, False
        self.crops = fills_up(owner)
        self.anatomies: list[Anatomy] = []
        # Modules called with the last block's output.
        self.after: list[tuple[torch.nn.Module, int]] = []
        self.last: torch.Tensor | None = None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def hook(self) -> None:
        """Watch every module of the stream."""
        for module in self.paths:
            self._handles += [
                module.register_forward_pre_hook(self._enter, with_kwargs=True),
                module.register_forward_hook(self._leave, with_kwargs=True),
            ]

    def unhook(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = self.calls[module] = self.calls.get(module, -1) + 1
        path = self.paths[module]
        if module is self.owner and self.masked and kwargs.get("attention_mask") is None:
            msg = (
                f"{type(module).__name__} is not told by attention_mask which of its tokens are "
                "padding, so padding would be counted"
            )
            raise ModelError(msg)
        number = self.part_of.get(module, -1)
        if number >= len(self.entries):
            # A block that no module is ends where the next one begins.
            key, state = block_input(args, kwargs)
            if self.trace is not None:
                self._end(state, path, "input", key, call)
            self._begin(self.parts[number], state, path, key, call)
        if self.trace is not None:
            if number >= 0 or not self.parts:
                self.trace.enter(module, path, call, args, kwargs)
        elif module in self.candidates:
            key, state = block_input(args, kwargs)
            self._begin({path: module}, state, path, key, call)

    def _leave(
        self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any], output: Any
    ) -> None:
        call, path = self.calls[module], self.paths[module]
        if module is self.owner:
            last = getattr(output, "last_hidden_state", None)
            self.last = (output[0] if last is None else last).clone()
            if self.trace is not None and self.parts:
                self._end(self.last, path, "output", 0, call)
        elif self.trace is not None and path == self.trace.path and not self.parts:
            key = self.candidates[module]
            state = output if isinstance(output, torch.Tensor) else output[key]
            self._end(state, path, "output", key, call)
        elif self.trace is not None:
            if module in self.part_of or not self.parts:
                self.trace.leave(module, path, call, output)
        elif self.outputs:
            given = next(iter(tensors_in(args, kwargs).values()), None)
            if given is not None and same_bits(given, self.outputs[-1]):
                self.after.append((module, call))

    def _begin(
        self,
        parts: dict[str, torch.nn.Module],
        state: torch.Tensor,
        path: str,
        key: int | str,
        call: int,
    ) -> None:
        tap, state = self._tap(state, path, "input", key, call)
        self.entries.append(tap)
        self.inputs.append(self._of_tokens(state))
        encoded = None if self.before is None else self.before.last
        self.trace = Trace(parts, state, encoded, tap.axes)
        self.after.clear()

    def _end(self, state: torch.Tensor, path: str, side: str, key: int | str, call: int) -> None:
        tap, state = self._tap(state, path, side, key, call)
        self.blocks.append(tap)
        self.outputs.append(self._of_tokens(state))
        assert self.trace is not None
        trace, self.trace = self.trace, None
        self.anatomies.append(dissect(trace, state))

    def _of_tokens(self, state: torch.Tensor) -> torch.Tensor:
        return state[:, : self.length] if self.crops else state

    def _tap(
        self, state: torch.Tensor, path: str, side: str, key: int | str, call: int
    ) -> tuple[Tap, torch.Tensor]:
        """Return where a state of the stream passes, and a copy of it as [batch, pos, channel]."""
        axes = layout_of(state, 3, self.length) or BATCH_FIRST
        if state.ndim != 3 or state.permute(axes).shape[0] != 3:
            msg = (
                f"{path} of {self.model} passes on states of shape {tuple(state.shape)} for "
                f"3 texts of {PROBE_TOKENS} tokens: expected [batch, pos, channel], so its "
                "residual stream cannot be told"
            )
            raise ModelError(msg)
        # A tensor of its own: a later module may change this one in place.
        state = state.permute(axes).clone(memory_format=torch.contiguous_format)
        width = int(state.shape[-1])
        return Tap(path=path, side=side, key=key, call=call, width=width, axes=axes), state

    def stream(self, result: Any) -> Stream:
        """Put the findings together."""
        if not self.blocks or self.last is None:
            where = f"its class declares {self.found.partition('(')[2].rstrip(')')}, but calls none"
            if not self.declared:
                where = (
                    "its class does not declare them (_can_record_outputs), and no list of modules "
                    f"called {', '.join(BLOCK_LISTS)} holds any that its forward pass calls"
                )
            msg = (
                f"cannot find the blocks of {self.model}: {where}, so nothing is measured rather "
                "than something guessed"
            )
            raise ModelError(msg)
        for i, (out, into) in enumerate(zip(self.outputs, self.inputs[1:], strict=False)):
            if not same_bits(out, into):
                msg = (
                    f"the blocks of {self.model} ({self.found}) are not one chain: block {i + 1} "
                    f"does not read what block {i} wrote, so its residual stream cannot be told"
                )
                raise ModelError(msg)
        last = self.outputs[-1]
        end = next(((m, n) for m, n in self.after if turns_into(m, last, self.last)), None)
        if end is None and not same_bits(self.last, last):
            msg = (
                f"cannot tell how {self.model} makes its output from its last block: no module "
                "turns the one into the other"
            )
            raise ModelError(msg)
        names = {RESIDUAL: "hidden_states"}
        key = names.get(self.name, f"{self.name}_hidden_states")
        held = tuple(getattr(result, key, None) or ())
        if strange := [i for i, x in enumerate(held) if not isinstance(x, torch.Tensor)]:
            msg = (
                f"entry {strange[0]} of the {key} of {self.model} is a "
                f"{type(held[strange[0]]).__name__} and no tensor, so its sites cannot be told"
            )
            raise ModelError(msg)
        # A projection to another width is the output, but no site.
        hf = self._hf(held, has_norm=end is not None and self.last.shape == last.shape)
        if not self.declared and len(hf) != max(len(held), 1):
            msg = (
                f"cannot find the blocks of {self.model}: its class does not declare them, and "
                f"the {len(self.blocks)} found {self.found} are not those of its {key}, so "
                "nothing is measured rather than something guessed"
            )
            raise ModelError(msg)
        causal = self._causal()
        output = None
        if end is not None:
            path, width = self.paths[end[0]], int(self.last.shape[-1])
            output = Tap(path=path, side="output", call=end[1], width=width)
        return Stream(
            name=self.name,
            owner=self.paths[self.owner],
            blocks=tuple(self.blocks),
            entries=tuple(self.entries),
            anatomies=tuple(self.anatomies),
            output=output,
            width=int(self.outputs[-1].shape[-1]),
            causal=causal,
            packs=causal and self.name == RESIDUAL and keeps_apart(self.owner),
            hf=hf,
            hf_tuple=key,
            found=self.found,
            crops=self.crops,
        )

    def _causal(self) -> bool:
        # The rows differ only in the last token: in a causal model nothing before it changes,
        # neither in the output nor (in case the output is NaN) in any block.
        other = 2 if self.name == DECODER else 1
        assert self.last is not None
        return all(
            torch.allclose(x[0, :-1], x[other, :-1], rtol=1e-3, atol=1e-5, equal_nan=True)
            for x in (x.float() for x in (*self.outputs, self.last))
        )

    def _hf(self, held: tuple[torch.Tensor, ...], *, has_norm: bool) -> dict[str, int]:
        sites = trunk(len(self.blocks), final_norm=has_norm)
        assert self.last is not None
        states = [self.inputs[0], *self.outputs, *([self.last] if has_norm else [])]
        mapping: dict[str, int] = {}
        for index, entry in enumerate(held):
            # The last entry may be the last block or the final norm. If both are equal (a norm
            # that changes nothing), it counts as the output, as it does in transformers.
            tied = index == len(held) - 1
            state = self._of_tokens(entry)
            matches = [s.name for s, x in zip(sites, states, strict=True) if same_bits(x, state)]
            matches = [m for m in matches if m not in mapping]
            if matches:
                mapping[matches[-1] if tied else matches[0]] = index
        return mapping
