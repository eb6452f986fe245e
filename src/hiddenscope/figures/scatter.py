"""The article's scatter: token index against activation, channel against activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hiddenscope import analysis, strata
from hiddenscope.analysis import drawn
from hiddenscope.errors import FigureError
from hiddenscope.figures.axis import value_axis
from hiddenscope.figures.style import (
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
    subject,
    tick,
    token_text,
)
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType
    from numpy.typing import NDArray

    from hiddenscope.figures.style import Subject

    Floats = NDArray[np.float64]

SHORT = 84
"""Up to so many tokens are drawn as points, their text under the axis."""
BODY = (0.005, 0.995)
"""Where the farthest value is ten times as far as these quantiles, the y axis is asinh."""
MOST = 4
"""At most this many sites fit into one figure."""
SHARES = LogNorm(1e-4, 1.0, clip=True)
"""The scale of the density's colours, the same in every panel."""
RINGS = 64
"""The largest magnitudes of all tokens that are drawn: as many as are kept of a stratum."""
NUMBERED = 5
"""At most this many channels are numbered in a panel."""
ROWS = 96
"""Of the density, from bottom to top."""
TOKENS_OF_A_COLUMN = 8
"""About how many tokens of the sample fall into one column of the density by position."""


def draw(tree: xr.DataTree, *, view: str = "rest", sites: str | list[str] | None = None) -> Figure:
    """Draw activations by token and by channel: points for a few tokens, density for more.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens. The first token has a colour of its own where the view shows it.
    sites : str or list of str, optional
        At most four; by default the first site, a middle one, the last block and the last site.
    """
    s = subject(tree, view, sites, "sample")
    chosen = s.sites if sites is not None else _default(s.sites)
    if len(chosen) > MOST:
        msg = f"a scatter shows at most {MOST} sites, got {len(chosen)}: choose fewer with sites"
        raise FigureError(msg)
    sample = analysis.sample(s.stream, view, chosen)
    tokens = sample.sizes["token"]
    if not tokens:
        msg = f"the profile's sample holds no token of the view {view!r}: nothing to scatter"
        raise FigureError(msg)
    points = tokens <= SHORT
    panels = [_panel(s, sample, site, points=points) for site in chosen]
    title = f"Activations by {'token' if points else 'position'} and by channel, {s.model}"
    n = len(chosen)
    caption = _caption(s, sample, panels, points=points)
    figure = sheet(DOUBLE, 24 * n + 40 if points else 84, title, _claim(s), caption)
    rows = n + 1 if points else 2
    cells = figure.add_gridspec(rows, n, height_ratios=[1.0] * n + [1.5] if points else [1.0, 1.0])
    axes: list[Axes] = []
    for i, panel in enumerate(panels):
        at = cells[i, :] if points else cells[0, i]
        top = figure.add_subplot(at, sharex=axes[0] if points and axes else None)
        bottom = figure.add_subplot(cells[n if points else 1, i])
        axes += [top, bottom]
        for below in (top, bottom):
            below.set_title(Site.parse(panel.site).label)
            value_axis(below.yaxis, panel.scale, *panel.reach, panel.linear)
            below.axhline(0, color="#9a9a9a", linewidth=0.4, zorder=0)
        _by_token(top, panel, points=points)
        _by_channel(bottom, panel, points=points)
        label = "activation" if panel.scale == "linear" else "activation (asinh)"
        top.set_ylabel(label if points or i == 0 or panel.scale == "asinh" else "")
        bottom.set_ylabel(label if i == 0 or panel.scale == "asinh" else "")
        if points and i == n - 1:
            _write_tokens(top, sample, panel.places)
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


@dataclass(frozen=True)
class _Panel:
    """What is drawn of one site."""

    site: str
    state: Floats
    places: Floats
    first: NDArray[np.bool_]
    scale: str
    reach: tuple[float, float]
    linear: float
    extremes: pd.DataFrame
    outer: pd.DataFrame
    positions: xr.Dataset
    numbered: list[int]
    colours: dict[int, ColorType]
    planes: dict[str, xr.DataArray]


def _panel(s: Subject, sample: xr.Dataset, site: str, *, points: bool) -> _Panel:
    state = sample["state"].sel(site=site).values.astype(np.float64)
    outer = analysis.channels(s.stream, site, s.view)[["min", "max"]]
    low, high = float(outer["min"].min()), float(outer["max"].max())
    low, high = (low, high) if np.isfinite([low, high]).all() else (-1.0, 1.0)
    ends = analysis.quantiles(s.stream, BODY, s.view, [site]).values
    # Without a finite value there is no body.
    body = float(np.fmax.reduce(np.abs(ends), axis=None, initial=0.0))
    scale = "asinh" if max(-low, high) > drawn.MANY_TIMES * body > 0 else "linear"
    linear = drawn.linear_width(s.stream, s.view, [site]) if scale == "asinh" else 1.0
    reach = _with_room(low, high, scale, linear)
    windows = set(zip(sample["document"].values, sample["window"].values, strict=True))
    places = sample["position"].values.astype(np.float64)
    if points and len(windows) > 1:
        places = np.arange(len(places), dtype=np.float64)
    columns = max(1, min(96, len(places) // TOKENS_OF_A_COLUMN))
    edges = drawn.even_steps(*reach, ROWS, scale, linear)
    planes = (
        {}
        if points
        else {
            "position": drawn.plane(sample, site, "position", columns, edges),
            "channel": drawn.plane(sample, site, "channel", 128, edges),
        }
    )
    found = analysis.standing_out(s.stream, s.view, [site]).index[:NUMBERED]
    return _Panel(
        site=site,
        state=state,
        places=places,
        first=np.asarray(sample["stratum"].values == strata.FIRST),
        scale=scale,
        reach=reach,
        linear=linear,
        # Of several strata together no more than of one.
        extremes=analysis.extremes(s.stream, s.view, site).head(RINGS),
        outer=outer,
        positions=analysis.positions(s.stream, s.view).sel(site=site),
        numbered=[int(c) for c in found],
        colours=channel_colours(s.stream),
        planes=planes,
    )


def _with_room(low: float, high: float, scale: str, linear: float) -> tuple[float, float]:
    """Leave a tenth of the axis beyond the outermost values, for their numbers."""
    if scale == "linear":
        room = 0.1 * (high - low) or 1.0
        return low - room, high + room
    a, b = np.arcsinh(low / linear), np.arcsinh(high / linear)
    room = 0.1 * (b - a)
    return float(linear * np.sinh(a - room)), float(linear * np.sinh(b + room))


def _default(sites: list[str]) -> list[str]:
    blocks = [site for site in sites if Site.parse(site).block is not None]
    middle = [blocks[len(blocks) // 2], blocks[-1]] if blocks else []
    wanted = {sites[0], *middle, sites[-1]}
    return [site for site in sites if site in wanted]


def _claim(s: Subject) -> str:
    """Name the channel that varies most and the one that stands farthest off."""
    table = analysis.loudest(s.stream, s.view)
    if not table["pooled"].any():
        return ""
    loud, off = (int(str(table[key].idxmax())) for key in ("variance", "offset"))
    return (
        f"most variance: channel {loud}, {float(table['variance'].max()):.0%} of that within "
        f"channels of the blocks (an equal share is {1 / s.channels:.1%}); largest constant "
        f"offset: channel {off}, {float(table['offset'].max()):.0%} of the pooled variance"
    )


def _caption(s: Subject, sample: xr.Dataset, panels: list[_Panel], *, points: bool) -> str:
    held = analysis.tokens(s.stream)
    tokens = sample.sizes["token"]
    whole = tokens == sum(held[k] for k in strata.select(s.view, tuple(held)))
    windows = {*zip(sample["document"].values, sample["window"].values, strict=True)}
    return s.caption(
        "" if whole else f"a sample of {tokens:,} tokens, the same at every site",
        "tokens of several windows side by side" if points and len(windows) > 1 else "",
        "rings: the largest magnitudes of all tokens",
        "" if points else "lines: mean ± σ by position, smallest and largest by channel",
        "numbers: channels that stand out at the site" if any(p.numbered for p in panels) else "",
        "black: first tokens" if panels[0].first.any() else "",
    )


def _by_token(axes: Axes, panel: _Panel, *, points: bool) -> None:
    x = np.broadcast_to(panel.places[:, None], panel.state.shape)
    if points:
        _dots(axes, x, panel, size=1.6)
        for channel in panel.numbered:
            axes.plot(
                panel.places,
                panel.state[:, channel],
                ".",
                color=panel.colours.get(channel, INK),
                markersize=3.4,
                markeredgewidth=0,
                gid=f"channel:{channel}",
            )
        return
    _density(axes, panel, "position")
    table = panel.positions
    edges = np.append(table["start"].values, table["stop"].values[-1:]).astype(np.float64) - 0.5
    last = float(panel.places.max(initial=0))
    edges[-1] = min(edges[-1], last + 0.5)
    for sign in (-1, 1):
        axes.stairs(
            (table["mean"] + sign * table["std"]).values,
            edges,
            baseline=None,
            color=INK,
            linewidth=0.5,
            gid=f"band:{sign}",
        )
    _dots(axes, x, panel, size=2.6, only_first=True)
    _rings(axes, panel, panel.extremes["position"].to_numpy(np.float64))
    # Room for the first tokens, which would stand on the axis.
    axes.set_xlim(-0.04 * (last + 1), 1.02 * (last + 1))
    axes.set_xlabel("token index in its window")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _by_channel(axes: Axes, panel: _Panel, *, points: bool) -> None:
    channels = panel.state.shape[1]
    x = np.broadcast_to(np.arange(channels, dtype=np.float64), panel.state.shape)
    if points:
        _dots(axes, x, panel, size=1.6)
    else:
        _density(axes, panel, "channel")
        edges = np.arange(channels + 1) - 0.5
        for column in ("min", "max"):
            axes.stairs(
                panel.outer[column].to_numpy(np.float64),
                edges,
                baseline=None,
                color=MUTED,
                linewidth=0.35,
                gid=f"outer:{column}",
            )
    _rings(axes, panel, panel.extremes["channel"].to_numpy(np.float64))
    _number(axes, panel)
    axes.set_xlim(-0.02 * channels - 0.5, 1.02 * channels - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel("channel")


def _dots(axes: Axes, x: Floats, panel: _Panel, *, size: float, only_first: bool = False) -> None:
    """Draw every sampled value as a point, first tokens in a colour of their own."""
    kinds: list[tuple[NDArray[np.bool_], dict[str, Any]]] = [
        (panel.first, {"color": FIRST_TOKEN, "markersize": size, "gid": "first"})
    ]
    if not only_first:
        style: dict[str, Any] = {
            "color": POINTS,
            "markersize": size,
            "alpha": 0.35,
            "gid": "values",
        }
        kinds.insert(0, (~panel.first, style))
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


def _rings(axes: Axes, panel: _Panel, x: Floats) -> None:
    """Draw the largest magnitudes of all tokens, whether the sample holds them or not."""
    colours = [panel.colours.get(int(c), INK) for c in panel.extremes["channel"]]
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


def _number(axes: Axes, panel: _Panel) -> None:
    """Write channels' numbers beside their farthest values; neighbours lean apart."""
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
            color=panel.colours.get(channel, INK),
            weight="bold",
            ha=("right", "center", "left")[lean + 1],
            va="bottom" if up else "top",
            path_effects=[withStroke(linewidth=1.4, foreground="white")],
        )


def _density(axes: Axes, panel: _Panel, against: str) -> None:
    counts = panel.planes[against]
    x = np.append(counts["left"].values, counts["right"].values[-1])
    y = np.append(counts["bottom"].values, counts["top"].values[-1])
    total = np.maximum(counts.values.sum(0, keepdims=True), 1)
    share = np.ma.masked_equal(counts.values / total, 0)
    axes.pcolormesh(x, y, share, norm=SHARES, cmap=DEPTH.reversed(), rasterized=True)


def _write_tokens(axes: Axes, sample: xr.Dataset, places: Floats) -> None:
    texts = [token_text(str(p)) for p in sample["piece"].values]
    axes.set_xticks(places, texts, rotation=90, fontsize=CELL, family=list(families()))
    axes.set_xlim(-0.8, float(places.max()) + 1.6)
    axes.tick_params(axis="x", length=1.0, pad=1.0)
