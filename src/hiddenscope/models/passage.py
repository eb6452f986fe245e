"""What one forward pass over a few tokens shows of a stream: its blocks, and what they hand on."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.errors import ModelError
from hiddenscope.models.blocks import candidates, fills_up, parts_of_blocks, rescaling
from hiddenscope.models.calling import bound
from hiddenscope.models.dissecting import dissect
from hiddenscope.models.taps import (
    BATCH_FIRST,
    Tap,
    block_input,
    layout_of,
    same_bits,
    tensors_in,
)
from hiddenscope.models.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiddenscope.models.anatomy import Anatomy

ROWS = 3
"""Texts of the pass."""


class Passage:
    """A stream, watched through one forward pass over a few tokens.

    Parameters
    ----------
    name : {'residual', 'encoder', 'decoder'}
    owner : Module
        Whose forward pass runs through the blocks.
    paths : dict of Module to str
        Every module of the model, by name.
    model : str
        What the model is called.
    before : Passage, optional
        That of the encoder, for a decoder.
    length : int
        How many tokens the owner is given.
    masked : bool
        Whether it is given a mask with them.

    Attributes
    ----------
    declared, found : bool, str
        Whether transformers declares the blocks, and how they were found in words.
    blocks, entries : list of Tap
        The output and the input of every block, in the order of calls.
    outputs, inputs : list of Tensor[batch, pos, channel]
        What passed there.
    anatomies : list of Anatomy
        The points of every block.
    after : list of (Module, int)
        Modules called with the last block's output, and which call of each it was.
    last : Tensor[batch, pos, channel] or None
        What the owner returned.
    crops : bool
        Whether the owner fills its tokens up and cuts its output back to them.
    """

    def __init__(
        self,
        name: str,
        owner: torch.nn.Module,
        paths: dict[torch.nn.Module, str],
        model: str,
        before: Passage | None,
        *,
        length: int,
        masked: bool,
    ) -> None:
        self.name, self.owner, self.model, self.before = name, owner, model, before
        self.length, self.masked = length, masked
        self.paths = {module: paths[module] for module in owner.modules()}
        self._candidates, self.declared = candidates(owner, self.paths)
        # Of blocks that no module is: what they are made of, and the first block that a module is
        # part of, as XLM's share an activation.
        self._parts = parts_of_blocks(owner, self.paths)
        self._part_of = {
            m: i
            for i, parts in reversed([*enumerate(self._parts)])
            for part in parts.values()
            for m in part.modules()
        }
        named = [part for parts in self._parts for part in parts.values()] or self._candidates
        kinds = ", ".join(dict.fromkeys(type(m).__name__ for m in named))
        self.found = (
            f"declared by transformers ({kinds})" if self.declared else f"by name ({kinds})"
        )
        self.crops = fills_up(owner)
        self._rescaling = rescaling(owner)
        self.blocks: list[Tap] = []
        self.entries: list[Tap] = []
        self.inputs: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []
        self.anatomies: list[Anatomy] = []
        self.after: list[tuple[torch.nn.Module, int]] = []
        self.last: torch.Tensor | None = None
        # How often each module was called, and the block that is running.
        self._calls: dict[torch.nn.Module, int] = {}
        self._trace: Trace | None = None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def calls(self) -> dict[str, int]:
        """How often each module was called, by path."""
        return {self.paths[module]: last + 1 for module, last in self._calls.items()}

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
        call = self._calls[module] = self._calls.get(module, -1) + 1
        path = self.paths[module]
        if module is self.owner and self.masked and not self._is_masked(args, kwargs):
            msg = (
                f"{type(module).__name__} is not told by attention_mask which of its tokens are "
                "padding, so padding would be counted"
            )
            raise ModelError(msg)
        if (parts := self._begins(module)) is not None:
            key, state = block_input(args, kwargs)
            at = partial(Tap, path=path, side="input", key=key, call=call)
            if self._trace is not None:
                # A block that no module is ends where the next one begins.
                self._end(at, state)
            self._begin(parts, at, state)
        if self._is_inside(module):
            assert self._trace is not None
            self._trace.enter(module, path, call, args, kwargs)

    def _begins(self, module: torch.nn.Module) -> dict[str, torch.nn.Module] | None:
        """Return what the block is made of that begins with a call of a module, if one does."""
        if self._parts:
            number = self._part_of.get(module, -1)
            return self._parts[number] if number >= len(self.entries) else None
        begins = self._trace is None and module in self._candidates
        return {self.paths[module]: module} if begins else None

    def _is_inside(self, module: torch.nn.Module) -> bool:
        """Whether a module belongs to the block that is running, and is not the block."""
        if self._trace is None:
            return False
        return module in self._part_of if self._parts else self.paths[module] != self._trace.path

    def _is_masked(self, args: Any, kwargs: dict[str, Any]) -> bool:
        given = bound(inspect.signature(self.owner.forward), args, kwargs)
        return given.get("attention_mask") is not None

    def _leave(
        self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any], output: Any
    ) -> None:
        call, path = self._calls[module], self.paths[module]
        if module is self.owner:
            last = getattr(output, "last_hidden_state", None)
            self.last = (output[0] if last is None else last).clone()
            if self._trace is not None and self._parts:
                self._end(partial(Tap, path=path, side="output", call=call), self.last)
        elif self._is_inside(module):
            assert self._trace is not None
            self._trace.leave(module, path, call, output)
        elif self._trace is not None and not self._parts:
            key = self._candidates[module]
            state = output if isinstance(output, torch.Tensor) else output[key]
            self._end(partial(Tap, path=path, side="output", key=key, call=call), state)
        elif self._trace is None and self.outputs:
            given = next(iter(tensors_in(args, kwargs).values()), None)
            self._goes_on(given)
            if given is not None and same_bits(given, self.outputs[-1]):
                self.after.append((module, call))

    def _begin(
        self, parts: dict[str, torch.nn.Module], at: Callable[..., Tap], state: torch.Tensor
    ) -> None:
        tap, state = self._read(at, state)
        self._goes_on(state)
        self.entries.append(tap)
        self.inputs.append(self.of_tokens(state))
        encoded = None if self.before is None else self.before.last
        self._trace = Trace(parts, state, encoded, tap.axes)
        self.after.clear()

    def _end(self, at: Callable[..., Tap], state: torch.Tensor) -> None:
        tap, state = self._read(at, state)
        self.blocks.append(tap)
        self.outputs.append(self.of_tokens(state))
        assert self._trace is not None
        trace, self._trace = self._trace, None
        # Norms are tried out, and what is called for that is no call of the pass.
        calls = dict(self._calls)
        self.anatomies.append(dissect(trace, state))
        self._calls = calls

    def _goes_on(self, state: torch.Tensor | None) -> None:
        """Take in what the owner has made of the last block's output, where it multiplied it."""
        if self._rescaling is None or state is None or not self.outputs:
            return
        made = self.outputs[-1] * self._rescaling
        if same_bits(state, made) and not same_bits(state, self.outputs[-1]):
            self.outputs[-1] = made
            self.blocks[-1] = replace(self.blocks[-1], scale=self._rescaling)
            self.anatomies[-1] = self.anatomies[-1].rescaled(self._rescaling)

    def of_tokens(self, state: torch.Tensor) -> torch.Tensor:
        """Return a state without the tokens that were filled up."""
        return state[:, : self.length] if self.crops else state

    def _read(self, at: Callable[..., Tap], state: torch.Tensor) -> tuple[Tap, torch.Tensor]:
        """Return where a state passes, and a copy of it as [batch, pos, channel]."""
        # Filled up, positions are as many as nobody knows, but Longformer and LED have them second.
        axes = (None if self.crops else layout_of(state, ROWS, self.length)) or BATCH_FIRST
        known = state.ndim == len(axes) and state.shape[axes[0]] == ROWS
        tap = at(width=int(state.shape[axes[-1]]) if known else 0, axes=axes)
        if not known:
            msg = (
                f"{tap.path} of {self.model} passes on states of shape {tuple(state.shape)} for "
                f"{ROWS} texts of {self.length} tokens: expected [batch, pos, channel], so its "
                "residual stream cannot be told"
            )
            raise ModelError(msg)
        # A tensor of its own: a later module may change this one in place.
        return tap, state.permute(axes).clone(memory_format=torch.contiguous_format)
