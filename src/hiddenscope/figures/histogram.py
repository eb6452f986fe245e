"""The article's histogram: one curve a site, logarithmic counts, one range for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope import analysis, arguments
from hiddenscope.analysis import density
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, subject
from hiddenscope.sites import Site
from hiddenscope.words import counted, number

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

BEYOND = "one range: beyond it about 1 in 10,000 of a site's values at most, on either side"
FEW = 10
"""Bins with fewer values are drawn faint: their height is mostly chance."""
EVEN = 1.1
"""Bins of which the widest is at most so many times as wide as the narrowest are even."""


@dataclass(frozen=True, kw_only=True)
class Histogram(Prepared):
    """Distributions on one range.

    Attributes
    ----------
    sites : list of str
    table : DataFrame
        As `hiddenscope.analysis.density.densities` returns it.
    scale : {'linear', 'asinh'}
        Of the x axis.
    y : {'share', 'density'}
        The column of `table` to draw.
    log : bool
        Whether the y axis is logarithmic.
    beyond : tuple of str
        What lies below and above the range, in words.
    """

    sites: list[str]
    table: pd.DataFrame
    scale: str
    y: str
    log: bool
    beyond: tuple[str, str]


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    bins: int = 200,
    x: str | None = None,
    range: tuple[float, float] | None = None,
    log: bool = True,
) -> Histogram:
    """Draw the distribution of each site's activations on one range, with a logarithmic y axis.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    bins : int
        Over the common range, which leaves out at most 1 in 10,000 of a site's values on either
        side; what lies beyond is counted at the edge.
    x : {'linear', 'asinh'}, optional
        By default linear, or asinh where the widest site is more than ten times as wide as the
        narrowest block. Where bins are equally wide y is the share of values in each; else, as
        on an asinh axis or where they are hardly wider than the grid's cells, their density.
    range : (float, float), optional
        The range instead, in activations.
    log : bool
        Whether the y axis is logarithmic.
    """
    arguments.check({"x": arguments.optional(arguments.TEXT)}, {"x": x})
    s = subject(tree, view, sites)
    scale = x or analysis.scale_of(s.stream, view, s.sites)
    if scale not in {"linear", "asinh"}:
        msg = f"unknown x {scale!r}: choose linear or asinh"
        raise FigureError(msg)
    table = density.densities(s.stream, scale, bins, view, s.sites, range=range)
    if table.empty:
        raise FigureError(no_density(view))
    # Uneven bins would make combs of smooth curves; those at the ends may be cut.
    widths = (table["right"] - table["left"])[table["site"] == table["site"].iloc[0]].iloc[1:-1]
    even = not len(widths) or widths.max() <= EVEN * widths.min()
    return Histogram(
        title=f"Histogram of activations, {s.model}",
        claim=analysis.spread_words(s.stream, view, s.sites),
        caption=s.caption(
            "" if range else BEYOND,
            f"faint: fewer than {FEW} values in the bin",
        ),
        sites=s.sites,
        table=table,
        scale=scale,
        y="share" if scale == "linear" and even else "density",
        log=bool(log),
        beyond=beyond_words(table.attrs["sites"]),
    )


def no_density(view: str) -> str:
    """Say why there is no distribution to draw."""
    return f"the states in the view {view!r} do not vary at these sites: there is no density"


def beyond_words(sites: pd.DataFrame) -> tuple[str, str]:
    """Say how many values lie below and above a range, and how far the farthest goes."""
    texts = []
    for column, end, farthest in (("below", "min", "idxmin"), ("above", "max", "idxmax")):
        count = int(sites[column].sum())
        site = getattr(sites[end], farthest)()
        values = f"{counted(count, 'value')} beyond"
        far = f"farthest {number(float(sites.loc[site, end]))}\n({Site.parse(str(site)).label})"
        texts.append(f"{values},\n{far}" if count else "")
    return texts[0], texts[1]
