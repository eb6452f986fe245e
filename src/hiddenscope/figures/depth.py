"""Through depth: nested bands between quantiles, embeddings and final norm set apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hiddenscope import analysis
from hiddenscope.analysis import drawn
from hiddenscope.figures.axis import asinh_ticks, label_sites, places, spread
from hiddenscope.figures.style import CELL, INK, MUTED, SINGLE, TICK, number, sheet, subject, tick
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """What a band holds, its colour, and a darker one to be read as text."""

    share: float
    name: str
    colour: str
    text: str


BANDS = (
    Band(1.0, "all", "#d6e3f2", MUTED),
    Band(0.999, "99.9 %", "#adc8e6", "#4d6f96"),
    Band(0.99, "99 %", "#7aa5d2", "#3d6ea5"),
    Band(0.9, "90 %", "#4079b5", "#2f64a0"),
    Band(0.5, "50 %", "#1d4a85", "#1d4a85"),
)
"""Widest first."""
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
    values = int(analysis.moments(s.stream, view).loc[s.sites, "tokens"].max()) * s.channels
    # A band that would leave out less than one value on either side is no band.
    bands = [b for b in BANDS if b.share == 1.0 or values * (1 - b.share) / 2 >= 1]
    shares = np.array([b.share for b in bands])
    levels = np.concatenate([(1 - shares) / 2, (1 + shares[::-1]) / 2])
    table = analysis.quantiles(s.stream, levels.tolist(), view, s.sites)
    low, high = table.values[:, : len(shares)], table.values[:, len(shares) :][:, ::-1]
    missing = " and ".join(b.name for b in BANDS if b not in bands)
    named = ", ".join(b.name for b in bands[:0:-1])
    caption = s.caption(
        f"bands hold the middle {named} and all of a site's values",
        f"{values:,} values per site: too few for {missing}" if missing else "",
        "asinh scale",
    )
    reach = np.where(np.isnan(low[:, 0]), 0.0, np.maximum(-low[:, 0], high[:, 0]))
    far = int(reach.argmax())
    extreme = low[far, 0] if -low[far, 0] > high[far, 0] else high[far, 0]
    most = bands.index(next(b for b in bands if b.share <= 0.99))
    claim = (
        f"farthest from zero: {number(float(extreme))} "
        f"at {Site.parse(s.sites[far]).label}, where {bands[most].name} of the values lie between "
        f"{number(float(low[far, most]))} and {number(float(high[far, most]))}"
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
        for i, band in enumerate(bands):
            axes.fill_between(
                at,
                low[held, i],
                high[held, i],
                color=band.colour,
                linewidth=0,
                gid=f"band:{band.name}",
            )
    axes.axhline(0, color=INK, linewidth=0.4)
    linear = drawn.linear_width(s.stream, view, s.sites)
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
    _name_bands(axes, bands, low[-1], high[-1], linear)
    return figure


def _name_bands(axes: Axes, bands: list[Band], low: Floats, high: Floats, linear: float) -> None:
    """Write what each band holds beside the last site, ``[band]``, kept apart from each other."""
    if np.isnan(high).any():
        return
    bottom, top = np.arcsinh(np.array(axes.get_ylim()) / linear)
    outer = np.arcsinh(high / linear)
    inner = np.append(outer[1:], np.arcsinh(low[-1] / linear))
    gap = (top - bottom) * 1.25 * CELL / (BODY * 0.8 / 25.4 * 72)
    at = spread(list((outer + inner) / 2), gap, bottom + gap / 2, top - gap / 2)
    for band, y in zip(bands, at, strict=True):
        axes.annotate(
            band.name,
            (1.02, float(linear * np.sinh(y))),
            xycoords=axes.get_yaxis_transform(),
            size=CELL,
            color=band.text,
            va="center",
        )
