"""Bands through depth, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hiddenscope.figures.matplotlib.axis import sites_across
from hiddenscope.figures.matplotlib.bands import bands, name_bands
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import MM, SINGLE
from hiddenscope.figures.places import places
from hiddenscope.figures.scales import asinh_ticks
from hiddenscope.words import tick

if TYPE_CHECKING:
    from hiddenscope.figures.depth import Depth
    from hiddenscope.figures.look import Look

WIDE, BODY = 58.0, 46.0


def draw(shown: Depth, look: Look) -> Page:
    """Draw nested bands on an asinh axis."""
    page = Page(look, SINGLE, BODY, shown)
    (axes,) = page.axes((1, 1))
    low, high = shown.low, shown.high
    where = places(shown.sites, 0.4 + 0.085 * len(shown.sites))
    bands(page, axes, where, shown)
    axes.axhline(0, color=page.ink, linewidth=0.4)
    linear = shown.linear
    axes.set_yscale("asinh", linear_width=linear)
    ends = np.arcsinh(np.array([np.nanmin(low[:, 0]), np.nanmax(high[:, 0])]) / linear)
    room = 0.04 * (ends[1] - ends[0]) or 1.0
    axes.set_ylim(*(shown.range or linear * np.sinh(ends + np.array([-room, room]))))
    axes.yaxis.set_major_locator(FixedLocator(asinh_ticks(*axes.get_ylim(), linear)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    sites_across(axes, where, WIDE * page.across * MM * 72)
    axes.set_ylabel("activation (asinh)")
    name_bands(page, axes, shown, BODY * page.down * 0.8 * MM * 72)
    return page
