"""R² between sites, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.colors import Normalize

from hiddenscope.figures.matplotlib.key import head
from hiddenscope.figures.matplotlib.matrix import matrix
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import DOUBLE
from hiddenscope.figures.matplotlib.theme import MATRIX
from hiddenscope.figures.places import READABLE
from hiddenscope.figures.r2 import hundredths

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.r2 import R2


def draw(shown: R2, look: Look) -> Page:
    """Draw the matrices side by side on one scale."""
    page = Page(look, DOUBLE, 64, shown)
    axes = page.axes((1, len(shown.panels)))
    norm = Normalize(*shown.range)
    written = hundredths if len(shown.sites) <= READABLE else None
    for panel, (name, values) in zip(axes, shown.panels.items(), strict=True):
        mesh = matrix(
            page,
            panel,
            shown.sites,
            values,
            wide=47,
            norm=norm,
            colours=page.cmap(MATRIX),
            written=written,
        )
        head(panel, name, page.room(panel, 42, 3), rows=0)
    if written is None or shown.range != (0.0, 1.0):
        bar = page.figure.colorbar(mesh, ax=axes, aspect=30, pad=0.01, shrink=0.8)
        bar.outline.set_visible(False)
        bar.set_label("R²")
    return page
