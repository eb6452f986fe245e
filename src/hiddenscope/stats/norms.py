"""How large hidden states are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hiddenscope.grid import CELLS
from hiddenscope.stats.base import SumAccumulator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

MAGNITUDES = CELLS // 2


class Norms(SumAccumulator):
    """Counts of each token's L2 norm and largest magnitude, in the grid's non-negative cells."""

    name = "norms"

    def empty(self) -> State:
        """Return zero counts."""
        shape = (len(self.layout.sites), len(self.layout.strata), MAGNITUDES)
        return {"l2": np.zeros(shape, np.int64), "linf": np.zeros(shape, np.int64)}

    def update(self, batch: Batch) -> None:
        """Count the norms of the batch's finite tokens."""
        for k in range(len(self.layout.strata)):
            if rows := batch.rows(k):
                norms = {"l2": np.sqrt(rows.stack("row_sumsq")), "linf": rows.stack("row_absmax")}
                for key, values in norms.items():
                    for site, finite in enumerate(rows.finite):
                        self.arrays[key][site, k] += _count(values[site, finite])

    def dataset(self, decode: Decode) -> xr.Dataset:
        """Label the counts ``[site, stratum, magnitude]``."""
        dims = ("site", "stratum", "magnitude")
        names = {"l2": "L2 norm of a hidden state", "linf": "largest magnitude of a hidden state"}
        return xr.Dataset(
            {
                key: (dims, self.arrays[key], {"long_name": f"tokens by {name}", "units": "tokens"})
                for key, name in names.items()
            }
        )


def _count(magnitudes: NDArray[np.float64]) -> NDArray[np.int64]:
    # Two finite float32 can have a norm beyond float32: that is the cell of infinity.
    with np.errstate(over="ignore"):
        bits = magnitudes.astype(np.float32).view(np.uint32)
    return np.bincount(bits >> 16, minlength=MAGNITUDES)
