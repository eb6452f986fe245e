"""Artists that several figures draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.patches import StepPatch

from hiddenscope.figures.histogram import FEW
from hiddenscope.figures.matplotlib.axis import label_sites
from hiddenscope.figures.matplotlib.style import MM, TICK
from hiddenscope.figures.matplotlib.theme import MATRIX
from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from hiddenscope.figures.matplotlib.page import Page
    from hiddenscope.figures.places import Places


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


def density_curve(axes: Axes, part: pd.DataFrame, y: str, name: str, **style: Any) -> None:
    """Draw a column of a table of bins as a curve, faint where a bin holds few values.

    Parameters
    ----------
    axes : Axes
    part : DataFrame
        The bins of one curve, as `hiddenscope.analysis.density.densities` returns them.
    y : {'share', 'density'}
    name : str
        Of the curve.
    **style
        Colour, width of the line, order.
    """
    edges = np.append(part["left"].to_numpy(), part["right"].to_numpy()[-1])
    faint = style | {"alpha": 0.3, "linewidth": 0.5}
    for gid, least, drawn in (("all", 1, faint), ("many", FEW, style)):
        values = part[y].where(part["count"] >= least).to_numpy(np.float64)
        stairs(axes, values, edges, gid=f"{gid}:{name}", **drawn)


def site_curve(
    axes: Axes, where: Places, values: object, *, dotted: bool = True, **style: Any
) -> None:
    """Draw a line through blocks, points at the sites that are set off."""
    array = np.asarray(values, np.float64)
    marker = style.pop("marker", "o")
    label = style.pop("label", None)
    dash = style.pop("linestyle", "-")
    gid = style.pop("gid", None)
    for run in where.runs:
        alone = where.sites[run[0]] in SET_OFF
        axes.plot(
            where.at[run],
            array[run],
            marker=marker,
            markersize=3.2 if alone else 1.8 if dotted else 0,
            # Hollow, so that what lies under it is seen.
            fillstyle="none" if alone and marker != "o" else "full",
            linestyle="none" if alone else dash,
            linewidth=0.8,
            label=None if alone else label,
            gid=gid,
            **style,
        )
