"""Artists that several figures draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.patches import StepPatch

from hiddenscope.figures.matplotlib.axis import label_sites
from hiddenscope.figures.matplotlib.style import MM, TICK
from hiddenscope.figures.matplotlib.theme import MATRIX
from hiddenscope.figures.places import places
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from hiddenscope.figures.matplotlib.page import Page


def site_map(
    page: Page,
    axes: Axes,
    sites: list[str],
    values: Any,
    *,
    x: Any,
    norm: Normalize,
    high: float,
) -> QuadMesh:
    """Draw a map with a row for each site, `embed` and `final_norm` a little apart.

    Parameters
    ----------
    page : Page
    axes : Axes
    sites : list of str
    values : ndarray[site, column] of float64
        NaN where there is nothing to draw.
    x : ndarray[column + 1] of float64
        Where the columns begin and end.
    norm : Normalize
    high : float
        Of the axes as they usually are, in mm.
    """
    # Room for the labels of the sites that are set off, however many blocks there are.
    where = places(sites, 0.25 + 0.05 * len(sites))
    mesh = QuadMesh(np.zeros((2, 2, 2)))
    for run in where.runs:
        y = np.append(where.at[run] - 0.5, where.at[run][-1] + 0.5)
        held = np.ma.masked_invalid(values[run])
        mesh = axes.pcolormesh(x, y, held, norm=norm, cmap=page.cmap(MATRIX), rasterized=True)
    axes.set_ylim(where.at[-1] + 0.55, where.at[0] - 0.55)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)
    names = [Site.parse(site).label for site in sites]
    per_unit = high * page.down * MM * 72 / where.span
    label_sites(axes.yaxis, where, per_unit, size=TICK, across=False, labels=names)
    return mesh


def stairs(axes: Axes, values: Any, edges: Any, **style: Any) -> None:
    """Draw a step for each bin, as `Axes.stairs` does for axes whose limits are set by hand.

    The axes' own method looks at every corner of the path to find limits, which takes longer than
    all the rest of a histogram.
    """
    filled = style.get("fill", False)
    style = {
        "baseline": None,
        "fill": filled,
        ("facecolor" if filled else "edgecolor"): style.pop("color"),
    } | style
    axes.add_artist(StepPatch(np.asarray(values), np.asarray(edges), **style))
