"""The wing for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.figures.plotly.axes import broken
from hiddenscope.figures.plotly.key import site_key
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.wing import Wing

LINES = {
    "next": ("with the next site", "solid", "circle"),
    "embed": ("with embed", "dash", "square-open"),
    "final_norm": ("with final norm", "dot", "triangle-up-open"),
}


def draw(shown: Wing, look: Look) -> dict[str, Any]:
    """Draw a curve for each site on the left, three lines of interest on the right."""
    names = ["with every site (itself: 1)", "with one site"]
    sheet = Sheet(look, shown, high=300, panels=names, columns=2, foot=64)
    where = places(shown.sites, 0.4)
    labels = [escaped(Site.parse(site).label) for site in shown.sites]
    found = sheet.site_colours(shown.sites)
    for i in where.shown(shown.step):
        site = shown.sites[i]
        sizes = [8 if s in SET_OFF else 4 if shown.step == 1 else 0 for s in shown.sites]
        sheet.add(
            "scatter",
            0,
            **broken(where, shown.matrix[i], customdata=labels, size=sizes, color=found[site]),
            hovertemplate=f"R² of <b>{labels[i]}</b> with %{{customdata}}: %{{y:.3f}}",
            meta={"site": site},
        )
    site_key(sheet, shown.sites)
    named = {"next": colours.blend(colours.BLOCKS_ON_ANY, 0.4)}
    named |= sheet.site_colours(["embed", "final_norm"])
    for column, (name, dash, symbol) in LINES.items():
        values = shown.lines[column].to_numpy(np.float64)
        if np.isfinite(values).any():
            sizes = [9 if s in SET_OFF else 6 for s in shown.sites]
            drawn = broken(
                where, values, customdata=labels, size=sizes, color=named[column], symbol=symbol
            )
            drawn["line"] |= {"dash": dash}
            sheet.add(
                "scatter",
                1,
                **drawn,
                name=name,
                showlegend=True,
                hovertemplate=f"R² of <b>%{{customdata}}</b> {name}: %{{y:.3f}}",
                meta={"column": column},
            )
    low, high = shown.range
    room = 0.03 * (high - low)
    for panel in (0, 1):
        sheet.axis("y", panel, range=[low - room, high + room], title="R²", nticks=7)
        sheet.sites_across(where, panel)
    return sheet.figure()
