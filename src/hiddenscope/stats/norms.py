"""How large hidden states are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.grid import CELLS, LOWER
from hiddenscope.stats.base import CountAccumulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

MAGNITUDES = CELLS // 2
NORMS = ("l2", "linf")


class Norms(CountAccumulator):
    """Counts of each token's L2 norm and largest magnitude, in the grid's non-negative cells."""

    name = "norms"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``[norm, site, stratum, magnitude]``."""
        return len(NORMS), len(self.layout.sites), len(self.layout.strata), MAGNITUDES

    def update(self, batch: Batch) -> None:
        """Count the norms of the batch's finite tokens."""
        self._count(self._parts(batch))

    def _parts(self, batch: Batch) -> Iterator[State]:
        for site, scan in enumerate(batch.scans):
            norms = (np.sqrt(scan["row_sumsq"]), scan["row_absmax"])
            for i, values in enumerate(norms):
                for k, tokens in batch.strata:
                    counts = _by_magnitude(values[tokens][scan["finite"][tokens]])
                    filled = np.flatnonzero(counts)
                    start = np.ravel_multi_index((i, site, k, 0), self.shape)
                    yield {"cell": start + filled, "count": counts[filled]}

    def tables(self, decode: Decode) -> State:
        """Return the counts ``[site, stratum, magnitude]``."""
        return dict(zip(NORMS, self.dense(), strict=True)) | {"value": LOWER[:MAGNITUDES]}


def _by_magnitude(magnitudes: NDArray[np.float64]) -> NDArray[np.int64]:
    # Two finite float32 can have a norm beyond float32: that is the cell of infinity.
    with np.errstate(over="ignore"):
        bits = magnitudes.astype(np.float32).view(np.uint32)
    return np.bincount(bits >> 16, minlength=MAGNITUDES)
