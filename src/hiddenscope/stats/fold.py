"""The state of a shard, and the fixed tree in which shards fold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from hiddenscope.stats.cross import Cross, loudest
from hiddenscope.stats.extremes import Extremes
from hiddenscope.stats.grid import Grid
from hiddenscope.stats.moments import Moments
from hiddenscope.stats.norms import Norms
from hiddenscope.stats.octaves import Octaves
from hiddenscope.stats.positions import Positions
from hiddenscope.stats.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hiddenscope.stats.base import Accumulator, Decode, State
    from hiddenscope.stats.batch import Batch, Layout

ACCUMULATORS: tuple[type[Accumulator], ...] = (
    Grid,
    Moments,
    Octaves,
    Cross,
    Norms,
    Positions,
    Extremes,
    Sample,
)


class StreamState:
    """Every accumulator of one stream, over one set of tokens.

    Parameters
    ----------
    layout : Layout
    parts : list of Accumulator, optional
        One of each kind; fresh ones by default.
    """

    def __init__(self, layout: Layout, parts: list[Accumulator] | None = None) -> None:
        self.layout = layout
        self.parts = parts if parts is not None else [kind(layout) for kind in ACCUMULATORS]

    def sibling(self) -> Self:
        """Return a fresh state that can be merged with this one."""
        return type(self)(self.layout, [type(p)(p.layout) for p in self.parts])

    def update(self, batch: Batch) -> None:
        """Take in one batch; the first with finite tokens settles the loud channels."""
        if self.layout.loud == ():
            self._settle(loudest(self.layout, batch))
        for part in self.parts:
            part.update(batch)

    def _settle(self, loud: tuple[int, ...] | None) -> None:
        self.layout = replace(self.layout, loud=loud)
        for part in self.parts:
            part.settle(self.layout)

    def merge(self, other: Self) -> Self:
        """Join two states into a new one; neither is changed."""
        one, two = self._settled(other.layout.loud), other._settled(self.layout.loud)
        pairs = zip(one.parts, two.parts, strict=True)
        return type(self)(one.layout, [a.merge(b) for a, b in pairs])

    def _settled(self, loud: tuple[int, ...] | None) -> Self:
        """Return a state with loud channels: those given, if it has seen nothing finite itself."""
        if self.layout.loud != () or not loud:
            return self
        made = self.from_state(self.layout, self.state())
        made._settle(loud)
        return made

    def state(self) -> dict[str, State]:
        """Return a copy of every accumulator's arrays, by group."""
        return {part.name: part.state() for part in self.parts}

    @classmethod
    def from_state(cls, layout: Layout, state: Mapping[str, State]) -> Self:
        """Make an equal state of what `state` returned."""
        return cls(layout, [kind.from_state(layout, state[kind.name]) for kind in ACCUMULATORS])

    def of_corpus(self, number: int) -> Self:
        """Return the state with its tokens labelled as those of one of several corpora."""
        return type(self)(self.layout, [part.of_corpus(number) for part in self.parts])

    def tables(self, decode: Decode) -> dict[str, State]:
        """Return every accumulator's arrays for the profile, by group."""
        return {part.name: part.tables(decode) for part in self.parts}


class Mergeable(Protocol):
    """Anything that can be folded."""

    def merge(self, other: Self, /) -> Self:
        """Join two states into a new one."""


M = TypeVar("M", bound=Mergeable)


class Fold(Generic[M]):
    """States folded in a binary tree whose shape depends only on the order of the shards.

    Node (level, i) joins nodes (level − 1, 2i) and (level − 1, 2i + 1); at most one node per
    level is open, so n shards keep log₂ n states. The same shards give the same additions in
    the same order, whoever computed them.
    """

    def __init__(self) -> None:
        self.open: list[tuple[int, M]] = []

    def add(self, state: M) -> None:
        """Add the next shard's state."""
        level = 0
        while self.open and self.open[-1][0] == level:
            _, left = self.open.pop()
            state = left.merge(state)
            level += 1
        self.open.append((level, state))

    def result(self) -> M | None:
        """Join the open nodes, right to left; None before any shard."""
        nodes = [state for _, state in reversed(self.open)]
        if not nodes:
            return None
        total = nodes[0]
        for node in nodes[1:]:
            total = node.merge(total)
        return total
