"""Bands through depth for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.places import places
from hiddenscope.figures.plotly.axes import Values
from hiddenscope.figures.plotly.bands import bands
from hiddenscope.figures.plotly.sheet import Sheet

if TYPE_CHECKING:
    from hiddenscope.figures.depth import Depth
    from hiddenscope.figures.look import Look


def draw(shown: Depth, look: Look) -> dict[str, Any]:
    """Draw nested bands on an asinh axis."""
    sheet = Sheet(look, shown, high=380, foot=64)
    where = places(shown.sites, 0.4 + 0.05 * len(shown.sites))
    linear = shown.linear
    ends = [np.nanmin(shown.low[:, 0]), np.nanmax(shown.high[:, 0])]
    low, high = np.arcsinh(np.array(ends) / linear)
    room = 0.04 * (high - low) or 1.0
    low, high = shown.range or linear * np.sinh([low - room, high + room])
    axis = Values("asinh", float(low), float(high), linear)
    bands(sheet, where, shown, at=axis.at)
    sheet.axis("y", title="activation (asinh)", **axis.axis())
    sheet.axis("y", zeroline=True, zerolinecolor=colours.GREY)
    sheet.sites_across(where)
    return sheet.figure()
