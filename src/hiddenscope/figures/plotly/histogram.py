"""The histogram for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiddenscope.figures.places import SET_OFF
from hiddenscope.figures.plotly.axes import Values, counts
from hiddenscope.figures.plotly.curves import density_curve
from hiddenscope.figures.plotly.key import site_key
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped, lines
from hiddenscope.figures.plotly.words import CAPTION
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from hiddenscope.figures.histogram import Histogram
    from hiddenscope.figures.look import Look


def draw(shown: Histogram, look: Look) -> dict[str, Any]:
    """Draw one curve for each site; `embed` and `final_norm` in front."""
    sheet = Sheet(look, shown, high=380)
    table = shown.table
    axis = Values(shown.scale, *(table.attrs[k] for k in ("low", "high", "linear")))
    colours = sheet.site_colours(shown.sites)
    parts = dict(iter(table.groupby("site", sort=False)))
    for site in sorted(parts, key=lambda name: name in SET_OFF):
        density_curve(
            sheet,
            parts[site],
            shown.y,
            axis=axis,
            label=escaped(Site.parse(str(site)).label),
            color=colours[str(site)],
            width=1.2 + 0.8 * (site in SET_OFF),
            site=str(site),
        )
    sheet.axis(
        "y",
        title=("share of values in the bin" if shown.y == "share" else "density per unit")
        + " (log)" * shown.log,
        **counts(table.loc[table["count"] > 0, shown.y], log=shown.log),
    )
    name = "activation" if shown.scale == "linear" else "activation (asinh scale)"
    sheet.axis("x", title=name, **axis.axis())
    for x, anchor, words in ((0, "left", shown.beyond[0]), (1, "right", shown.beyond[1])):
        sheet.write(
            lines([escaped(line) for line in words.split("\n")]),
            xref="x domain",
            yref="y domain",
            x=x,
            y=1,
            align=anchor,
            xanchor=anchor,
            yanchor="top",
            font={"size": CAPTION},
            opacity=0.8,
        )
    site_key(sheet, shown.sites)
    return sheet.figure()
