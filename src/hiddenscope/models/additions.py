"""What a block adds to the residual stream: solved for, not looked up.

Additions are outputs of modules which, added to the state that the block read, give bitwise the
states that it went on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import torch

from hiddenscope.models.taps import same_bits, turns_into
from hiddenscope.models.trace import Factor, is_norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hiddenscope.models.trace import Seen, Trace

_MOST_ADDITIONS = 4
# A scale is first fitted; only numbers within this relative distance of the fit are tried.
_NEAR = 2e-2


@dataclass(frozen=True)
class Addition:
    """The output of a module that is added to the stream, and what comes of it."""

    source: Seen
    scale: Factor | None
    # The state that it leads to, where that is a waypoint; the norm behind it, if any.
    result: torch.Tensor
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
        block = trace.block
        own = (*block.named_parameters(recurse=False), *block.named_buffers(recurse=False))
        self.vectors = [
            (Factor(f"{trace.path}.{name}", x.detach()), x.numel())
            for name, x in own
            if x.is_floating_point()
        ]
        self.numbers = [x for x in vars(block).values() if isinstance(x, float)]
        width = trace.entry.shape[-1]
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
            and turns_into(read.module, read.value, wrote.value)
        ]

    def solutions(self) -> Iterator[tuple[bool, list[Addition]]]:
        """Yield ways to add up: in sequence, then in parallel, then in sequence with norms."""
        for norms in ([], self.norms):
            chain = self._chain(self.entry, -1, norms, 0)
            if chain:
                yield False, chain
            if not norms and (pair := self._side_by_side()):
                yield True, pair

    def _chain(
        self, state: torch.Tensor, time: int, norms: list[tuple[Seen, Seen]], depth: int
    ) -> list[Addition] | None:
        """Find additions, one after the other, that lead from a state to the block's output."""
        if depth == _MOST_ADDITIONS:
            return None
        later = [s for s in self.outputs if s.began >= time]
        if last := self._last_addition(state, later):
            return [last]
        for addition in self._next_additions(state, time, later, norms):
            if same_bits(addition.result, self.exit):
                return [addition]
            rest = self._chain(addition.result, addition.time, norms, depth + 1)
            if rest:
                return [addition, *rest]
        return None

    def _last_addition(self, state: torch.Tensor, later: list[Seen]) -> Addition | None:
        for source in later:
            for scale in self._scales(state, source.value, self.exit):
                if _gives(state, source.value, scale, self.exit):
                    return Addition(source, scale, self.exit)
            for factor in (v for v, values in self.vectors if values == 1):
                total = (state + source.value).to(self.exit.dtype) * factor.value
                if same_bits(total.to(self.exit.dtype), self.exit):
                    return Addition(source, None, self.exit, factor=factor)
        return None

    def _next_additions(
        self,
        state: torch.Tensor,
        time: int,
        later: list[Seen],
        norms: list[tuple[Seen, Seen]],
    ) -> Iterator[Addition]:
        """Yield additions that lead to a state which a later module reads, or to its norm."""
        for point in _distinct(s for s in self.inputs if s.time > time):
            if same_bits(point.value, state):
                continue
            for source in (s for s in later if s.time <= point.time):
                for scale in self._scales(state, source.value, point.value):
                    if not _gives(state, source.value, scale, point.value):
                        continue
                    if not norms:
                        yield Addition(source, scale, point.value)
                    for read, wrote in norms:
                        if read.time >= point.time and same_bits(read.value, point.value):
                            yield Addition(source, scale, wrote.value, wrote)

    def _side_by_side(self) -> list[Addition] | None:
        for pair in combinations(self.outputs, 2):
            # Additions round, so their order shows.
            for a, b in permutations([s.value for s in pair]):
                sums = ((a + b) + self.entry, (self.entry + a) + b)
                if any(same_bits(x.to(self.exit.dtype), self.exit) for x in sums):
                    return [Addition(s, None, self.exit) for s in pair]
        return None

    def _scales(
        self, state: torch.Tensor, added: torch.Tensor, result: torch.Tensor
    ) -> Iterator[Factor | None]:
        """Yield what the addition may be multiplied by: nothing, or a number of the block's."""
        yield None
        if not self.numbers and not self.vectors:
            return
        x = added.double().ravel()
        norm = torch.dot(x, x)
        if not norm > 0 or not torch.isfinite(norm):
            return
        fitted = float(torch.dot(result.double().ravel() - state.double().ravel(), x) / norm)
        for number in self.numbers:
            if abs(number - fitted) <= _NEAR * abs(fitted):
                yield Factor(number, number)
        for vector, values in self.vectors:
            if values in {1, added.shape[-1]}:
                yield vector


def _gives(
    state: torch.Tensor,
    added: torch.Tensor,
    scale: Factor | None,
    result: torch.Tensor,
) -> bool:
    total = state + (added if scale is None else added * scale.value)
    return same_bits(total.to(result.dtype), result)


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
