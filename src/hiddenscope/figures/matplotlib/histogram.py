"""The histogram, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hiddenscope.figures.histogram import FEW
from hiddenscope.figures.matplotlib.artists import stairs
from hiddenscope.figures.matplotlib.axis import value_axis
from hiddenscope.figures.matplotlib.key import key
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import CELL, SINGLE
from hiddenscope.figures.places import SET_OFF
from hiddenscope.words import tick

if TYPE_CHECKING:
    from hiddenscope.figures.histogram import Histogram
    from hiddenscope.figures.look import Look


def draw(shown: Histogram, look: Look) -> Page:
    """Draw one curve for each site; `embed` and `final_norm` in front."""
    page = Page(look, SINGLE, 48, shown)
    (axes,) = page.axes((1, 1))
    table = shown.table
    colours = page.site_colours(shown.sites)
    for site, part in table.groupby("site", sort=False):
        edges = np.append(part["left"].to_numpy(), part["right"].to_numpy()[-1])
        values = part[shown.y].where(part["count"] > 0).to_numpy(np.float64)
        strong = part[shown.y].where(part["count"] >= FEW).to_numpy(np.float64)
        front = 3 if site in SET_OFF else 2
        wide = 1.1 if site in SET_OFF else 0.7
        style: dict[str, Any] = {"color": colours[str(site)], "zorder": front}
        stairs(axes, values, edges, alpha=0.3, linewidth=0.5, gid=f"all:{site}", **style)
        stairs(axes, strong, edges, linewidth=wide, gid=f"many:{site}", **style)
    filled = table.loc[table["count"] > 0, shown.y]
    if shown.log:
        axes.set_yscale("log")
        axes.set_ylim(filled.min() * 0.7, filled.max() * 1.6)
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
    else:
        axes.set_ylim(0, filled.max() * 1.15)
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
    value_axis(
        axes.xaxis, shown.scale, table.attrs["low"], table.attrs["high"], table.attrs["linear"]
    )
    axes.set_xlabel("activation" if shown.scale == "linear" else "activation (asinh scale)")
    axes.set_ylabel(
        ("share of values in the bin" if shown.scale == "linear" else "density per unit")
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
