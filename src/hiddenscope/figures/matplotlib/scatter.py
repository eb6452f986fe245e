"""The scatter, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hiddenscope.figures.matplotlib.artists import stairs
from hiddenscope.figures.matplotlib.axis import value_axis
from hiddenscope.figures.matplotlib.style import (
    CELL,
    DEPTH,
    DOUBLE,
    FIRST_TOKEN,
    INK,
    MUTED,
    POINTS,
    channel_colours,
    families,
    sheet,
    token_text,
)
from hiddenscope.sites import Site
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from hiddenscope.figures.scatter import Floats, Panel, Scatter

SHARES = LogNorm(1e-4, 1.0, clip=True)
"""The scale of the density's colours, the same in every panel."""


def draw(shown: Scatter) -> Figure:
    """Draw points for a few tokens, density for more."""
    points, n = shown.points, len(shown.panels)
    figure = sheet(DOUBLE, 24 * n + 40 if points else 84, shown)
    rows = n + 1 if points else 2
    cells = figure.add_gridspec(rows, n, height_ratios=[1.0] * n + [1.5] if points else [1.0, 1.0])
    axes: list[Axes] = []
    for i, panel in enumerate(shown.panels):
        at = cells[i, :] if points else cells[0, i]
        top = figure.add_subplot(at, sharex=axes[0] if points and axes else None)
        bottom = figure.add_subplot(cells[n if points else 1, i])
        axes += [top, bottom]
        for below in (top, bottom):
            below.set_title(Site.parse(panel.site).label)
            value_axis(below.yaxis, panel.scale, *panel.reach, panel.linear)
            below.axhline(0, color="#9a9a9a", linewidth=0.4, zorder=0)
        _by_token(top, shown, panel)
        _by_channel(bottom, shown, panel)
        label = "activation" if panel.scale == "linear" else "activation (asinh)"
        top.set_ylabel(label if points or i == 0 or panel.scale == "asinh" else "")
        bottom.set_ylabel(label if i == 0 or panel.scale == "asinh" else "")
        if points and i == n - 1:
            _write_tokens(top, shown)
        elif points:
            top.tick_params(labelbottom=False)
    if not points:
        bar = figure.colorbar(
            ScalarMappable(SHARES, DEPTH.reversed()), ax=axes, aspect=40, pad=0.01
        )
        bar.outline.set_visible(False)
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(FuncFormatter(tick))
        bar.set_label("share of the values in a column (log)")
    return figure


def _by_token(axes: Axes, shown: Scatter, panel: Panel) -> None:
    x = np.broadcast_to(shown.places[:, None], panel.state.shape)
    if shown.points:
        _dots(axes, x, shown, panel, size=1.6)
        colours = channel_colours(shown.loud)
        for channel in panel.numbered:
            axes.plot(
                shown.places,
                panel.state[:, channel],
                ".",
                color=colours.get(channel, INK),
                markersize=3.4,
                markeredgewidth=0,
                gid=f"channel:{channel}",
            )
        return
    _density(axes, panel, "position")
    table = panel.positions
    edges = np.append(table["start"].values, table["stop"].values[-1:]).astype(np.float64) - 0.5
    last = float(shown.places.max(initial=0))
    edges[-1] = min(edges[-1], last + 0.5)
    for sign in (-1, 1):
        stairs(
            axes,
            (table["mean"] + sign * table["std"]).values,
            edges,
            color=INK,
            linewidth=0.5,
            gid=f"band:{sign}",
        )
    _dots(axes, x, shown, panel, size=2.6, only_first=True)
    _rings(axes, shown, panel, panel.extremes["position"].to_numpy(np.float64))
    # Room for the first tokens, which would stand on the axis.
    axes.set_xlim(-0.04 * (last + 1), 1.02 * (last + 1))
    axes.set_xlabel("token index in its window")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _by_channel(axes: Axes, shown: Scatter, panel: Panel) -> None:
    channels = panel.state.shape[1]
    x = np.broadcast_to(np.arange(channels, dtype=np.float64), panel.state.shape)
    if shown.points:
        _dots(axes, x, shown, panel, size=1.6)
    else:
        _density(axes, panel, "channel")
        edges = np.arange(channels + 1) - 0.5
        for column in ("min", "max"):
            stairs(
                axes,
                panel.outer[column].to_numpy(np.float64),
                edges,
                color=MUTED,
                linewidth=0.35,
                gid=f"outer:{column}",
            )
    _rings(axes, shown, panel, panel.extremes["channel"].to_numpy(np.float64))
    _number(axes, shown, panel)
    axes.set_xlim(-0.02 * channels - 0.5, 1.02 * channels - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel("channel")


def _dots(
    axes: Axes, x: Floats, shown: Scatter, panel: Panel, *, size: float, only_first: bool = False
) -> None:
    """Draw every sampled value as a point, first tokens in a colour of their own."""
    kinds: list[tuple[NDArray[np.bool_], dict[str, Any]]] = [
        (shown.first, {"color": FIRST_TOKEN, "markersize": size, "gid": "first"})
    ]
    if not only_first:
        style: dict[str, Any] = {
            "color": POINTS,
            "markersize": size,
            "alpha": 0.35,
            "gid": "values",
        }
        kinds.insert(0, (~shown.first, style))
    for rows, style in kinds:
        if rows.any():
            axes.plot(
                x[rows].ravel(),
                panel.state[rows].ravel(),
                ".",
                markeredgewidth=0,
                rasterized=True,
                **style,
            )


def _rings(axes: Axes, shown: Scatter, panel: Panel, x: Floats) -> None:
    """Draw the largest magnitudes of all tokens, whether the sample holds them or not."""
    loud = channel_colours(shown.loud)
    colours = [loud.get(int(c), INK) for c in panel.extremes["channel"]]
    axes.scatter(
        x,
        panel.extremes["value"].to_numpy(np.float64),
        s=3.5,
        facecolors="none",
        edgecolors=colours,
        linewidths=0.4,
        zorder=4,
        gid="extremes",
    )


def _number(axes: Axes, shown: Scatter, panel: Panel) -> None:
    """Write channels' numbers beside their farthest values; neighbours lean apart."""
    colours = channel_colours(shown.loud)
    low, high = panel.outer["min"], panel.outer["max"]
    sides = {c: bool(high[c] > -low[c]) for c in panel.numbered}
    for channel in panel.numbered:
        up = sides[channel]
        near = [
            c - channel
            for c in panel.numbered
            if sides[c] == up and abs(c - channel) < len(low) / 8
        ]
        lean = int(any(d < 0 for d in near)) - int(any(d > 0 for d in near))
        axes.annotate(
            str(channel),
            (channel, float(high[channel] if up else low[channel])),
            (2 * lean, 2 if up else -2),
            textcoords="offset points",
            size=CELL,
            color=colours.get(channel, INK),
            weight="bold",
            ha=("right", "center", "left")[lean + 1],
            va="bottom" if up else "top",
            path_effects=[withStroke(linewidth=1.4, foreground="white")],
        )


def _density(axes: Axes, panel: Panel, against: str) -> None:
    counts = panel.planes[against]
    x = np.append(counts["left"].values, counts["right"].values[-1])
    y = np.append(counts["bottom"].values, counts["top"].values[-1])
    total = np.maximum(counts.values.sum(0, keepdims=True), 1)
    share = np.ma.masked_equal(counts.values / total, 0)
    axes.pcolormesh(x, y, share, norm=SHARES, cmap=DEPTH.reversed(), rasterized=True)


def _write_tokens(axes: Axes, shown: Scatter) -> None:
    texts = [token_text(piece) for piece in shown.pieces]
    axes.set_xticks(shown.places, texts, rotation=90, fontsize=CELL, family=list(families()))
    axes.set_xlim(-0.8, float(shown.places.max()) + 1.6)
    axes.tick_params(axis="x", length=1.0, pad=1.0)
