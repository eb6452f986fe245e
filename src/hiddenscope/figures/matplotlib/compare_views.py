"""Two views, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from hiddenscope.figures.colours import of_channels
from hiddenscope.figures.compare_views import BAND
from hiddenscope.figures.matplotlib.artists import density_curve, site_curve
from hiddenscope.figures.matplotlib.axis import (
    count_axis,
    magnitude_axis,
    sites_across,
    value_axis,
)
from hiddenscope.figures.matplotlib.key import above
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import DOUBLE, MM
from hiddenscope.figures.places import places
from hiddenscope.figures.scales import ROOM
from hiddenscope.sites import Site
from hiddenscope.strata import FIRST

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from hiddenscope.figures.compare_views import CompareViews, Panel
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Places

COLUMNS = 4
"""Histograms side by side; below them the norms take half, the means of each view a quarter."""


def draw(shown: CompareViews, look: Look) -> Page:
    """Draw histograms in a grid, and below them what both views are like through depth."""
    n = len(shown.panels)
    rows, wide = -(-n // COLUMNS), COLUMNS // min(n, COLUMNS)
    cells: list[tuple[Any, Any]] = []
    for i in range(n):
        row, column = divmod(i, COLUMNS)
        cells.append((row, slice(wide * column, wide * (column + 1))))
    if rows == 1:
        # Three histograms fill the row as well.
        cells[-1] = (0, slice(wide * (n - 1), COLUMNS))
    cells += [(rows, slice(0, 2)), (rows, 2), (rows, 3)]
    page = Page(look, DOUBLE, 44 * rows + 52, shown)
    axes = page.axes((rows + 1, COLUMNS), cells, height_ratios=[1.0] * rows + [1.15])
    # First tokens are black in every figure.
    colours = (page.points, page.first)[:: -1 if shown.views[0] == FIRST else 1]
    for i, panel in enumerate(shown.panels):
        _histogram(axes[i], shown, panel, colours)
        axes[i].set_ylabel("density per unit" + " (log)" * shown.log if i % COLUMNS == 0 else "")
    _name_views(axes[0], shown, colours)
    norms, *means = axes[n:]
    where = places(shown.sites, 0.4)
    _norms(page, norms, shown, where, colours)
    _name_views(norms, shown, colours)
    for view, table, below in zip(shown.views, shown.means, means, strict=True):
        _means(page, below, shown, table, where)
        below.set_title(f"channel means, {view}", pad=12)
    means[0].set_ylabel("mean" + " (asinh)" * (shown.scale == "asinh"))
    _name_channels(page, means[0], shown)
    return page


def _histogram(
    axes: Axes, shown: CompareViews, panel: Panel, colours: tuple[ColorType, ...]
) -> None:
    drawn = list(zip(shown.views, panel.tables, colours, strict=True))
    for view, table, colour in drawn:
        if not table.empty:
            density_curve(axes, table, "density", view, color=colour, linewidth=0.8)
    filled = [t.loc[t["count"] > 0, "density"].to_numpy(np.float64) for t in panel.tables]
    heights = np.concatenate(filled)
    if len(heights):
        count_axis(axes, heights, log=shown.log)
    room = 0.25 if len(shown.panels) > 1 else ROOM
    value_axis(axes.xaxis, panel.scale, panel.low, panel.high, panel.linear, room=room)
    axes.set_xlabel("activation" + " (asinh)" * (panel.scale == "asinh"))
    axes.set_title(Site.parse(panel.site).label, pad=12)


def _norms(
    page: Page, axes: Axes, shown: CompareViews, where: Places, colours: tuple[ColorType, ...]
) -> None:
    columns = [f"q{level:g}" for level in BAND]
    drawn = []
    for view, table, colour in zip(shown.views, shown.norms, colours, strict=True):
        low, middle, high = table[columns].to_numpy(np.float64).T
        for run in where.runs:
            half = 0.3 * (len(run) == 1)
            at = where.at[run] if len(run) > 1 else where.at[run[0]] + np.array([-half, half])
            below, above = (np.broadcast_to(v[run], at.shape) for v in (low, high))
            axes.fill_between(
                at, below, above, color=colour, alpha=0.25, linewidth=0, gid=f"band:{view}"
            )
        site_curve(axes, where, middle, color=colour, gid=f"median:{view}")
        drawn.append(table[columns].to_numpy(np.float64))
    magnitude_axis(axes, np.concatenate(drawn), log=shown.norms_log)
    sites_across(axes, where, 70 * page.across * MM * 72)
    axes.grid(axis="y", color=page.grey(0.882), linewidth=0.4)
    axes.set_ylabel("L2 norm" + " (log)" * shown.norms_log)
    axes.set_title("norms of hidden states", pad=12)


def _means(page: Page, axes: Axes, shown: CompareViews, table: pd.DataFrame, where: Places) -> None:
    colours = _channel_colours(page, shown)
    axes.axhline(0, color=page.grey(0.559), linewidth=0.4, zorder=0)
    for channel, values in table.items():
        site_curve(axes, where, values, color=colours[int(str(channel))], gid=f"channel:{channel}")
    value_axis(axes.yaxis, shown.scale, *shown.reach, shown.linear)
    sites_across(axes, where, 31 * page.across * MM * 72)


def _channel_colours(page: Page, shown: CompareViews) -> dict[int, ColorType]:
    """Return the channels' colours of every figure of the profile, for others those left over."""
    channels = [int(str(c)) for c in shown.means[0]]
    return of_channels(channels, page.channel_colours(shown.loud), page.muted)


def _name_views(axes: Axes, shown: CompareViews, colours: tuple[ColorType, ...]) -> None:
    lines = [Line2D([], [], color=colour, linewidth=1.4) for colour in colours]
    _legend(axes, lines, list(shown.views))


def _name_channels(page: Page, axes: Axes, shown: CompareViews) -> None:
    colours = _channel_colours(page, shown)
    lines = [Line2D([], [], color=colour, linewidth=1.4) for colour in colours.values()]
    _legend(axes, lines, [str(c) for c in colours])


def _legend(axes: Axes, lines: list[Line2D], names: list[str]) -> None:
    above(axes, lines, names, ncols=6, handlelength=0.8, handletextpad=0.3, columnspacing=0.7)
