"""Norms by position, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from hiddenscope.figures.matplotlib.axis import magnitude_axis
from hiddenscope.figures.matplotlib.key import key
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import SINGLE
from hiddenscope.figures.places import SET_OFF
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.positions import Positions

START = 0.4
"""The room between positions 0 and 1 on a logarithmic axis, in decades."""


def draw(shown: Positions, look: Look) -> Page:
    """Draw a curve for each site, and a ring for its position 0."""
    page = Page(look, SINGLE, 48, shown)
    (axes,) = page.axes((1, 1))
    colours = page.site_colours(shown.sites)
    inside = shown.places[0] == 0
    for site, values, start in zip(shown.sites, shown.norms, shown.start, strict=True):
        front = site in SET_OFF
        style: dict[str, Any] = {"color": colours[site], "zorder": 3 if front else 2}
        axes.plot(
            shown.places,
            values,
            marker="o" if len(values) == 1 else "",
            markersize=2.0,
            linewidth=1.1 if front else 0.7,
            gid=f"line:{site}",
            **style,
        )
        axes.plot(
            0,
            start,
            marker="o",
            markersize=3.2,
            markerfacecolor=page.paper,
            markeredgewidth=0.8,
            linestyle="none",
            gid=f"start:{site}",
            **(style | {"zorder": 4}),
        )
        if not inside:
            # So that one sees whose ring it is, though the view leaves it out.
            axes.plot(
                [0, shown.places[0]],
                [start, values[0]],
                linewidth=0.4,
                linestyle=(0, (1, 2)),
                gid=f"left_out:{site}",
                **style,
            )
    drawn = np.concatenate([shown.norms.ravel(), shown.start])
    magnitude_axis(axes, drawn, log=shown.log, span=shown.range)
    _position_axis(axes, shown)
    axes.set_ylabel("root mean square norm" + " (log)" * shown.log)
    key(page, axes, shown.sites)
    return page


def _position_axis(axes: Axes, shown: Positions) -> None:
    """Set up the x axis: position 0 stands within it, not on its edge."""
    axes.set_xlabel("token index in its window" + " (log)" * (shown.x == "log"))
    if shown.x == "linear":
        axes.set_xlim(-0.04 * (shown.last + 1), 1.02 * (shown.last + 1))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    else:
        axes.set_xscale("symlog", linthresh=1, linscale=START)
        axes.set_xlim(-0.3, 1.1 * (shown.last + 1))
        powers = 10.0 ** np.arange(np.floor(np.log10(shown.last + 1)) + 1)
        axes.xaxis.set_major_locator(FixedLocator([0.0, *powers]))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
