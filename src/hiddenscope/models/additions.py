"""What a block adds to the residual stream: solved for, not looked up.

Additions are outputs of modules which, added to the state that the block read, give bitwise the
states that it went on with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from hiddenscope.models.taps import same_bits, turns_into
from hiddenscope.models.trace import Factor, is_norm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hiddenscope.models.trace import Seen, Trace

_MOST_ADDITIONS = 4
# Sums are looked for among a few channels of one token, up to rounding, and then proved in full.
_SKETCHED = 64
_ROUNDINGS = 8


@dataclass(frozen=True)
class Base:
    """What an addition is added to: the stream, or what a norm and a factor make of it."""

    value: torch.Tensor
    norm: Seen | None = None
    scale: Factor | None = None


@dataclass(frozen=True)
class Addition:
    """The output of a module that is added to the stream, and what comes of it."""

    source: Seen
    scale: Factor | None
    # The state that it leads to, where that is a waypoint; the norm behind it, if any.
    result: torch.Tensor
    base: Base
    norm: Seen | None = None
    factor: Factor | None = None

    @property
    def time(self) -> int:
        """When its result was there."""
        return (self.norm or self.source).time


class Solver:
    """Looks for the additions that lead from what a block read to what it returned."""

    def __init__(self, trace: Trace, exit_state: torch.Tensor) -> None:
        self.entry, self.exit = trace.entry, exit_state
        block, width = trace.block, trace.entry.shape[-1]
        own = (*block.named_parameters(recurse=False), *block.named_buffers(recurse=False))
        vectors = [
            Factor(f"{trace.path}.{name}", x.detach())
            for name, x in own
            if x.is_floating_point() and x.numel() in {1, width}
        ]
        numbers = {
            x for x in vars(block).values() if isinstance(x, float | int) and x not in (0, 1)
        }
        self.factors = [*(Factor(x, x) for x in sorted(numbers)), *vectors]
        self.single = [v for v in vectors if torch.as_tensor(v.value).numel() == 1]
        narrow = [s for s in trace.seen if s.value.shape[-1] == width]
        # Of equal outputs the last is what is added: dropout comes behind the projection.
        self.outputs = _last_of_equals([s for s in narrow if s.side == "output"])
        self.inputs = [s for s in narrow if s.side == "input"]
        self.norms = [
            (read, wrote)
            for read in self.inputs
            for wrote in narrow
            if wrote.side == "output"
            and wrote.began == read.time
            and is_norm(read.module)
            and turns_into(read.module, read.value, wrote.value, read.axes)
        ]
        self._sketches: dict[int, NDArray[np.float64]] = {}
        dtypes = {x.dtype for x in (self.entry, self.exit, *(s.value for s in narrow))}
        self._rounding = _ROUNDINGS * max(torch.finfo(d).eps for d in dtypes)
        # How the additions that are looked for differ from plain ones.
        self.behind: list[tuple[Seen, Seen]] = []
        self.before = False

    def solutions(self) -> Iterator[tuple[bool, list[Addition]]]:
        """Yield ways to add up, and whether side by side.

        In sequence, in parallel, in sequence with a norm behind each sum, and in sequence where
        not the stream is added to but what a norm or a factor makes of it.
        """
        if chain := self._chain(self.entry, -1, 0):
            yield False, chain
        elif pair := self._side_by_side():
            yield True, pair
        self.behind = self.norms
        if chain := self._chain(self.entry, -1, 0):
            yield False, chain
        self.behind, self.before = [], True
        if chain := self._chain(self.entry, -1, 0):
            yield False, chain

    def _chain(self, state: torch.Tensor, time: int, depth: int) -> list[Addition] | None:
        """Find additions, one after the other, that lead from a state to the block's output."""
        if depth == _MOST_ADDITIONS:
            return None
        bases = list(self._bases(state, time))
        later = [s for s in self.outputs if s.began >= time]
        if last := self._last_addition(bases, later):
            return [last]
        for addition in self._next_additions(state, bases, time, later):
            if same_bits(addition.result, self.exit):
                return [addition]
            rest = self._chain(addition.result, addition.time, depth + 1)
            if rest:
                return [addition, *rest]
        return None

    def _bases(self, state: torch.Tensor, time: int) -> Iterator[Base]:
        yield Base(state)
        if self.before:
            normed = [
                Base(wrote.value, wrote)
                for read, wrote in self.norms
                if read.time > time and same_bits(read.value, state)
            ]
            yield from normed
            for base, factor in product((Base(state), *normed), self.factors):
                yield replace(base, scale=factor)

    def _last_addition(self, bases: list[Base], later: list[Seen]) -> Addition | None:
        for base in bases:
            for source, scale in self._sums(base, later, self.exit):
                return Addition(source, scale, self.exit, base)
            for factor in self.single:
                for source, _ in self._sums(base, later, self.exit, factor):
                    return Addition(source, None, self.exit, base, factor=factor)
        return None

    def _next_additions(
        self, state: torch.Tensor, bases: list[Base], time: int, later: list[Seen]
    ) -> Iterator[Addition]:
        """Yield additions that lead to a state which a later module reads, or to its norm."""
        for point in _distinct(s for s in self.inputs if s.time > time):
            if same_bits(point.value, state):
                continue
            sources = [s for s in later if s.time <= point.time]
            for base in bases:
                for source, scale in self._sums(base, sources, point.value):
                    if not self.behind:
                        yield Addition(source, scale, point.value, base)
                    for read, wrote in self.behind:
                        if read.time >= point.time and same_bits(read.value, point.value):
                            yield Addition(source, scale, wrote.value, base, wrote)

    def _sums(
        self, base: Base, sources: Sequence[Seen], result: torch.Tensor, whole: Factor | None = None
    ) -> Iterator[tuple[Seen, Factor | None]]:
        """Yield outputs, with their factors, that added to a base give bitwise a result."""
        if not sources:
            return
        over = _factor(whole)
        first = self._sketch(base.value) * _factor(base.scale) * over
        added = np.stack([self._sketch(s.value) for s in sources]) * over
        scales = [None] if whole is not None else [None, *self.factors]
        close = [self._close(first, added * _factor(scale), result) for scale in scales]
        for i, source in enumerate(sources):
            for scale, near in zip(scales, close, strict=True):
                # Half of a norm and half of it are the norm, and nothing is added.
                if source is base.norm or not near[i]:
                    continue
                if _gives(base, source.value, scale, result, whole):
                    yield source, scale

    def _side_by_side(self) -> list[Addition] | None:
        if len(self.outputs) < 2:
            return None
        added = np.stack([self._sketch(s.value) for s in self.outputs])
        near = self._close(self._sketch(self.entry) + added[:, None], added[None], self.exit)
        for i, j in np.argwhere(np.triu(near, 1)).tolist():
            pair = self.outputs[i], self.outputs[j]
            a, b = (s.value for s in pair)
            # Additions round, so their order shows.
            sums = ((a + b) + self.entry, (self.entry + a) + b, (self.entry + b) + a)
            if any(same_bits(x.to(self.exit.dtype), self.exit) for x in sums):
                return [Addition(s, None, self.exit, Base(self.entry)) for s in pair]
        return None

    def _sketch(self, x: torch.Tensor) -> NDArray[np.float64]:
        # All that is sketched is kept as long as the solver, so that no address comes again.
        if id(x) not in self._sketches:
            part = x if x.device.type == "cpu" else x[:1, -1:, :_SKETCHED].cpu()
            known = part if part.dtype in {torch.float32, torch.float64} else part.float()
            self._sketches[id(x)] = known.numpy()[0, -1, :_SKETCHED].astype(np.float64)
        return self._sketches[id(x)]

    def _close(
        self, a: NDArray[np.float64], b: NDArray[np.float64], result: torch.Tensor
    ) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore", over="ignore"):
            off = np.abs(a + b - self._sketch(result))
            # What is not finite is settled by the proof in full.
            wrong = off > self._rounding * (np.abs(a) + np.abs(b))
            return np.asarray(~wrong.any(-1))


def _factor(factor: Factor | None) -> NDArray[np.float64] | float:
    if factor is None or not isinstance(factor.value, torch.Tensor):
        return 1.0 if factor is None else float(factor.value)
    return factor.value.double().cpu().numpy().reshape(-1)[:_SKETCHED]


def _times(x: torch.Tensor, factor: Factor | None) -> torch.Tensor:
    return x if factor is None else x * factor.value


def _gives(
    base: Base,
    added: torch.Tensor,
    scale: Factor | None,
    result: torch.Tensor,
    whole: Factor | None,
) -> bool:
    # Some blocks keep the stream in a finer type than the one it came in (Mamba's float32).
    for dtype in {base.value.dtype: 0, result.dtype: 0}:
        total = _times(base.value.to(dtype), base.scale) + _times(added, scale)
        if whole is not None:
            total = total.to(result.dtype) * whole.value
        if same_bits(total.to(result.dtype), result):
            return True
    return False


def _last_of_equals(outputs: list[Seen]) -> list[Seen]:
    kept: list[Seen] = []
    for s in outputs:
        kept = [k for k in kept if not same_bits(k.value, s.value)]
        kept.append(s)
    return kept


def _distinct(inputs: Iterator[Seen]) -> list[Seen]:
    kept: list[Seen] = []
    for s in inputs:
        if not any(same_bits(k.value, s.value) for k in kept):
            kept.append(s)
    return kept
