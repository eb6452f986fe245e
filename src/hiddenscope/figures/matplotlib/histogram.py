"""The histogram, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hiddenscope.figures.histogram import FEW
from hiddenscope.figures.matplotlib.artists import stairs
from hiddenscope.figures.matplotlib.axis import value_axis
from hiddenscope.figures.matplotlib.key import key
from hiddenscope.figures.matplotlib.style import CELL, MUTED, SINGLE, sheet, site_colours
from hiddenscope.figures.places import SET_OFF
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hiddenscope.figures.histogram import Histogram


def draw(shown: Histogram) -> Figure:
    """Draw one curve for each site; `embed` and `final_norm` in front."""
    figure = sheet(SINGLE, 48, shown)
    axes = figure.subplots()
    table = shown.table
    colours = site_colours(shown.sites)
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
    axes.set_yscale("log")
    axes.set_ylim(filled.min() * 0.7, filled.max() * 1.6)
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
    value_axis(
        axes.xaxis, shown.scale, table.attrs["low"], table.attrs["high"], table.attrs["linear"]
    )
    axes.set_xlabel("activation" if shown.scale == "linear" else "activation (asinh scale)")
    axes.set_ylabel(
        "share of values in the bin (log)" if shown.scale == "linear" else "density per unit (log)"
    )
    for (side, align), words in zip(((0.01, "left"), (0.99, "right")), shown.beyond, strict=True):
        axes.text(
            *(side, 0.98, words),
            transform=axes.transAxes,
            size=CELL,
            color=MUTED,
            ha=align,
            va="top",
        )
    key(figure, axes, shown.sites)
    return figure
