"""R² of every pair of sites, with and without the channels that decide it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments, words
from hiddenscope.analysis.shares import LOUDEST
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

NEAR_ONE = 0.4
"""Where no R² is below this, the colours begin at the smallest one."""


@dataclass(frozen=True, kw_only=True)
class R2(Prepared):
    """Matrices of R².

    Attributes
    ----------
    sites : list of str
    panels : dict of str to ndarray[site, site] of float64
        Title of a panel → its values, NaN where there is no variance.
    range : (float, float)
        Where the colours begin and end.
    """

    sites: list[str]
    panels: dict[str, NDArray[np.float64]]
    range: tuple[float, float]


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    without: Sequence[int] | None = None,
    range: tuple[float, float] | None = None,
) -> R2:
    """Draw R² of every pair of sites: pooled, within channels, without the loudest channels.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    without : sequence of int, optional
        Channels that the third panel leaves out; by default the three loudest.
    range : (float, float), optional
        Of the colours; by default from 0, or from just below the smallest value near 1, to 1.
    """
    s = subject(tree, view, sites, "cross")
    few = min(LOUDEST, s.channels - 1)
    held = analysis.loudest(s.stream, view, by="pooled")
    given = [] if without is None else arguments.numbers("without", without, whole=True).tolist()
    left = given or [int(c) for c in held.index[:few]]
    panels = {
        "pooled (the article's)": analysis.r2(s.stream, "pooled", view),
        "within channels": analysis.r2(s.stream, "within", view),
        f"without {words.channels(left)}": analysis.r2(s.stream, "pooled", view, without=left),
    }
    tables = {name: trunk_table(table, s.sites).values for name, table in panels.items()}
    if not any(np.isfinite(v).any() for v in tables.values()):
        msg = f"the states in the view {view!r} do not vary: there is no R² to draw"
        raise FigureError(msg)
    note = "hatched: no variance" if any(np.isnan(v).any() for v in tables.values()) else ""
    lowest = min(float(np.nanmin(v)) for v in tables.values() if np.isfinite(v).any())
    return R2(
        title=f"R² between sites, {s.model}",
        claim=analysis.share_words(s.stream, view, left),
        caption=s.caption("R² of the flattened states", note),
        sites=s.sites,
        panels=tables,
        range=(lowest_drawn(lowest), 1.0) if range is None else arguments.limits("range", range),
    )


def lowest_drawn(lowest: float) -> float:
    """Return where a scale of R² begins: at 0, or just below the smallest value near 1."""
    return float(np.floor(lowest * 20) / 20) if lowest > NEAR_ONE else 0.0


def trunk_table(table: xr.DataArray, sites: list[str]) -> xr.DataArray:
    """Return the part of a table between sites that a figure shows.

    Raises
    ------
    FigureError
        The table does not hold one of the sites.
    """
    held = [str(s) for s in table["site_a"].values]
    missing = [s for s in sites if s not in held]
    if missing:
        msg = f"R² and covariance are kept for {', '.join(held)}, not for {missing[0]}"
        raise FigureError(msg)
    return table.sel(site_a=sites, site_b=sites)


def hundredths(value: float) -> str:
    """Write R² in hundredths without the zero before the point."""
    text = f"{value:.2f}"
    return "1" if text == "1.00" else text[1:] if value >= 0.005 else "0"
