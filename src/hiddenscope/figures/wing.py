"""The article's wing: how R² between sites opens and closes through depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis
from hiddenscope.errors import FigureError
from hiddenscope.figures.axis import SET_OFF, label_sites, places
from hiddenscope.figures.histogram import key
from hiddenscope.figures.matrix import lowest_drawn
from hiddenscope.figures.style import (
    DOUBLE,
    EMBED,
    FINAL_NORM,
    MM,
    POINTS,
    TICK,
    number,
    sheet,
    site_colours,
    subject,
)
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hiddenscope.figures.axis import Places

ORDINALS = {2: "second", 3: "third"}
CURVES = 16
"""Up to so many sites each has a curve on the left; of more only every second block, or third, …"""
LINES = {
    "next": ("with the next site", POINTS, "-", "o"),
    "embed": ("with embed", EMBED, "--", "s"),
    "final_norm": ("with final norm", FINAL_NORM, ":", "^"),
}


def draw(tree: xr.DataTree, *, view: str = "rest", sites: str | list[str] | None = None) -> Figure:
    """Draw R² of each site with every other over depth, and with three sites of interest.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    """
    s = subject(tree, view, sites, "cross")
    matrix = analysis.r2(s.stream, "pooled", view).sel(site_a=s.sites, site_b=s.sites).values
    others = matrix[~np.eye(len(s.sites), dtype=bool)]
    if not np.isfinite(others).any():
        msg = "there is no R² between two sites to draw: choose more sites or another view"
        raise FigureError(msg)
    table = analysis.wing(s.stream, view).loc[s.sites]
    steps = table["next"].to_numpy(np.float64)
    low = int(np.nanargmin(steps)) if np.isfinite(steps).any() else 0
    held = analysis.site_names(s.stream)
    after = held[min(held.index(s.sites[low]) + 1, len(held) - 1)]
    claim = (
        f"largest change between neighbours: {Site.parse(s.sites[low]).label} to "
        f"{Site.parse(after).label}, R² {number(float(steps[low]))}"
    )
    title = f"R² through depth, {s.model}"
    step = -(-len(s.sites) // CURVES)
    every = (
        f"on the left the curves of every {ORDINALS.get(step, f'{step}th')} block"
        if step > 1
        else ""
    )
    caption = s.caption("pooled R² of the flattened states", every)
    figure = sheet(DOUBLE, 48, title, claim, caption)
    left, right = figure.subplots(1, 2, sharey=True)
    lowest = lowest_drawn(float(np.nanmin(others)))
    where = places(s.sites, 0.4)
    colours = site_colours(s.sites)
    for i in where.shown(step):
        site = s.sites[i]
        _curve(left, where, matrix[i], dotted=step == 1, color=colours[site], gid=f"wing:{site}")
    for column, (name, colour, dash, marker) in LINES.items():
        # R² of a site with itself is 1 and says nothing.
        values = table[column].where(table.index != column).to_numpy(np.float64)
        if np.isfinite(values).any():
            _curve(
                right,
                where,
                values,
                color=colour,
                linestyle=dash,
                marker=marker,
                label=name,
                gid=f"line:{column}",
            )
    for axes, name in (
        (left, "with every site (itself: 1), a curve a site"),
        (right, "with one site"),
    ):
        axes.set_ylim(lowest - 0.03 * (1 - lowest), 1 + 0.03 * (1 - lowest))
        axes.set_xlim(where.at[0] - 0.6, where.at[-1] + 0.6)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.4)
        axes.set_xlabel(where.title())
        axes.set_title(name, pad=12)
        label_sites(axes.xaxis, where, 66 * MM * 72 / (where.span + 0.2), size=TICK)
    left.set_ylabel("R²")
    key(figure, left, s.sites, titled=False)
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.1, borderaxespad=0.1)
    return figure


def _curve(axes: Axes, where: Places, values: object, *, dotted: bool = True, **style: Any) -> None:
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
            clip_on=False,
            **style,
        )
