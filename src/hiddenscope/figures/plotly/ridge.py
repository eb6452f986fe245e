"""The ridge for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.places import places
from hiddenscope.figures.plotly.axes import Values, site_ticks
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import coarse, escaped, typed
from hiddenscope.figures.plotly.words import CAPTION
from hiddenscope.figures.ridge import FILL, height
from hiddenscope.sites import Site
from hiddenscope.words import number

if TYPE_CHECKING:
    import pandas as pd

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Places
    from hiddenscope.figures.ridge import Ridge


def draw(shown: Ridge, look: Look) -> dict[str, Any]:
    """Draw a row for each site, behind its density a normal."""
    where = places(shown.sites, 0.25)
    row = float(np.clip(900 / len(shown.sites), 18.0, 40.0))
    sheet = Sheet(look, shown, high=row * where.span + 20)
    table, peaks = shown.table, shown.table.attrs["sites"]["peak"]
    axis = Values(shown.scale, *(table.attrs[k] for k in ("low", "high", "linear")))
    found = sheet.site_colours(shown.sites)
    parts = dict(iter(table.groupby("site", sort=False)))
    for i, site in enumerate(shown.sites):
        base = float(where.at[i]) + 0.5
        if site in parts:
            _row(sheet, axis, shown, parts[site], base=base, top=peaks[site], colour=found[site])
    _thousandths(sheet, axis, where)
    sheet.axis("x", title=shown.label, **axis.axis())
    names = [escaped(Site.parse(site).label) for site in shown.sites]
    sheet.axis("y", range=[float(where.at[-1]) + 0.55, float(where.at[0]) - 0.6], showgrid=False)
    ticks = site_ticks(where, sheet.high, across=False, labels=names)
    sheet.axis("y", **ticks)
    for i, site in enumerate(where.sites):
        if float(where.at[i]) in ticks["tickvals"]:
            sheet.write(
                f"{shown.unit} {number(float(shown.widths[i]))}",
                xref="x domain",
                x=1,
                y=float(where.at[i]),
                name=site,
                xanchor="left",
                xshift=4,
                font={"size": CAPTION},
                opacity=0.8,
            )
    sheet.layout["margin"]["r"] = 75
    return sheet.figure()


def _thousandths(sheet: Sheet, axis: Values, where: Places) -> None:
    """Draw a dotted line at 1/1,000 of a normal's peak through each row."""
    heights = where.at + 0.5 - FILL / 2
    ends = axis.at([axis.low, axis.high])
    sheet.add(
        "scatter",
        x=typed(np.tile([*ends, np.nan], len(heights))),
        y=typed(np.repeat(heights, 3)),
        mode="lines",
        line={"color": colours.GREY, "width": 0.6, "dash": "dot"},
        hoverinfo="skip",
        meta={"part": "thousandth"},
    )


def _row(
    sheet: Sheet,
    axis: Values,
    shown: Ridge,
    part: pd.DataFrame,
    *,
    base: float,
    top: float,
    colour: str,
) -> None:
    site = str(part["site"].iloc[0])
    left, right = (part[k].to_numpy(np.float64) for k in ("left", "right"))
    middle = axis.at((left + right) / 2)
    tall, normal = (height(part[k].to_numpy(np.float64), top) for k in ("density", "normal"))
    sheet.add(
        "scatter",
        x=typed(coarse(np.concatenate([middle[:1], middle, middle[-1:]]))),
        y=typed(coarse(base - np.concatenate([[0.0], normal, [0.0]]))),
        mode="lines",
        fill="toself",
        fillcolor=colours.clear(colours.GREY, 0.25),
        line={"color": colours.GREY, "width": 0.8},
        hoverinfo="skip",
        meta={"site": site, "part": "normal"},
    )
    unit = f" {shown.unit}" if shown.scale == "sigma" else ""
    heights = (coarse(part[k]) for k in ("density", "normal"))
    told = np.stack([left, right, part["count"], *heights], axis=1)
    sheet.add(
        "scatter",
        # From the base up, along the steps, and down again.
        x=typed(coarse(axis.at(np.concatenate([left[:1], left, right[-1:]])))),
        y=typed(coarse(base - np.concatenate([[0.0], tall, [0.0]]))),
        mode="lines",
        fill="toself",
        hoveron="points",
        fillcolor=colours.clear(colour, 0.75),
        line={"color": colour, "width": 0.5, "shape": "hv"},
        customdata=typed(np.concatenate([told[:1], told, told[-1:]])),
        hovertemplate=f"<b>{escaped(Site.parse(site).label)}</b><br>%{{customdata[0]:,.4~r}} to "
        f"%{{customdata[1]:,.4~r}}{unit}<br>%{{customdata[2]:,d}} values<br>density "
        "%{customdata[3]:.3~g}, of the normal %{customdata[4]:.3~g}",
        meta={"site": site, "part": "density"},
    )
