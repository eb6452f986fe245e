"""Norms through depth for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.figures.plotly.axes import broken, magnitudes
from hiddenscope.figures.plotly.bands import bands
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped
from hiddenscope.sites import Site
from hiddenscope.strata import FIRST, MASSIVE

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.norms import Norms

LINES = {FIRST: ("first tokens", "circle"), MASSIVE: ("massive tokens", "square")}


def draw(shown: Norms, look: Look) -> dict[str, Any]:
    """Draw nested bands, and lines of the tokens that are unlike all others."""
    sheet = Sheet(look, shown, high=380, foot=64)
    where = places(shown.sites, 0.4 + 0.05 * len(shown.sites))
    drawn = np.hstack([shown.low, shown.high, shown.apart.to_numpy(np.float64)])
    axis = magnitudes(drawn, log=shown.log, span=shown.range)
    # A logarithmic axis has no 0.
    least = 10.0 ** axis["range"][0] if shown.log else -np.inf
    bands(sheet, where, shown, at=lambda values: np.maximum(values, least))
    labels = [escaped(Site.parse(site).label) for site in shown.sites]
    sizes = [8 if site in SET_OFF else 5 for site in shown.sites]
    found = {FIRST: colours.FIRST_TOKENS, MASSIVE: sheet.highlight(0)}
    for stratum, values in shown.apart.items():
        name, symbol = LINES[str(stratum)]
        style: dict[str, Any] = {"size": sizes, "color": found[str(stratum)], "symbol": symbol}
        sheet.add(
            "scatter",
            **broken(where, values, customdata=labels, **style),
            name=name,
            showlegend=True,
            hovertemplate=f"<b>%{{customdata}}</b><br>{name}, median: %{{y:,.4~r}}",
            meta={"stratum": str(stratum)},
        )
    sheet.axis("y", title=shown.name + " (log)" * shown.log, **axis)
    sheet.sites_across(where)
    return sheet.figure()
