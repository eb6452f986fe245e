"""The largest magnitudes for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.outliers import FAR, LINES
from hiddenscope.figures.places import SET_OFF, places, spread
from hiddenscope.figures.plotly.axes import broken, magnitudes
from hiddenscope.figures.plotly.maps import site_map
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped
from hiddenscope.sites import Site
from hiddenscope.words import tick

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.outliers import LargestMagnitudes

SYMBOLS = ("circle", "square", "triangle-up", "diamond")


def draw(shown: LargestMagnitudes, look: Look) -> dict[str, Any]:
    """Draw the three largest magnitudes and the median by depth, and a map by channel."""
    names = ["three largest, and the median", "by site and channel, relative to the site"]
    sheet = Sheet(look, shown, high=340, panels=names, columns=2, foot=64, over=34)
    _depth(sheet, shown)
    _map(sheet, shown)
    return sheet.figure()


def _depth(sheet: Sheet, shown: LargestMagnitudes) -> None:
    where = places(shown.sites, 0.4)
    labels = [escaped(Site.parse(site).label) for site in shown.sites]
    shades = [colours.blend(colours.BLOCKS_ON_ANY, x) for x in (0.0, 0.35, 0.7)]
    sizes = [8 if s in SET_OFF else 6 for s in shown.sites]
    values = shown.magnitudes[list(LINES)].to_numpy(np.float64)
    values = np.where(values > 0, values, np.nan)
    for i, colour in enumerate((*shades, sheet.highlight(0))):
        name = list(LINES.values())[i]
        style: dict[str, Any] = {"size": sizes, "color": colour, "symbol": SYMBOLS[i]}
        sheet.add(
            "scatter",
            0,
            **broken(where, values[:, i], customdata=labels, **style),
            name=name,
            showlegend=True,
            hovertemplate=f"<b>%{{customdata}}</b><br>{name}: %{{y:,.4~r}}",
            meta={"column": list(LINES)[i]},
        )
    sheet.axis("y", 0, **magnitudes(values, log=shown.log, span=shown.range))
    sheet.axis("y", 0, title="magnitude (log)" if shown.log else "magnitude")
    sheet.sites_across(where)


def _map(sheet: Sheet, shown: LargestMagnitudes) -> None:
    table = shown.relative
    group = int(table.attrs["group"])
    values = table.to_numpy(np.float64)
    values = np.where(values > 0, values, np.nan)
    first = table.columns.to_numpy(np.int64)
    last = np.append(first[1:], shown.channels) - 1
    # Each site against its own median: the loudest site must not wash out the others.
    top = float(np.clip(np.nanmax(values), 3.0, FAR))
    ticks = [t for t in (1, 2, 5, 10, 20) if t <= top]
    sheet.colours_of(
        1,
        title="largest ÷ median channel's (log)",
        scale=sheet.scale(colours.MATRIX),
        cmin=0.0,
        cmax=float(np.log10(top)),
        bar={
            "tickmode": "array",
            "tickvals": np.log10(ticks).tolist(),
            "ticktext": [tick(t) for t in ticks],
        },
    )
    site_map(
        sheet,
        1,
        shown.sites,
        values,
        edges=np.append(first, shown.channels) - 0.5,
        names=[
            f"channel {a}" if a == b else f"channels {a}–{b}"
            for a, b in zip(first, last, strict=True)
        ],
        at=np.log10,
        told="%{customdata:,.3~r} × the median channel's",
    )
    sheet.axis(
        "x",
        1,
        title="channel" if group == 1 else f"channel (largest of every {group})",
        range=[-0.5, shown.channels - 0.5],
        nticks=7,
        tickformat=",d",
    )
    found = sheet.channel_colours(shown.loud)
    wanted = [float(c) for c in shown.numbered]
    gaps = [15 * shown.channels / length for length in sheet.lengths("x")]
    at = [spread(wanted, gap, gap / 2, shown.channels - gap / 2) for gap in gaps]
    top_edge = float(sheet.layout["yaxis2"]["range"][1])
    for i, channel in enumerate(shown.numbered):
        sheet.vary(f"annotations[{len(sheet.layout['annotations'])}].ax", [float(x[i]) for x in at])
        sheet.write(
            f"<b>{channel}</b>",
            1,
            x=channel,
            y=top_edge,
            showarrow=True,
            arrowhead=0,
            arrowwidth=0.6,
            axref="x2",
            ay=-14,
            textangle=-90,
            yanchor="bottom",
            arrowcolor=colours.GREY,
            standoff=0,
            borderpad=0,
            font={"size": 11} | ({"color": found[channel]} if channel in found else {}),
        )
