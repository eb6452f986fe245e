"""The key to the sites' colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D

from hiddenscope.figures.matplotlib.axis import label_sites
from hiddenscope.figures.matplotlib.style import TICK
from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hiddenscope.figures.matplotlib.page import Page


def key(page: Page, axes: Axes, sites: list[str], *, titled: bool = True) -> None:
    """Name the colours: a bar for the blocks, lines above the axes for the other sites."""
    colours = page.site_colours(sites)
    blocks = [site for site in sites if site not in SET_OFF]
    named = [site for site in sites if site in SET_OFF or len(blocks) == 1]
    lines = [Line2D([], [], color=colours[site], linewidth=1.4) for site in named]
    if named:
        axes.legend(
            lines,
            [Site.parse(site).label for site in named],
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=3,
            borderpad=0.1,
            borderaxespad=0.1,
            handlelength=1.4,
            columnspacing=1.4,
        )
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
    label_sites(bar.ax.yaxis, where, 0.8 * height / len(blocks), size=TICK, across=False)
    if titled:
        bar.set_label(where.title())
