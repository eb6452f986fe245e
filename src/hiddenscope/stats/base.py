"""The contract of every accumulator: update, merge, state, from_state.

An accumulator is the streaming state of one family of statistics. A fresh one is the identity
of `merge`, and `merge` neither changes nor aliases its arguments, so that states can be folded in
a tree of any shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from hiddenscope.errors import MergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from hiddenscope.stats.batch import Batch, Layout

    State = dict[str, NDArray[Any]]
    Decode = Callable[[Sequence[int]], str]


class Accumulator(ABC):
    """The streaming state of one family of statistics.

    Subclasses set `name` (their group in a profile) and keep every array of their state in
    `arrays`, float64 or integers, labelled by the layout.

    Parameters
    ----------
    layout : Layout
    """

    name: ClassVar[str]

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.arrays: State = self.empty()

    @abstractmethod
    def empty(self) -> State:
        """Return the arrays of a state that has seen nothing."""

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Take in one batch."""

    def merge(self, other: Self) -> Self:
        """Join two states into a new one; neither is changed.

        Raises
        ------
        MergeError
            The states are not of one kind and layout.
        """
        if type(self) is not type(other):
            msg = f"cannot merge {type(self).__name__} with {type(other).__name__}"
            raise MergeError(msg)
        mine, theirs = asdict(self.layout), asdict(other.layout)
        for name, value in mine.items():
            if theirs[name] != value:
                msg = (
                    f"cannot merge states of different {name}: {value} and {theirs[name]}; "
                    "measure both with the same model, sites and thresholds"
                )
                raise MergeError(msg)
        return self._merge(other)

    @abstractmethod
    def _merge(self, other: Self) -> Self:
        """Join two states of one layout into a new one."""

    @abstractmethod
    def tables(self, decode: Decode) -> State:
        """Return the arrays of the profile's group, by the names that the schema gives them.

        `decode` turns token ids into text.
        """

    def settle(self, layout: Layout) -> None:
        """Set a layout that names the loud channels, before anything finite is counted."""
        self.layout = layout

    def state(self) -> State:
        """Return a copy of the arrays, from which `from_state` makes an equal accumulator."""
        return {key: array.copy() for key, array in self.arrays.items()}

    @classmethod
    def from_state(cls, layout: Layout, state: State) -> Self:
        """Make an accumulator from what `state` returned."""
        made = cls(layout)
        made.arrays = {key: np.array(array) for key, array in state.items()}
        return made

    def of_corpus(self, number: int) -> Self:
        """Return the state with its tokens labelled as those of one of several corpora.

        The label tells tokens apart after a merge, where documents of several corpora have the
        same index.
        """
        labelled = self.state()
        if "corpus" in labelled:
            labelled["corpus"][...] = number
        return self._new(labelled)

    def _new(self, arrays: State) -> Self:
        made = type(self)(self.layout)
        made.arrays = arrays
        return made


class CountAccumulator(Accumulator):
    """Counts in a large space of cells, of which only the filled ones are kept.

    The arrays are ``cell`` (indices into the flattened `shape`, ascending) and ``count``. So a
    state is small, and folding a long corpus does not need more memory than a short one.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The space of cells."""

    def empty(self) -> State:
        """Return the counts of nothing."""
        return {"cell": np.zeros(0, np.int64), "count": np.zeros(0, np.int64)}

    def _merge(self, other: Self) -> Self:
        """Add the counts of two states."""
        return self._new(_add_up([self.arrays, other.arrays]))

    def dense(self) -> NDArray[np.int64]:
        """Return the counts of every cell, in `shape`."""
        counts = np.zeros(self.shape, np.int64)
        counts.reshape(-1)[self.arrays["cell"]] = self.arrays["count"]
        return counts

    def _count(self, parts: Iterable[State]) -> None:
        """Add counts, in arrays as those of the state."""
        self.arrays = _add_up([self.arrays, *parts])


def _add_up(parts: Sequence[State]) -> State:
    cell, count = (np.concatenate([p[key] for p in parts]) for key in ("cell", "count"))
    cells, place = np.unique(cell, return_inverse=True)
    counts = np.zeros(len(cells), np.int64)
    np.add.at(counts, place, count)
    return {"cell": cells, "count": counts}
