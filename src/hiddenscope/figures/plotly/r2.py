"""R² between sites for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiddenscope.figures.colours import MATRIX
from hiddenscope.figures.places import READABLE
from hiddenscope.figures.plotly.matrix import matrix
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.r2 import hundredths

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.r2 import R2


def draw(shown: R2, look: Look) -> dict[str, Any]:
    """Draw the matrices side by side on one scale."""
    names = list(shown.panels)
    sheet = Sheet(look, shown, high=300, panels=names, columns=len(names), foot=64)
    low, high = shown.range
    sheet.colours_of(*range(len(names)), title="R²", scale=sheet.scale(MATRIX), cmin=low, cmax=high)
    written = hundredths if len(shown.sites) <= READABLE else None
    for i, values in enumerate(shown.panels.values()):
        matrix(sheet, i, shown.sites, values, name="R²", written=written)
    return sheet.figure()
