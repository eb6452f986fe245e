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
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import CELL, DOUBLE, families, token_text
from hiddenscope.sites import Site
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.scatter import Floats, Panel, Scatter

SHARES = LogNorm(1e-4, 1.0, clip=True)
"""The scale of the density's colours, the same in every panel."""


COLUMNS = 4
"""Sites side by side."""


def draw(shown: Scatter, look: Look) -> Page:
    """Draw points for a few tokens, density for more; sites in a grid."""
    points, n = shown.points, len(shown.panels)
    rows, columns = -(-n // COLUMNS), min(n, COLUMNS)
    cells: list[tuple[Any, Any]] = []
    for i in range(n):
        row, column = divmod(i, COLUMNS)
        if points:
            cells += [(i, slice(None)), (n + row, column)]
        else:
            cells += [(2 * row, column), (2 * row + 1, column)]
    first = "black: first tokens" if shown.first.any() else ""
    page = Page(look, DOUBLE, 24 * n + 40 * rows if points else 84 * rows, shown, first)
    heights = [1.0] * n + [1.5] * rows if points else [1.0] * 2 * rows
    axes = page.axes((len(heights), columns), cells, height_ratios=heights)
    for i, panel in enumerate(shown.panels):
        top, bottom = axes[2 * i : 2 * i + 2]
        leftmost = i % COLUMNS == 0
        for below in (top, bottom):
            below.set_title(Site.parse(panel.site).label)
            value_axis(below.yaxis, panel.scale, *panel.reach, panel.linear)
            below.axhline(0, color=page.grey(0.559), linewidth=0.4, zorder=0)
        _by_token(page, top, shown, panel)
        _by_channel(page, bottom, shown, panel)
        label = "activation" if panel.scale == "linear" else "activation (asinh)"
        top.set_ylabel(label if points or leftmost or panel.scale == "asinh" else "")
        bottom.set_ylabel(label if leftmost or panel.scale == "asinh" else "")
        if points:
            _write_tokens(top, shown)
            top.tick_params(labelbottom=i == n - 1)
    if not points:
        shares = ScalarMappable(SHARES, page.density)
        label = "share of the values in a column (log)"
        page.colorbar(shares, axes, label, aspect=40 * rows, pad=0.01)
    return page


def _by_token(page: Page, axes: Axes, shown: Scatter, panel: Panel) -> None:
    x = np.broadcast_to(shown.places[:, None], panel.state.shape)
    if shown.points:
        _dots(page, axes, x, shown, panel, size=1.6)
        colours = page.channel_colours(shown.loud)
        for channel in panel.numbered:
            axes.plot(
                shown.places,
                panel.state[:, channel],
                ".",
                color=colours.get(channel, page.ink),
                markersize=3.4,
                markeredgewidth=0,
                gid=f"channel:{channel}",
            )
        return
    _density(page, axes, panel, "position")
    table = panel.positions
    edges = np.append(table["start"].values, table["stop"].values[-1:]).astype(np.float64) - 0.5
    last = float(shown.places.max(initial=0))
    edges[-1] = min(edges[-1], last + 0.5)
    for sign in (-1, 1):
        stairs(
            axes,
            (table["mean"] + sign * table["std"]).values,
            edges,
            color=page.ink,
            linewidth=0.5,
            gid=f"band:{sign}",
        )
    _dots(page, axes, x, shown, panel, size=2.6, only_first=True)
    _rings(page, axes, shown, panel, panel.extremes["position"].to_numpy(np.float64))
    # Room for the first tokens, which would stand on the axis.
    axes.set_xlim(-0.04 * (last + 1), 1.02 * (last + 1))
    axes.set_xlabel("token index in its window")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _by_channel(page: Page, axes: Axes, shown: Scatter, panel: Panel) -> None:
    channels = panel.state.shape[1]
    x = np.broadcast_to(np.arange(channels, dtype=np.float64), panel.state.shape)
    if shown.points:
        _dots(page, axes, x, shown, panel, size=1.6)
    else:
        _density(page, axes, panel, "channel")
        edges = np.arange(channels + 1) - 0.5
        for column in ("min", "max"):
            stairs(
                axes,
                panel.outer[column].to_numpy(np.float64),
                edges,
                color=page.muted,
                linewidth=0.35,
                gid=f"outer:{column}",
            )
    _rings(page, axes, shown, panel, panel.extremes["channel"].to_numpy(np.float64))
    _number(page, axes, shown, panel)
    axes.set_xlim(-0.02 * channels - 0.5, 1.02 * channels - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel("channel")


def _dots(
    page: Page,
    axes: Axes,
    x: Floats,
    shown: Scatter,
    panel: Panel,
    *,
    size: float,
    only_first: bool = False,
) -> None:
    """Draw every sampled value as a point, first tokens in a colour of their own."""
    kinds: list[tuple[NDArray[np.bool_], dict[str, Any]]] = [
        (shown.first, {"color": page.first, "markersize": size, "gid": "first"})
    ]
    if not only_first:
        style: dict[str, Any] = {
            "color": page.points,
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


def _rings(page: Page, axes: Axes, shown: Scatter, panel: Panel, x: Floats) -> None:
    """Draw the largest magnitudes of all tokens, whether the sample holds them or not."""
    loud = page.channel_colours(shown.loud)
    colours = [loud.get(int(c), page.ink) for c in panel.extremes["channel"]]
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


def _number(page: Page, axes: Axes, shown: Scatter, panel: Panel) -> None:
    """Write channels' numbers beside their farthest values; neighbours lean apart."""
    colours = page.channel_colours(shown.loud)
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
            color=colours.get(channel, page.ink),
            weight="bold",
            ha=("right", "center", "left")[lean + 1],
            va="bottom" if up else "top",
            path_effects=[withStroke(linewidth=1.4, foreground=page.paper)],
        )


def _density(page: Page, axes: Axes, panel: Panel, against: str) -> None:
    counts = panel.planes[against]
    x = np.append(counts["left"].values, counts["right"].values[-1])
    y = np.append(counts["bottom"].values, counts["top"].values[-1])
    total = np.maximum(counts.values.sum(0, keepdims=True), 1)
    share = np.ma.masked_equal(counts.values / total, 0)
    axes.pcolormesh(x, y, share, norm=SHARES, cmap=page.density, rasterized=True)


def _write_tokens(axes: Axes, shown: Scatter) -> None:
    texts = [token_text(piece) for piece in shown.pieces]
    axes.set_xticks(shown.places, texts, rotation=90, fontsize=CELL, family=list(families()))
    axes.set_xlim(-0.8, float(shown.places.max()) + 1.6)
    axes.tick_params(axis="x", length=1.0, pad=1.0)
