"""How often values fall into each cell of the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hiddenscope.grid import CELLS
from hiddenscope.stats.base import SumAccumulator

if TYPE_CHECKING:
    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch


class Grid(SumAccumulator):
    """Counts of every value by site, stratum and cell; NaN and ±Inf have cells of their own."""

    name = "grid"

    def empty(self) -> State:
        """Return zero counts."""
        shape = (len(self.layout.sites), len(self.layout.strata), CELLS)
        return {"count": np.zeros(shape, np.int64)}

    def update(self, batch: Batch) -> None:
        """Count the values of a batch."""
        for k in range(len(self.layout.strata)):
            if rows := batch.rows(k):
                for count, scan in zip(self.arrays["count"], rows.scans, strict=True):
                    count[k] += scan.cells.cpu().numpy()

    def dataset(self, decode: Decode) -> xr.Dataset:
        """Label the counts ``[site, stratum, cell]``."""
        attrs = {"long_name": "values in a cell of the grid", "units": "values"}
        dims = ("site", "stratum", "cell")
        return xr.Dataset({"count": (dims, self.arrays["count"], attrs)})
