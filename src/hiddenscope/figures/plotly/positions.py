"""Norms by position for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures.places import SET_OFF
from hiddenscope.figures.plotly.axes import magnitudes
from hiddenscope.figures.plotly.key import site_key
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped, typed
from hiddenscope.sites import Site
from hiddenscope.words import number, tick

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Floats
    from hiddenscope.figures.positions import Positions

START = 0.4
"""The room between positions 0 and 1 on a logarithmic axis, in decades."""


def draw(shown: Positions, look: Look) -> dict[str, Any]:
    """Draw a curve for each site, and a ring for its position 0."""
    sheet = Sheet(look, shown, high=380)
    colours = sheet.site_colours(shown.sites)
    x = _at(shown, shown.places)
    start_x = float(_at(shown, np.zeros(1))[0])
    for site, values, start in zip(shown.sites, shown.norms, shown.start, strict=True):
        label, front = escaped(Site.parse(site).label), site in SET_OFF
        sheet.add(
            "scatter",
            x=typed(x),
            y=typed(values),
            mode="lines" if len(values) > 1 else "markers",
            line={"color": colours[site], "width": 2.0 if front else 1.2},
            marker={"color": colours[site]},
            customdata=typed(shown.places, "i4"),
            hovertemplate=f"<b>{label}</b><br>position %{{customdata:,d}}: %{{y:,.4~r}}",
            meta={"site": site, "part": "curve"},
        )
        # So that one sees whose ring it is, also where the view leaves it out.
        first = [float(x[0]), float(values[0])] if shown.places[0] > 0 else [start_x, float(start)]
        sheet.add(
            "scatter",
            x=typed([start_x, first[0]]),
            y=typed([start, first[1]]),
            mode="lines+markers",
            line={"color": colours[site], "width": 0.8, "dash": "dot"},
            marker={
                "symbol": "circle-open",
                "size": [9, 0],
                "color": colours[site],
                "line": {"width": 1.6},
            },
            customdata=[f"<b>{label}</b><br>position 0: {number(float(start))}", ""],
            hovertemplate="%{customdata}",
            meta={"site": site, "part": "start"},
        )
    drawn = np.concatenate([shown.norms.ravel(), shown.start])
    sheet.axis(
        "y",
        title="root mean square norm" + " (log)" * shown.log,
        **magnitudes(drawn, log=shown.log, span=shown.range),
    )
    _position_axis(sheet, shown)
    site_key(sheet, shown.sites)
    return sheet.figure()


def _at(shown: Positions, positions: Floats) -> Floats:
    """Return where positions stand; on a logarithmic axis 0 has a place too."""
    if shown.x == "linear":
        return positions
    return np.where(positions < 1, START * (positions - 1), np.log10(np.maximum(positions, 1)))


def _position_axis(sheet: Sheet, shown: Positions) -> None:
    """Set up the x axis: position 0 stands within it, not on its edge."""
    sheet.axis("x", title="token index in its window" + " (log)" * (shown.x == "log"))
    if shown.x == "linear":
        reach = shown.last + 1
        sheet.axis("x", range=[-0.04 * reach, 1.02 * reach], nticks=7, tickformat=",d")
        return
    powers = 10.0 ** np.arange(np.floor(np.log10(shown.last + 1)) + 1)
    ticks = np.array([0.0, *powers])
    sheet.axis(
        "x",
        range=_at(shown, np.array([-0.3, 1.1 * (shown.last + 1)])).tolist(),
        tickmode="array",
        tickvals=_at(shown, ticks).tolist(),
        ticktext=[tick(t) for t in ticks],
    )
