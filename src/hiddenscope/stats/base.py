"""The contract of every accumulator: update, merge, state, from_state.

An accumulator is the streaming state of one family of statistics. A fresh one is the identity
of `merge`, and `merge` neither changes nor aliases what it is given, so states fold in any tree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
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

    @abstractmethod
    def merge(self, other: Self) -> Self:
        """Join two states into a new one; neither is changed."""

    @abstractmethod
    def dataset(self, decode: Decode) -> xr.Dataset:
        """Label the arrays as the profile's group; `decode` turns token ids into text."""

    def state(self) -> State:
        """Return a copy of the arrays, from which `from_state` makes an equal accumulator."""
        return {key: array.copy() for key, array in self.arrays.items()}

    @classmethod
    def from_state(cls, layout: Layout, state: State) -> Self:
        """Make an accumulator from what `state` returned."""
        made = cls(layout)
        made.arrays = {key: np.array(array) for key, array in state.items()}
        return made

    def _new(self, arrays: State) -> Self:
        made = type(self)(self.layout)
        made.arrays = arrays
        return made


class SumAccumulator(Accumulator):
    """An accumulator whose arrays simply add up."""

    def merge(self, other: Self) -> Self:
        """Add the arrays of two states."""
        return self._new({key: array + other.arrays[key] for key, array in self.arrays.items()})


def token_counts(batch: Batch) -> NDArray[np.int64]:
    """Count the tokens of each stratum of a batch."""
    return np.diff(batch.tokens.bounds)
