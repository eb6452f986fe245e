"""The key to the sites' colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.figures.plotly.axes import site_ticks
from hiddenscope.figures.plotly.values import escaped
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from hiddenscope.figures.plotly.sheet import Sheet


def site_key(sheet: Sheet, sites: list[str]) -> None:
    """Name the colours: a bar for the blocks, entries above the panels for the other sites."""
    found = sheet.site_colours(sites)
    blocks = [s for s in sites if s not in SET_OFF]
    for site in sites:
        if site in SET_OFF or len(blocks) == 1:
            sheet.entry(escaped(Site.parse(site).label), line={"color": found[site], "width": 3})
    if len(blocks) < 2:
        return
    where = places(blocks, 0.0)
    sheet.colours_of(
        0,
        title=where.title(),
        scale=sheet.steps([found[s] for s in blocks]),
        cmin=-0.5,
        cmax=len(blocks) - 0.5,
        bar=site_ticks(where, 0.8 * sheet.high, across=False),
    )
    sheet.bar_alone()
