"""The covariance between sites for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiddenscope.figures.colours import SIGNED
from hiddenscope.figures.covariance import short
from hiddenscope.figures.places import READABLE
from hiddenscope.figures.plotly.matrix import matrix
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.scales import asinh_ticks, symlog
from hiddenscope.words import tick

if TYPE_CHECKING:
    from hiddenscope.figures.covariance import Covariance
    from hiddenscope.figures.look import Look


def draw(shown: Covariance, look: Look) -> dict[str, Any]:
    """Draw the matrix, its values in the cells where there is room."""
    written = short if len(shown.sites) <= READABLE else None
    note = "k: thousands, M: millions" if written and shown.reach >= 9950 else ""
    sheet = Sheet(look, shown, note, high=520, share=0.66, foot=64)
    ticks = asinh_ticks(-shown.reach, shown.reach, shown.linear)
    end = float(symlog(shown.reach, shown.linear))
    sheet.colours_of(
        0,
        title="covariance",
        scale=sheet.scale(SIGNED),
        cmin=-end,
        cmax=end,
        bar={
            "tickmode": "array",
            "tickvals": symlog(ticks, shown.linear).tolist(),
            "ticktext": [tick(t) for t in ticks],
        },
    )
    matrix(
        sheet,
        0,
        shown.sites,
        shown.values,
        name="covariance",
        at=lambda values: symlog(values, shown.linear),
        written=written,
    )
    return sheet.figure()
