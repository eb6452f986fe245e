"""Through depth: nested bands between quantiles, embeddings and final norm set apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hiddenscope import analysis
from hiddenscope.figures.axis import asinh_ticks, label_sites, places, spread
from hiddenscope.figures.style import CELL, INK, MUTED, SINGLE, TICK, number, sheet, subject, tick
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from hiddenscope.figures.axis import Places

    Floats = NDArray[np.float64]

SHARES = {"all": 1.0, "99.9 %": 0.999, "99 %": 0.99, "90 %": 0.9, "50 %": 0.5}
"""What the bands hold, widest first."""
NAMES = (MUTED, "#4d6f96", "#3d6ea5", "#2f64a0", "#1d4a85")
"""Darker, to be read as text."""
BANDS = ("#d6e3f2", "#adc8e6", "#7aa5d2", "#4079b5", "#1d4a85")
WIDE, BODY = 58.0, 46.0


def draw(tree: xr.DataTree, *, view: str = "rest", sites: str | list[str] | None = None) -> Figure:
    """Draw the quantiles of activations through depth as nested bands, on an asinh axis.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    """
    s = subject(tree, view, sites)
    shares = np.array(list(SHARES.values()))
    levels = np.concatenate([(1 - shares) / 2, (1 + shares[::-1]) / 2])
    table = analysis.quantiles(s.stream, levels.tolist(), view, s.sites)
    low, high = table.values[:, : len(shares)], table.values[:, len(shares) :][:, ::-1]
    caption = s.caption(
        "bands hold the middle 50, 90, 99, 99.9 % and all of a site's values", "asinh scale"
    )
    reach = np.where(np.isnan(low[:, 0]), 0.0, np.maximum(-low[:, 0], high[:, 0]))
    far = int(reach.argmax())
    extreme = low[far, 0] if -low[far, 0] > high[far, 0] else high[far, 0]
    claim = (
        f"farthest from zero: {number(float(extreme))} "
        f"at {Site.parse(s.sites[far]).label}, where 99 % of the values lie between "
        f"{number(float(low[far, 2]))} and {number(float(high[far, 2]))}"
    )
    title = f"Activations through depth, {s.model}"
    figure = sheet(SINGLE, BODY, title, claim, caption)
    axes = figure.subplots()
    where = places(s.sites, 0.4 + 0.085 * len(s.sites))
    for run in where.runs:
        # A site by itself is a bar, half as wide on either side of its place.
        half = 0.35 * max(1.0, 0.035 * len(s.sites)) * (len(run) == 1)
        at = np.concatenate(
            [where.at[run[:1]] - half, where.at[run[1:-1]], where.at[run[-1:]] + half]
        )
        held = [run[0], *run[1:-1], run[-1]]
        for band, colour in enumerate(BANDS):
            axes.fill_between(
                at,
                low[held, band],
                high[held, band],
                color=colour,
                linewidth=0,
                gid=f"band:{list(SHARES)[band]}",
            )
    axes.axhline(0, color=INK, linewidth=0.4)
    linear = _linear(high[:, 3] - low[:, 3])
    axes.set_yscale("asinh", linear_width=linear)
    ends = np.arcsinh(np.array([np.nanmin(low[:, 0]), np.nanmax(high[:, 0])]) / linear)
    room = 0.04 * (ends[1] - ends[0]) or 1.0
    axes.set_ylim(*(linear * np.sinh(ends + np.array([-room, room]))))
    axes.yaxis.set_major_locator(FixedLocator(asinh_ticks(*axes.get_ylim(), linear)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    edge = 0.5 + 0.02 * where.span
    axes.set_xlim(where.at[0] - edge, where.at[-1] + edge)
    per_unit = WIDE / 25.4 * 72 / (where.span + 2 * edge)
    label_sites(axes.xaxis, where, per_unit, size=TICK)
    axes.set_xlabel(where.title())
    axes.set_ylabel("activation (asinh)")
    _name_bands(axes, where, low, high, linear)
    return figure


def _linear(width: Floats) -> float:
    """Choose the linear part of the axis: half the narrowest site's 90 % band."""
    positive = width[np.isfinite(width) & (width > 0)]
    return float(positive.min()) / 2 if len(positive) else 1.0


def _name_bands(axes: Axes, where: Places, low: Floats, high: Floats, linear: float) -> None:
    """Write what each band holds beside the last site, kept apart from each other."""
    last = len(where.sites) - 1
    if np.isnan(high[last]).any():
        return
    bottom, top = np.arcsinh(np.array(axes.get_ylim()) / linear)
    outer = np.arcsinh(high[last] / linear)
    inner = np.append(outer[1:], np.arcsinh(low[last, -1] / linear))
    gap = (top - bottom) * 1.25 * CELL / (BODY * 0.8 / 25.4 * 72)
    at = spread(list((outer + inner) / 2), gap, bottom + gap / 2, top - gap / 2)
    for label, colour, y in zip(SHARES, NAMES, at, strict=True):
        axes.annotate(
            label,
            (1.02, float(linear * np.sinh(y))),
            xycoords=axes.get_yaxis_transform(),
            size=CELL,
            color=colour,
            va="center",
        )
