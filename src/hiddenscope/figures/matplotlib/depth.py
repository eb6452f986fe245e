"""Bands through depth, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hiddenscope.figures.depth import band_name
from hiddenscope.figures.matplotlib.axis import asinh_ticks, label_sites
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import CELL, SINGLE, TICK
from hiddenscope.figures.places import places, spread
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from hiddenscope.figures.depth import Depth
    from hiddenscope.figures.look import Look

BANDS = {
    1.0: ("#d6e3f2", "#595959"),
    0.999: ("#adc8e6", "#4d6f96"),
    0.99: ("#7aa5d2", "#3d6ea5"),
    0.9: ("#4079b5", "#2f64a0"),
    0.5: ("#1d4a85", "#1d4a85"),
}
"""The colour of each band, and a darker one to be read as text."""
BANDS_ON_DARK = {
    1.0: ("#1d3a5f", "#8aa5c4"),
    0.999: ("#2f64a0", "#8aa5c4"),
    0.99: ("#4d8cc9", "#7fb2e5"),
    0.9: ("#8fbfe8", "#8fbfe8"),
    0.5: ("#dcecf9", "#dcecf9"),
}
WIDE, BODY = 58.0, 46.0


def draw(shown: Depth, look: Look) -> Page:
    """Draw nested bands on an asinh axis."""
    page = Page(look, SINGLE, BODY, shown)
    (axes,) = page.axes((1, 1))
    low, high = shown.low, shown.high
    where = places(shown.sites, 0.4 + 0.085 * len(shown.sites))
    for run in where.runs:
        # A site by itself is a bar, half as wide on either side of its place.
        half = 0.35 * max(1.0, 0.035 * len(shown.sites)) * (len(run) == 1)
        at = np.concatenate(
            [where.at[run[:1]] - half, where.at[run[1:-1]], where.at[run[-1:]] + half]
        )
        held = [run[0], *run[1:-1], run[-1]]
        for i, share in enumerate(shown.shares):
            axes.fill_between(
                at,
                low[held, i],
                high[held, i],
                color=_colours(page, share)[0],
                linewidth=0,
                gid=f"band:{band_name(share)}",
            )
    axes.axhline(0, color=page.ink, linewidth=0.4)
    linear = shown.linear
    axes.set_yscale("asinh", linear_width=linear)
    ends = np.arcsinh(np.array([np.nanmin(low[:, 0]), np.nanmax(high[:, 0])]) / linear)
    room = 0.04 * (ends[1] - ends[0]) or 1.0
    axes.set_ylim(*(shown.range or linear * np.sinh(ends + np.array([-room, room]))))
    axes.yaxis.set_major_locator(FixedLocator(asinh_ticks(*axes.get_ylim(), linear)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    edge = 0.5 + 0.02 * where.span
    axes.set_xlim(where.at[0] - edge, where.at[-1] + edge)
    per_unit = WIDE * page.across / 25.4 * 72 / (where.span + 2 * edge)
    label_sites(axes.xaxis, where, per_unit, size=TICK)
    axes.set_xlabel(where.title())
    axes.set_ylabel("activation (asinh)")
    _name_bands(page, axes, shown)
    return page


def _colours(page: Page, share: float) -> tuple[ColorType, ColorType]:
    """Return the colour of a band and that of its name."""
    if page.look.cmap is not None:
        colour = page.blocks(list(BANDS).index(share) / (len(BANDS) - 1))
        return colour, page.ink
    return (BANDS_ON_DARK if page.dark else BANDS)[share]


def _name_bands(page: Page, axes: Axes, shown: Depth) -> None:
    """Write what each band holds beside the last site, ``[band]``, kept apart from each other."""
    low, high, linear = shown.low[-1], shown.high[-1], shown.linear
    if np.isnan(high).any():
        return
    bottom, top = np.arcsinh(np.array(axes.get_ylim()) / linear)
    outer = np.arcsinh(high / linear)
    inner = np.append(outer[1:], np.arcsinh(low[-1] / linear))
    gap = (top - bottom) * 1.25 * CELL / (BODY * page.down * 0.8 / 25.4 * 72)
    at = spread(list((outer + inner) / 2), gap, bottom + gap / 2, top - gap / 2)
    for share, y in zip(shown.shares, at, strict=True):
        axes.annotate(
            band_name(share),
            (1.02, float(linear * np.sinh(y))),
            xycoords=axes.get_yaxis_transform(),
            size=CELL,
            color=_colours(page, share)[1],
            va="center",
        )
