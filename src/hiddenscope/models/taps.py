"""Taps: where in a model's modules a hidden state can be read."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL = 1 << 16
"""Bytes up to which tensors are compared outside of torch."""
Axes = tuple[int, int, int]
BATCH_FIRST: Axes = (0, 1, 2)
POSITION_FIRST: Axes = (1, 0, 2)
LAYOUTS: tuple[Axes, ...] = (BATCH_FIRST, POSITION_FIRST, (0, 2, 1))
"""Where batch, position and channel may stand: most models, XLNet, SqueezeBERT.

Each is its own inverse.
"""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One place where a tensor passes into or out of a module, by names alone.

    Attributes
    ----------
    path : str
        The module's name in the model.
    side : {'input', 'output'}
    key : int or str
        Which argument, by position or name, or which entry of what is returned.
    call : int
        Which call of the module within one forward pass, from 0: a block that is shared
        (ALBERT) is called once for every layer that it stands for.
    width : int
        Channels.
    scale : float or str, optional
        What the model multiplies the tensor by before it adds it to the residual stream: a
        number, or the name of a parameter or buffer of the model.
    axes : tuple of int
        Where batch, position and channel stand in a tensor of three axes.
    """

    path: str
    side: str
    key: int | str = 0
    call: int = 0
    width: int
    scale: float | str | None = None
    axes: Axes = BATCH_FIRST

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> torch.Tensor:
        """Take the tensor out of a call, not scaled; an input is there without an `output`.

        It comes as ``[batch, pos, channel]`` or, from modules that see the tokens of all rows as
        one long row, as ``[token, channel]``.
        """
        state: torch.Tensor
        if self.side == "input":
            state = args[self.key] if isinstance(self.key, int) else kwargs[self.key]
        else:
            state = output if isinstance(output, torch.Tensor) else output[self.key]
        return state if self.axes == BATCH_FIRST else state.permute(self.axes)


def value_of(model: torch.nn.Module, factor: float | str) -> float | torch.Tensor:
    """Return a number as it is, and for a name the parameter or buffer that is called so."""
    if not isinstance(factor, str):
        return factor
    path, _, name = factor.rpartition(".")
    value: torch.Tensor = getattr(model.get_submodule(path), name)
    return value.detach()


def tensors_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[int | str, torch.Tensor]:
    """Return the tensors of a call, by position or name, in order."""
    named: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    return {key: value for key, value in named if isinstance(value, torch.Tensor)}


def tensors_out(output: Any) -> dict[int | str, torch.Tensor]:
    """Return the tensors that a call returned, by place."""
    entries = [output] if isinstance(output, torch.Tensor) else output
    if not isinstance(entries, tuple | list):
        return {}
    return {i: value for i, value in enumerate(entries) if isinstance(value, torch.Tensor)}


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int | str, torch.Tensor]:
    """Find the hidden state in what a block was called with, and where it stands."""
    if "hidden_states" in kwargs:
        return "hidden_states", kwargs["hidden_states"]
    return next(iter(tensors_in(args, kwargs).items()))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit, so that equal NaN are equal."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.nbytes <= SMALL and all(x.device.type == "cpu" and x.is_contiguous() for x in (a, b)):
        # Without an operation of torch, each of which `left_alone` looks at: half of the time
        # of finding a model's structure.
        one, two = (ctypes.string_at(x.data_ptr(), x.nbytes) for x in (a, b))
        return one == two
    a, b = (x.contiguous().view(torch.uint8) for x in (a, b))
    return bool(torch.equal(a, b))


def layout_of(
    state: torch.Tensor, batch: int, length: int, among: Iterable[Axes] = LAYOUTS
) -> Axes | None:
    """Return where batch, position and channel stand in a tensor, by the sizes of its axes."""
    if state.ndim != len(BATCH_FIRST):
        return None
    return next((a for a in among if state.permute(a).shape[:2] == (batch, length)), None)


def apply(module: torch.nn.Module, states: torch.Tensor, axes: Axes = BATCH_FIRST) -> torch.Tensor:
    """Apply a module that takes and gives states as `axes` to ``[batch, pos, channel]``.

    States of ``[token, channel]`` are one row to it.
    """
    made: torch.Tensor
    if axes == BATCH_FIRST:
        made = module.forward(states)
        return made
    rows = states if states.ndim == len(axes) else states[None]
    made = module.forward(rows.permute(axes)).permute(axes)
    return made.reshape(states.shape)


def turns_into(
    module: torch.nn.Module,
    given: torch.Tensor,
    expected: torch.Tensor,
    axes: Axes = BATCH_FIRST,
) -> bool:
    """Whether a module, applied to a tensor and nothing else, gives bitwise another."""
    try:
        made = apply(module, given, axes)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        # It takes more than one tensor, or another kind.
        return False
    return (
        isinstance(made, torch.Tensor)
        and made.numel() == expected.numel()
        and same_bits(made.reshape(expected.shape), expected)
    )
