"""The article's wing: how R² between sites opens and closes through depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, subject
from hiddenscope.figures.r2 import lowest_drawn

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

ORDINALS = {2: "second", 3: "third"}
CURVES = 16
"""With at most this number of sites each has a curve on the left; with more only every second
block, or every third, …"""


@dataclass(frozen=True, kw_only=True)
class Wing(Prepared):
    """R² through depth.

    Attributes
    ----------
    sites : list of str
    matrix : ndarray[site, site] of float64
        Pooled R².
    step : int
        Every `step`-th block has a curve of its own.
    lines : DataFrame[site]
        R² with the ``next`` site, with ``embed`` and with ``final_norm``; NaN with itself.
    range : (float, float)
        Where the y axes begin and end.
    """

    sites: list[str]
    matrix: NDArray[np.float64]
    step: int
    lines: pd.DataFrame
    range: tuple[float, float]


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    range: tuple[float, float] | None = None,
) -> Wing:
    """Draw R² of each site with every other over depth, and with three sites of interest.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    range : (float, float), optional
        Of the y axes; by default from 0, or from just below the smallest value near 1, to 1.
    """
    s = subject(tree, view, sites, "cross")
    matrix = analysis.r2(s.stream, "pooled", view).sel(site_a=s.sites, site_b=s.sites).values
    others = matrix[~np.eye(len(s.sites), dtype=bool)]
    if not np.isfinite(others).any():
        msg = "there is no R² between two sites to draw: choose more sites or another view"
        raise FigureError(msg)
    lines = analysis.wing(s.stream, view).loc[s.sites]
    for column in lines:
        # R² of a site with itself is 1 and says nothing.
        lines[column] = lines[column].where(lines.index != column)
    step = -(-len(s.sites) // CURVES)
    every = (
        f"on the left the curves of every {ORDINALS.get(step, f'{step}th')} block"
        if step > 1
        else ""
    )
    return Wing(
        title=f"R² through depth, {s.model}",
        claim=analysis.step_words(s.stream, view, s.sites),
        caption=s.caption("pooled R² of the flattened states", every),
        sites=s.sites,
        matrix=matrix,
        step=step,
        lines=lines,
        range=(lowest_drawn(float(np.nanmin(others))), 1.0)
        if range is None
        else arguments.limits("range", range),
    )
