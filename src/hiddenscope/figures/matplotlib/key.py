"""What stands above a panel: its title, and the key to its colours and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D

from hiddenscope.figures.matplotlib.axis import label_sites
from hiddenscope.figures.matplotlib.style import BASE, TICK, text_width, wrap
from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from hiddenscope.figures.matplotlib.page import Page


def key(page: Page, axes: Axes, sites: list[str], *, titled: bool = True) -> None:
    """Name the colours: a bar for the blocks, lines above the axes for the other sites."""
    colours = page.site_colours(sites)
    blocks = [site for site in sites if site not in SET_OFF]
    named = [site for site in sites if site in SET_OFF or len(blocks) == 1]
    lines = [Line2D([], [], color=colours[site], linewidth=1.4) for site in named]
    if named:
        names = [Site.parse(site).label for site in named]
        above(axes, lines, names, ncols=3, handlelength=1.4, columnspacing=1.4)
    if len(blocks) < 2:
        return
    where = places(blocks, 0.0)
    scale = ScalarMappable(
        BoundaryNorm(np.arange(len(blocks) + 1) - 0.5, len(blocks)),
        ListedColormap([colours[site] for site in blocks]),
    )
    bar = page.figure.colorbar(scale, ax=axes, aspect=28, pad=0.015, ticks=[])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()
    height = axes.get_window_extent().height / page.figure.dpi * 72
    # What is written above and below takes its part of the height when all is laid out.
    left = 0.8 if titled else 0.6
    label_sites(bar.ax.yaxis, where, left * height / len(blocks), size=TICK, across=False)
    if titled:
        bar.set_label(where.title())


def above(axes: Axes, lines: Sequence[Artist], names: Sequence[str], **style: Any) -> None:
    """Write the key to lines above the axes, on their left."""
    axes.legend(
        lines,
        names,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderpad=0.1,
        borderaxespad=0.1,
        **style,
    )


def head(
    axes: Axes,
    title: str,
    room: float,
    lines: Sequence[Artist] = (),
    names: Sequence[str] = (),
    *,
    rows: int = 1,
    **style: Any,
) -> None:
    """Write a panel's title and, below it, the key to its lines, in the width that it has.

    Parameters
    ----------
    axes : Axes
    title : str
    room : float
        Points.
    lines, names : sequence of Artist, of str
    rows : int
        Without lines, those of what is written below the title otherwise.
    **style
        As `Axes.legend` takes it.
    """
    if lines:
        style = {"handlelength": 1.6, "handletextpad": 0.5, "columnspacing": 1.0} | style
        beside = TICK * (style["handlelength"] + style["handletextpad"])
        widths = [text_width(name, TICK) + beside for name in names]
        columns = _columns(widths, room, TICK * style["columnspacing"])
        rows = -(-len(names) // columns)
        above(axes, lines, names, ncols=columns, **style)
    axes.set_title("\n".join(wrap(title, room, BASE, "bold")), pad=3 + 9 * rows)


def _columns(widths: Sequence[float], room: float, between: float) -> int:
    """Return in how many columns, filled one after the other, names fit into a width."""
    for columns in range(len(widths), 1, -1):
        rows = -(-len(widths) // columns)
        widest = [max(widths[i : i + rows]) for i in range(0, len(widths), rows)]
        if sum(widest) + between * (len(widest) - 1) <= room:
            return columns
    return 1
