"""The largest magnitudes, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import offset_copy

from hiddenscope.figures.matplotlib.artists import site_map
from hiddenscope.figures.matplotlib.axis import label_sites, magnitude_axis
from hiddenscope.figures.matplotlib.key import head
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import CELL, DOUBLE, TICK, text_width
from hiddenscope.figures.outliers import FAR, LINES
from hiddenscope.figures.places import SET_OFF, places, spread
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.outliers import LargestMagnitudes

MARKERS = ("o", "s", "^", "D")
"""Of `LINES`."""
SHADES = ("#0c1b4d", "#3a78b8", "#56b4e9")
SHADES_ON_DARK = ("#eafaf7", "#8fbfe8", "#4d8cc9")
"""Of the three largest."""


def draw(shown: LargestMagnitudes, look: Look) -> Page:
    """Draw the three largest magnitudes and the median by depth, and a map by channel."""
    page = Page(look, DOUBLE, 52, shown)
    left, right = page.axes((1, 2), width_ratios=(1, 1.15))
    _depth(page, left, shown)
    _map(page, right, shown)
    return page


def _depth(page: Page, axes: Axes, shown: LargestMagnitudes) -> None:
    where = places(shown.sites, 0.4)
    handles = []
    shades = SHADES_ON_DARK if page.dark else SHADES
    colours = (*shades, page.highlight(0))
    for colour, marker, (column, name) in zip(colours, MARKERS, LINES.items(), strict=True):
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=2.4, label=name))
        values = shown.magnitudes[column].to_numpy(np.float64)
        values = np.where(values > 0, values, np.nan)
        for run in where.runs:
            alone = where.sites[run[0]] in SET_OFF
            axes.plot(
                where.at[run],
                values[run],
                color=colour,
                marker=marker,
                markersize=2.4,
                linewidth=0.8,
                linestyle="none" if alone else "-",
                gid=f"line:{column}",
            )
    drawn = shown.magnitudes[list(LINES)].to_numpy(np.float64)
    magnitude_axis(axes, drawn, log=shown.log, span=shown.range)
    axes.set_xlim(where.at[0] - 0.6, where.at[-1] + 0.6)
    axes.grid(axis="y", color=page.grey(0.882), linewidth=0.4)
    room = page.room(axes, 66, 2)
    label_sites(axes.xaxis, where, room / (where.span + 0.2), size=TICK)
    axes.set_xlabel(where.title())
    axes.set_ylabel("magnitude (log)" if shown.log else "magnitude")
    head(axes, "three largest, and the median", room, handles, list(LINES.values()))


def _map(page: Page, axes: Axes, shown: LargestMagnitudes) -> None:
    table = shown.relative
    group = int(table.attrs["group"])
    values = table.to_numpy(np.float64)
    values = np.where(values > 0, values, np.nan)
    first = table.columns.to_numpy(np.float64)
    x = np.append(first, shown.channels) - 0.5
    # Each site against its own median: the loudest site must not wash out the others.
    top = float(np.clip(np.nanmax(values), 3.0, FAR))
    beyond = bool(np.nanmax(values) > FAR)
    norm = LogNorm(1.0, top)
    mesh = site_map(page, axes, shown.sites, values, x=x, norm=norm, high=40)
    room = page.room(axes, 60, 2)
    axes.xaxis.set_major_locator(MaxNLocator(max(1, min(6, int(room / 20))), integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel("channel" if group == 1 else f"channel (largest of every {group})")
    _number_channels(page, axes, shown, room)
    page.colorbar(
        mesh,
        axes,
        "largest ÷ median channel's (log)",
        ticks=[t for t in (1, 2, 5, 10, 20) if t <= top],
        aspect=28,
        pad=0.02,
        extend="max" if beyond else "neither",
    )
    head(axes, "by site and channel, relative to the site", room)


def _number_channels(page: Page, axes: Axes, shown: LargestMagnitudes, room: float) -> None:
    """Write channels above the map, kept apart, with lines to their columns."""
    if not shown.numbered:
        return
    colours = page.channel_colours(shown.loud)
    wide = max(text_width(str(c), CELL) for c in shown.numbered) + 3
    gap = wide * shown.channels / room
    # On a narrow page the first of them, which matter most.
    numbered = shown.numbered[: max(1, int(room / wide))]
    at = spread([float(c) for c in numbered], gap, gap / 2, shown.channels - gap / 2)
    # Below the title, whatever the height of the map.
    above = offset_copy(axes.get_xaxis_transform(), page.figure, y=4.5, units="points")
    for channel, x in zip(numbered, at, strict=True):
        axes.annotate(
            str(channel),
            (channel, 1.0),
            (float(x), 1.0),
            xycoords=axes.get_xaxis_transform(),
            textcoords=above,
            size=CELL,
            color=colours.get(channel, page.ink),
            weight="bold",
            ha="center",
            arrowprops={
                "arrowstyle": "-",
                "color": page.muted,
                "linewidth": 0.4,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
