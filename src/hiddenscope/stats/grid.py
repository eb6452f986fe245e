"""How often values fall into each cell of the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.grid import CELLS, LOWER
from hiddenscope.stats.base import CountAccumulator

if TYPE_CHECKING:
    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch


class Grid(CountAccumulator):
    """Counts of every value by site, stratum and cell; NaN and ±Inf have cells of their own."""

    name = "grid"

    @property
    def shape(self) -> tuple[int, int, int]:
        """``[site, stratum, cell]``."""
        return len(self.layout.sites), len(self.layout.strata), CELLS

    def update(self, batch: Batch) -> None:
        """Count the values of a batch."""
        strata = len(self.layout.strata)
        self._count(
            {"cell": site * strata * CELLS + scan["cell"], "count": scan["count"]}
            for site, scan in enumerate(batch.scans)
        )

    def tables(self, decode: Decode) -> State:
        """Return the counts ``[site, stratum, cell]``."""
        return {"count": self.dense(), "value": LOWER}
