"""The scatter for Plotly: densities instead of points, which without WebGL are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.plotly.axes import Values
from hiddenscope.figures.plotly.defaults import CLEAR
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped, token_text, typed
from hiddenscope.sites import Site
from hiddenscope.words import number, tick

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Floats
    from hiddenscope.figures.scatter import Panel, Scatter

LEAST = 1e-4
"""The share of a column where the colours of the density begin."""
LEVELS = 255
"""Of the colours, from `LEAST` to 1; level 0 is empty."""


def draw(shown: Scatter, look: Look) -> dict[str, Any]:
    """Draw a row for each site: on the left by token, on the right by channel."""
    by = "token" if shown.points else "position"
    labels = [escaped(Site.parse(panel.site).label) for panel in shown.panels]
    names = [f"{label}, by {what}" for label in labels for what in (by, "channel")]
    sheet = Sheet(look, shown, high=250, panels=names, columns=2, foot=90 if shown.points else 54)
    for i, panel in enumerate(shown.panels):
        axis = Values(panel.scale, *panel.reach, panel.linear)
        for j, against in ((2 * i, "position"), (2 * i + 1, "channel")):
            _density(sheet, j, axis=axis, shown=shown, panel=panel, against=against)
            name = "activation" if panel.scale == "linear" else "activation (asinh)"
            sheet.axis("y", j, title=name, **axis.axis())
            sheet.axis("y", j, zeroline=True, zerolinecolor=colours.GREY)
        _by_token(sheet, 2 * i, axis, shown, panel)
        _by_channel(sheet, 2 * i + 1, axis, shown, panel)
    _colours(sheet)
    return sheet.figure()


def levels(share: Any) -> Any:
    """Return the colours of shares of a column as levels: 0 where there is none."""
    with np.errstate(divide="ignore"):
        place = 1 + (LEVELS - 1) * (1 - np.log10(share) / np.log10(LEAST))
    return np.where(np.asarray(share) > 0, np.clip(np.round(place), 1, LEVELS), 0)


def _colours(sheet: Sheet) -> None:
    chosen = sheet.colours(colours.BLOCKS_ON_ANY[::-1])
    ours = chosen == colours.BLOCKS_ON_ANY[::-1]
    n = len(chosen)
    # What is rare is nearly clear, on a light background as on a dark one.
    faded = [colours.clear(c, (i + 1) / n if ours else 1.0) for i, c in enumerate(chosen)]
    first = 0.5 / LEVELS
    scale = [[first + (1 - first) * i / (n - 1), colour] for i, colour in enumerate(faded)]
    shares = [1.0, 0.1, 0.01, 0.001, LEAST]
    sheet.colours_of(
        *range(len(sheet.panels)),
        title="share of the values in a column (log)",
        scale=[[0, CLEAR], [first, CLEAR], *scale],
        cmin=0,
        cmax=LEVELS,
        bar={
            "tickmode": "array",
            "tickvals": levels(shares).tolist(),
            "ticktext": [tick(x) for x in shares],
        },
    )


def _density(
    sheet: Sheet, index: int, *, axis: Values, shown: Scatter, panel: Panel, against: str
) -> None:
    counts = panel.planes[against]
    left, right = (counts[k].values for k in ("left", "right"))
    bottom, top = (counts[k].values for k in ("bottom", "top"))
    y = axis.at(np.append(bottom, top[-1]))
    rows = [f"{number(float(a))} to {number(float(b))}" for a, b in zip(bottom, top, strict=True)]
    if against == "position" and shown.points:
        columns = _pieces(shown, left, right)
    else:
        columns = [
            f"{against} {a:.0f}" if a == b else f"{against}s {a:.0f}–{b:.0f}"
            for a, b in zip(left + 0.5, right - 0.5, strict=True)
        ]
    sheet.name_cells(index, x=((left + right) / 2, columns), y=((y[:-1] + y[1:]) / 2, rows))
    total = np.maximum(counts.values.sum(0, keepdims=True), 1)
    sheet.add(
        "heatmap",
        index,
        x=typed(np.append(left, right[-1])),
        y=typed(y),
        z=typed(levels(counts.values / total), "u1"),
        customdata=typed(counts.values, np.min_scalar_type(counts.values.max(initial=0)).str[1:]),
        coloraxis="coloraxis",
        hovertemplate="%{x}<br>%{y}: %{customdata} values",
        meta={"site": panel.site, "against": against},
    )


def _pieces(shown: Scatter, left: Floats, right: Floats) -> list[str]:
    """Name the columns of a density by token: where tokens share one, by the first of them."""
    names = []
    for a, b in zip(left, right, strict=True):
        inside = np.flatnonzero((shown.places > a) & (shown.places < b))
        names.append(f"token {_quoted(shown.pieces[inside[0]])}" if len(inside) else "no token")
    return names


def _quoted(piece: str) -> str:
    return f"“{token_text(piece)}”"


def _by_token(sheet: Sheet, index: int, axis: Values, shown: Scatter, panel: Panel) -> None:
    if shown.points:
        found = sheet.channel_colours(shown.loud)
        for channel in panel.numbered:
            values = panel.state[:, channel]
            sheet.add(
                "scatter",
                index,
                x=typed(shown.places),
                y=typed(axis.at(values)),
                mode="markers",
                marker={"size": 5, "color": found.get(channel, colours.GREY)},
                customdata=[
                    f"{_quoted(piece)}<br>channel {channel}: {number(float(value))}"
                    for piece, value in zip(shown.pieces, values, strict=True)
                ],
                hovertemplate="%{customdata}",
                meta={"site": panel.site, "channel": channel},
            )
        sheet.vary_axis("x", index, lambda room: _token_ticks(shown, room))
        last = float(shown.places.max())
        sheet.axis("x", index, range=[float(shown.places.min()) - 0.8, last + 0.8])
        return
    table = panel.positions
    if not table.sizes["position"]:
        # No token of the site is finite.
        return
    edges = np.append(table["start"].values, table["stop"].values[-1:]).astype(np.float64) - 0.5
    last = float(shown.places.max(initial=0))
    edges[-1] = min(edges[-1], last + 0.5)
    for sign in (-1, 1):
        ends = (table["mean"] + sign * table["std"]).values
        _steps(sheet, index, axis, edges, ends, site=panel.site, part=f"band:{sign}")
    _rings(sheet, index, axis, shown, panel, x=panel.extremes["position"].to_numpy(np.float64))
    sheet.axis("x", index, title="token index in its window", nticks=7, tickformat=",d")
    sheet.axis("x", index, range=[-0.02 * (last + 1), 1.01 * (last + 1)])


def _token_ticks(shown: Scatter, room: float) -> dict[str, Any]:
    """Return as many tokens as there is room for, as ticks."""
    step = -(-len(shown.places) * 14 // int(room))
    return {
        "tickmode": "array",
        "tickvals": shown.places[::step].tolist(),
        "ticktext": [token_text(piece)[:12] for piece in shown.pieces[::step]],
        "tickangle": -90,
        "tickfont": {"size": 10},
    }


def _by_channel(sheet: Sheet, index: int, axis: Values, shown: Scatter, panel: Panel) -> None:
    channels = panel.state.shape[1]
    if not shown.points:
        edges = np.arange(channels + 1) - 0.5
        for column in ("min", "max"):
            ends = panel.outer[column].to_numpy(np.float64)
            _steps(sheet, index, axis, edges, ends, site=panel.site, part=f"outer:{column}")
    _rings(sheet, index, axis, shown, panel, x=panel.extremes["channel"].to_numpy(np.float64))
    found = sheet.channel_colours(shown.loud)
    for channel in panel.numbered:
        low, high = (float(panel.outer[end][channel]) for end in ("min", "max"))
        sheet.write(
            f"<b>{channel}</b>",
            index,
            x=channel,
            y=float(axis.at(high if high > -low else low)),
            yshift=9 if high > -low else -9,
            font={"size": 11} | ({"color": found[channel]} if channel in found else {}),
        )
    sheet.axis("x", index, title="channel", nticks=7, tickformat=",d")
    sheet.axis("x", index, range=[-0.02 * channels - 0.5, 1.02 * channels - 0.5])


def _steps(
    sheet: Sheet, index: int, axis: Values, edges: Floats, values: Floats, **meta: str
) -> None:
    """Draw a line that has a step for each of its values."""
    sheet.add(
        "scatter",
        index,
        x=typed(edges),
        y=typed(axis.at(np.append(values, values[-1:]))),
        mode="lines",
        line={"color": colours.GREY, "width": 0.6, "shape": "hv"},
        opacity=0.7,
        hoverinfo="skip",
        meta=meta,
    )


def _rings(
    sheet: Sheet, index: int, axis: Values, shown: Scatter, panel: Panel, *, x: Floats
) -> None:
    """Draw the largest magnitudes of all tokens, whether the sample holds them or not."""
    found = sheet.channel_colours(shown.loud)
    table = panel.extremes
    values = table["value"].to_numpy(np.float64)
    texts = [
        f"{_quoted(str(piece))} at {position:,}<br>channel {channel}: {number(value)}"
        for piece, position, channel, value in zip(
            table["piece"], table["position"], table["channel"], values.tolist(), strict=True
        )
    ]
    sheet.add(
        "scatter",
        index,
        x=typed(x),
        y=typed(axis.at(values)),
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": 7,
            "color": [found.get(int(c), colours.GREY) for c in table["channel"]],
            "line": {"width": 1},
        },
        customdata=texts,
        hovertemplate="%{customdata}",
        meta={"site": panel.site, "part": "extremes"},
    )
