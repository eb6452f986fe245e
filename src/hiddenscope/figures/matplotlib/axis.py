"""Axes of sites and of activations: labels kept apart, few ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from hiddenscope.figures.matplotlib.style import TICK, text_width
from hiddenscope.figures.places import SET_OFF, STEPS
from hiddenscope.figures.scales import ROOM, asinh_ticks
from hiddenscope.words import tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import ArrayLike

    from hiddenscope.figures.places import Places


SEPARATE = 1e5
"""Over more decades than these the marks between them run into each other."""


def label_sites(
    axis: Axis,
    where: Places,
    per_unit: float,
    *,
    size: float,
    across: bool = True,
    labels: Sequence[str] | None = None,
    upright: bool = True,
) -> None:
    """Write the sites at an axis, thinned so that no two labels touch.

    Parameters
    ----------
    axis : Axis
    where : Places
    per_unit : float
        Points from block to block, as printed.
    size : float
        Of the text, in points.
    across : bool
        Labels follow each other in reading direction (an x axis), not one below the other.
    labels : sequence of str, optional
        By site; by default the blocks' numbers, and words.
    upright : bool
        False turns the words of the sites that are set off, where there is no room for them.
    """
    texts = list(labels or where.labels())
    blocks = [
        text_width(t, size) for t, s in zip(texts, where.sites, strict=True) if s not in SET_OFF
    ]
    turned = across and max(blocks, default=0.0) > 4 * size
    need = 1.15 * size
    if across and not turned:
        need = max(blocks, default=0.0) + 0.45 * size
    step = next((n for n in STEPS if n * per_unit >= need), STEPS[-1])
    shown = where.shown(step)
    if across and upright and not turned:
        texts = [
            t.replace(" ", "\n") if s in SET_OFF else t
            for t, s in zip(texts, where.sites, strict=True)
        ]

    def stands(i: int) -> bool:
        return turned or (not upright and where.sites[i] in SET_OFF)

    def extent(i: int) -> float:
        if not across or stands(i):
            return size
        return max(text_width(line, size) for line in texts[i].split("\n"))

    def clear(i: int, j: int, room: float = 0.3) -> bool:
        apart = abs(float(where.at[i] - where.at[j])) * per_unit
        return apart >= (extent(i) + extent(j)) / 2 + room * size

    # The words and the last block come first; what stands too near to them gives way.
    words = [i for i in shown if where.sites[i] in SET_OFF]
    last = [i for i, s in enumerate(where.sites) if s not in SET_OFF][-1:]
    lower = across and not turned and not all(clear(i, j) for i in last for j in words)
    if lower:
        # One line lower the words are in nobody's way.
        others = [i for i in shown if i not in words and all(i == j or clear(i, j) for j in last)]
    else:
        last = [i for i in last if all(clear(i, j, 0.05) for j in words)]
        fixed = [*words, *last]
        others = [i for i in shown if i not in fixed and all(clear(i, j) for j in fixed)]
    shown = sorted({*words, *last, *others})
    axis.set_ticks([float(where.at[i]) for i in shown], [texts[i] for i in shown], fontsize=size)
    if not across:
        return
    for i, mark in zip(shown, axis.get_major_ticks(), strict=True):
        if stands(i):
            mark.label1.set_rotation(90)
        if lower and i in words:
            mark.set_pad(mpl.rcParams["xtick.major.pad"] + 1.3 * size)


def sites_across(axes: Axes, where: Places, points: float) -> None:
    """Set up an x axis of sites.

    Parameters
    ----------
    axes : Axes
    where : Places
    points : float
        The width of the axes.
    """
    edge = 0.5 + 0.02 * where.span
    axes.set_xlim(where.at[0] - edge, where.at[-1] + edge)
    label_sites(axes.xaxis, where, points / (where.span + 2 * edge), size=TICK)
    axes.set_xlabel(where.title())


def value_axis(
    axis: Axis, scale: str, low: float, high: float, linear: float, *, room: float = ROOM
) -> None:
    """Set up an axis of activations from `low` to `high`, linear or asinh.

    Parameters
    ----------
    axis : Axis
    scale : {'linear', 'asinh'}
    low, high : float
    linear : float
        The linear part of an asinh axis.
    room : float
        The share of the axis that a label needs.
    """
    axes = axis.axes
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if axis is axes.xaxis else (axes.set_yscale, axes.set_ylim)
    )
    if scale == "asinh":
        set_scale("asinh", linear_width=linear)
        axis.set_major_locator(FixedLocator(asinh_ticks(low, high, linear, room)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(min(6, int(1 / room))))
    set_limits(low, high)
    axis.set_major_formatter(FuncFormatter(tick))


def magnitude_axis(
    axes: Axes, values: ArrayLike, *, log: bool, span: tuple[float, float] | None = None
) -> None:
    """Set up a y axis of magnitudes, linear or logarithmic.

    Parameters
    ----------
    axes : Axes
    values : array
        What is drawn: by default all of it that is finite (and above 0) is in sight.
    log : bool
    span : (float, float), optional
        Where the axis begins and ends instead.
    """
    held = np.asarray(values, np.float64).ravel()
    held = held[np.isfinite(held) & ((held > 0) | (not log))]
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
    if span is None and len(held):
        scale = axes.yaxis.get_transform()
        low, high = scale.transform(np.array([held.min(), held.max()]))
        room = 0.05 * (high - low) or 0.05
        span = tuple(scale.inverted().transform(np.array([low - room, high + room])))
    if span is not None:
        axes.set_ylim(*span)
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())


def count_axis(axes: Axes, values: ArrayLike, *, log: bool) -> None:
    """Set up a y axis of counts, shares or densities, from those that are above 0."""
    held = np.asarray(values, np.float64)
    if log:
        axes.set_yscale("log")
        low, high = held.min() * 0.7, held.max() * 1.6
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
        if high > SEPARATE * low:
            axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, held.max() * 1.15)
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
