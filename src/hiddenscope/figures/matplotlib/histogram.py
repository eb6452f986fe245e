"""The histogram, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.figures.matplotlib.artists import density_curve
from hiddenscope.figures.matplotlib.axis import count_axis, value_axis
from hiddenscope.figures.matplotlib.key import key
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import CELL, SINGLE
from hiddenscope.figures.places import SET_OFF

if TYPE_CHECKING:
    from hiddenscope.figures.histogram import Histogram
    from hiddenscope.figures.look import Look


def draw(shown: Histogram, look: Look) -> Page:
    """Draw one curve for each site; `embed` and `final_norm` in front."""
    page = Page(look, SINGLE, 48, shown)
    (axes,) = page.axes((1, 1))
    table = shown.table
    colours = page.site_colours(shown.sites)
    bins = table.copy()
    # pandas copies them, a table by site among them, into each of its answers.
    bins.attrs.clear()
    for site, part in bins.groupby("site", sort=False):
        front = site in SET_OFF
        density_curve(
            axes,
            part,
            shown.y,
            str(site),
            color=colours[str(site)],
            linewidth=1.1 if front else 0.7,
            zorder=3 if front else 2,
        )
    filled = table.loc[table["count"] > 0, shown.y]
    count_axis(axes, filled, log=shown.log)
    value_axis(
        axes.xaxis, shown.scale, table.attrs["low"], table.attrs["high"], table.attrs["linear"]
    )
    axes.set_xlabel("activation" if shown.scale == "linear" else "activation (asinh scale)")
    axes.set_ylabel(
        ("share of values in the bin" if shown.y == "share" else "density per unit")
        + " (log)" * shown.log
    )
    for (side, align), words in zip(((0.01, "left"), (0.99, "right")), shown.beyond, strict=True):
        axes.text(
            *(side, 0.98, words),
            transform=axes.transAxes,
            size=CELL,
            color=page.muted,
            ha=align,
            va="top",
        )
    key(page, axes, shown.sites)
    return page
