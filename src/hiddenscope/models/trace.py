"""What passes through the modules of one block, written down in one call of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from hiddenscope.models.taps import (
    BATCH_FIRST,
    POSITION_FIRST,
    Axes,
    Tap,
    layout_of,
    same_bits,
    tensors_in,
    tensors_out,
)

LINEAR = torch.nn.Linear, Conv1D
"""The linear layers that quantisers know; GPT-2 has its own, with the weights transposed."""


@dataclass(frozen=True, eq=False)
class Factor:
    """What a block multiplies by: a number, which is its own name, or a tensor of its own."""

    name: float | str
    value: float | torch.Tensor


@dataclass(eq=False)
class Seen:
    """One tensor on its way into or out of a module."""

    module: torch.nn.Module
    path: str
    side: str
    key: int | str
    call: int
    time: int
    value: torch.Tensor
    # Of an output: when its module was called.
    began: int = -1
    # How it passed; `value` is [batch, pos, channel].
    axes: Axes = BATCH_FIRST

    def tap(self, scale: Factor | None = None) -> Tap:
        """Return the place where it passed."""
        return Tap(
            path=self.path,
            side=self.side,
            key=self.key,
            call=self.call,
            width=int(self.value.shape[-1]),
            scale=scale.name if scale is not None else None,
            axes=self.axes,
        )


@dataclass(eq=False)
class Trace:
    """Everything that passes through the modules of one block in one call.

    Parameters
    ----------
    parts : dict of str to Module
        The block by its path or, where no module is the block, what it is made of.
    entry : Tensor[batch, pos, channel]
        What the block read.
    encoded : Tensor[batch, pos, channel], optional
        What an encoder before it returned.
    axes : tuple of int
        How the block took what it read.

    Attributes
    ----------
    called : list of (str, int)
        Calls of linear layers, by path and time, also with what is no state of every token.
    decoding : set of int
        Times of those of them that were called with `encoded`.
    """

    parts: dict[str, torch.nn.Module]
    entry: torch.Tensor
    encoded: torch.Tensor | None = None
    axes: Axes = BATCH_FIRST
    seen: list[Seen] = field(default_factory=list)
    called: list[tuple[str, int]] = field(default_factory=list)
    decoding: set[int] = field(default_factory=set)
    _clock: int = 0
    _open: list[int] = field(default_factory=list)

    @property
    def block(self) -> torch.nn.Module:
        """The module that is the block; one that has nothing where none is."""
        return next(iter(self.parts.values())) if len(self.parts) == 1 else torch.nn.Module()

    @property
    def path(self) -> str:
        """The block's path; empty where no module is the block."""
        return next(iter(self.parts)) if len(self.parts) == 1 else ""

    def short(self, path: str) -> str:
        """Return a path as it is called inside of the block."""
        return path.removeprefix(self.path).removeprefix(".")

    def enter(
        self, module: torch.nn.Module, path: str, call: int, args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Write down what a module is called with."""
        self._clock += 1
        self._open.append(self._clock)
        given = tensors_in(args, kwargs)
        if isinstance(module, LINEAR):
            self.called.append((path, self._clock))
            encoded = self.encoded
            if encoded is not None and any(same_bits(x, encoded) for x in given.values()):
                self.decoding.add(self._clock)
        self._keep(given, module, path, "input", call)

    def leave(self, module: torch.nn.Module, path: str, call: int, output: Any) -> None:
        """Write down what it returned."""
        self._clock += 1
        began = self._open.pop()
        self._keep(tensors_out(output), module, path, "output", call, began=began)

    def _keep(
        self,
        found: dict[int | str, torch.Tensor],
        module: torch.nn.Module,
        path: str,
        side: str,
        call: int,
        *,
        began: int = -1,
    ) -> None:
        batch, length = self.entry.shape[:2]
        # Longformer's attention puts positions first, inside of blocks that have the batch first.
        layouts = dict.fromkeys((self.axes, BATCH_FIRST, POSITION_FIRST))
        for key, value in found.items():
            # Some modules see the tokens of all rows as one long row.
            flat = value.ndim == 2 and value.shape[0] == batch * length
            axes = BATCH_FIRST if flat else layout_of(value, batch, length, layouts)
            if value.is_floating_point() and axes is not None:
                # Without gradients a clone is detached; each operation more would cost time.
                held = value.clone() if not flat else value.clone().reshape(batch, length, -1)
                if axes != BATCH_FIRST:
                    held = held.permute(axes).contiguous()
                self.seen.append(
                    Seen(module, path, side, key, call, self._clock, held, began, axes)
                )


def is_norm(module: torch.nn.Module) -> bool:
    """Whether a module is a normalisation, by the name of its class."""
    return "norm" in type(module).__name__.lower()


def is_linear(module: torch.nn.Module) -> bool:
    """Whether a module is a linear layer, of whatever kind."""
    # Quantised layers and adapters keep their weights in their own ways, but say what they are at
    # the end of their names (Linear4bit, WQLinear_GEMM), where KimiLinearMLP says another thing.
    if re.search(r"(linear|conv1d)(\d\w*|_\w*)?$", type(module).__name__.lower()):
        return True
    weight = getattr(module, "weight", None)
    return next(module.children(), None) is None and getattr(weight, "ndim", 0) == 2
