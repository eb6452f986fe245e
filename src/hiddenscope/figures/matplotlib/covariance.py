"""The covariance between sites, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import SymLogNorm

from hiddenscope.figures.covariance import short
from hiddenscope.figures.matplotlib.matrix import gap, matrix
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import CELL, MM, SINGLE, text_width
from hiddenscope.figures.matplotlib.theme import SIGNED
from hiddenscope.figures.places import places
from hiddenscope.figures.scales import asinh_ticks

if TYPE_CHECKING:
    from hiddenscope.figures.covariance import Covariance
    from hiddenscope.figures.look import Look


def draw(shown: Covariance, look: Look) -> Page:
    """Draw the matrix, its values in the cells where there is room."""
    cell = 66 * MM * 72 / places(shown.sites, gap(shown.sites)).span
    widest = max(text_width(short(v), CELL) for v in shown.values[np.isfinite(shown.values)])
    written = widest + 1.5 <= cell
    thousands = written and shown.reach >= 9950
    page = Page(look, SINGLE, 72, shown, "k: thousands, M: millions" if thousands else "")
    (axes,) = page.axes((1, 1))
    norm = SymLogNorm(shown.linear, vmin=-shown.reach, vmax=shown.reach, base=10)
    mesh = matrix(
        page,
        axes,
        shown.sites,
        shown.values,
        wide=66 if written else 60,
        norm=norm,
        colours=page.cmap(SIGNED),
        written=short if written else None,
    )
    if not written:
        ticks = asinh_ticks(-shown.reach, shown.reach, shown.linear)
        page.colorbar(mesh, axes, ticks=ticks, aspect=30, pad=0.02)
    return page
