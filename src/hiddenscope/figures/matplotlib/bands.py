"""Nested bands between quantiles through depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.figures.depth import band_name
from hiddenscope.figures.matplotlib.style import CELL
from hiddenscope.figures.places import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from hiddenscope.figures.depth import Banded
    from hiddenscope.figures.matplotlib.page import Page
    from hiddenscope.figures.places import Places

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


def bands(page: Page, axes: Axes, where: Places, shown: Banded) -> None:
    """Fill the room between quantiles: through the blocks, and a bar at each other site."""
    for run in where.runs:
        # A site by itself is a bar, half as wide on either side of its place.
        half = 0.35 * max(1.0, 0.035 * len(where.sites)) * (len(run) == 1)
        at = np.concatenate(
            [where.at[run[:1]] - half, where.at[run[1:-1]], where.at[run[-1:]] + half]
        )
        held = [run[0], *run[1:-1], run[-1]]
        for i, share in enumerate(shown.shares):
            axes.fill_between(
                at,
                shown.low[held, i],
                shown.high[held, i],
                color=_colours(page, share)[0],
                linewidth=0,
                gid=f"band:{band_name(share)}",
            )


def name_bands(page: Page, axes: Axes, shown: Banded, points: float) -> None:
    """Write what each band holds beside the last site, kept apart from each other.

    Parameters
    ----------
    page : Page
    axes : Axes
        With their scale and limits.
    shown : Banded
    points : float
        The height of the axes.
    """
    low, high = shown.low[-1], shown.high[-1]
    if np.isnan(high).any():
        return
    scale = axes.yaxis.get_transform()
    bottom, top = scale.transform(np.array(axes.get_ylim()))
    outer = scale.transform(high)
    inner = np.append(outer[1:], scale.transform(low[-1:]))
    gap = (top - bottom) * 1.25 * CELL / points
    at = spread(list((outer + inner) / 2), gap, bottom + gap / 2, top - gap / 2)
    for share, y in zip(shown.shares, scale.inverted().transform(at), strict=True):
        axes.annotate(
            band_name(share),
            (1.02, float(y)),
            xycoords=axes.get_yaxis_transform(),
            size=CELL,
            color=_colours(page, share)[1],
            va="center",
        )


def _colours(page: Page, share: float) -> tuple[ColorType, ColorType]:
    """Return the colour of a band and that of its name."""
    if page.look.cmap is not None:
        colour = page.blocks(list(BANDS).index(share) / (len(BANDS) - 1))
        return colour, page.ink
    return (BANDS_ON_DARK if page.dark else BANDS)[share]
