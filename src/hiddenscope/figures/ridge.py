"""One row per site: the density of its values on a log scale, with a normal behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis
from hiddenscope.analysis import density
from hiddenscope.errors import FigureError
from hiddenscope.figures.histogram import no_density
from hiddenscope.figures.prepared import Prepared, subject
from hiddenscope.sites import Site
from hiddenscope.words import counted, number

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

DECADES = 6
"""A row spans the site's peak and this many decades below it."""
FILL = 0.86
"""Share of a row's height that the peak reaches."""


@dataclass(frozen=True, kw_only=True)
class Ridge(Prepared):
    """A density for each site.

    Attributes
    ----------
    sites : list of str
    table : DataFrame
        As `hiddenscope.analysis.density.densities` returns it.
    scale : {'sigma', 'linear', 'asinh'}
        Of the x axis.
    label : str
        Of the x axis.
    unit : str
        What `widths` are called.
    widths : ndarray[site] of float64
        Each site's scale.
    """

    sites: list[str]
    table: pd.DataFrame
    scale: str
    label: str
    unit: str
    widths: NDArray[np.float64]


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    bins: int = 160,
    x: str = "sigma",
    range: tuple[float, float] | None = None,
) -> Ridge:
    """Draw the density of each site's activations as a row, logarithmic, behind it a normal.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    bins : int
        Over the common range, which leaves out at most 1 in 10,000 of a site's values on either
        side.
    x : {'sigma', 'linear', 'asinh'}
        In standard deviations from the site's mean (where one value makes most of a σ, in a
        scale read off quantiles), or activations on a linear or an asinh axis.
    range : (float, float), optional
        The range instead, in units of `x`.
    """
    s = subject(tree, view, sites)
    table = density.densities(s.stream, x, bins, view, s.sites, range=range)
    if table.empty:
        raise FigureError(no_density(view))
    scales = table.attrs["sites"]
    robust = x == "sigma" and bool((scales["dominated"] >= density.DOMINATED).any())
    unit, centre = ("s", "median") if robust else ("σ", "mean")
    raw = "activation (asinh scale)" if x == "asinh" else "activation"
    return Ridge(
        title=f"Density of activations by site, {s.model}",
        claim=analysis.tail_words(s.stream, view, s.sites),
        caption=s.caption(
            "blue and orange: density, grey: a normal "
            + (
                "with the same quantiles of 15.9 and 84.1 %"
                if robust
                else "of the same mean and standard deviation"
            ),
            f"each row reaches {DECADES} decades below a normal's peak, dotted line: 1/1,000 of it",
            _dominated_words(scales) if robust else "",
            _outside_words(scales, usual=range is None),
        ),
        sites=s.sites,
        table=table,
        scale=x,
        label=f"(activation − {centre}) / {unit} of the site" if x == "sigma" else raw,
        unit=unit,
        widths=scales["unit" if robust else "std"].to_numpy(np.float64),
    )


def _dominated_words(scales: pd.DataFrame) -> str:
    site = str(scales["dominated"].idxmax())
    many = int((scales["dominated"] >= density.DOMINATED).sum())
    return (
        f"one value holds {float(scales['dominated'].max()):.0%} of the variance of "
        f"{Site.parse(site).label} ({counted(many, 'site')} of this kind), so σ says little: "
        "s is half the distance of the quantiles of 15.9 and 84.1 %"
    )


def _outside_words(scales: pd.DataFrame, *, usual: bool) -> str:
    count = int(scales[["below", "above"]].to_numpy().sum())
    if not count:
        return ""
    low, high = number(float(scales["min"].min())), number(float(scales["max"].max()))
    most = "about 1 in 10,000 of a site at most on either side, " if usual else ""
    return f"beyond the x axis: {counted(count, 'value')}, {most}as far as {low} and {high}"


def height(density: NDArray[np.float64], top: float) -> NDArray[np.float64]:
    """Turn densities into heights in rows: `FILL` at the normal's peak, 0 `DECADES` below."""
    with np.errstate(divide="ignore"):
        decades = np.log10(density / top) / DECADES + 1
    return FILL * np.clip(decades, 0.0, 1.12)
