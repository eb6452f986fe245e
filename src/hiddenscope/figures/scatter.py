"""The article's scatter: token index against activation, channel against activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hiddenscope import analysis, strata
from hiddenscope.analysis import drawn
from hiddenscope.errors import FigureError
from hiddenscope.figures.style import (
    CELL,
    DEPTH,
    DOUBLE,
    FIRST_TOKEN,
    LOUD,
    POINTS,
    families,
    sheet,
    subject,
    tick,
    token_text,
)
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORT = 84
"""Up to so many tokens of one window are drawn as points, their text under the axis."""
MOST = 4
"""So many sites fit into one figure."""
FAIR = 3.0
"""A loudest channel is numbered if it holds so many times an equal share of the variance."""


def draw(tree: xr.DataTree, *, view: str = "rest", sites: str | list[str] | None = None) -> Figure:
    """Draw activations by token and by channel: points for a short text, density for more.

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
    windows = {
        (int(d), int(w))
        for d, w in zip(sample["document"].values, sample["window"].values, strict=True)
    }
    short = len(windows) == 1 and tokens <= SHORT
    share = analysis.loudest(s.stream, view, len(LOUD))["share"]
    loud = share.index[share * s.channels >= FAIR].to_list()
    first = (sample["stratum"].values == "first").any()
    held = analysis.tokens(s.stream)
    whole = tokens == sum(held[k] for k in strata.select(view, tuple(held)))
    caption = s.caption(
        "" if whole else f"a sample of {tokens:,} tokens",
        "numbers: the loudest channels" if loud else "",
        "black: first tokens" if first else "",
        "" if short else "colour: number of values, logarithmic",
    )
    claim = (
        f"the loudest channel, {loud[0]}, holds {float(share.iloc[0]):.0%} of the variance of "
        f"the blocks (an equal share is {1 / s.channels:.1%})"
        if loud
        else ""
    )
    title = f"Activations by {'token' if short else 'position'} and by channel, {s.model}"
    n = len(chosen)
    figure = sheet(DOUBLE, 24 * n + 40 if short else 84, title, claim, caption)
    rows = n + 1 if short else 2
    ratios = [1.0] * n + [1.5] if short else [1.0, 1.0]
    cells = figure.add_gridspec(rows, n, height_ratios=ratios)
    above: Axes | None = None
    for i, site in enumerate(chosen):
        at = cells[i, :] if short else cells[0, i]
        top = figure.add_subplot(at, sharex=above if short else None)
        above = top
        bottom = figure.add_subplot(cells[n if short else 1, i])
        label = Site.parse(site).label
        top.set_title(label)
        bottom.set_title(label)
        _by_token(top, sample, site, loud, points=short)
        _by_channel(bottom, sample, site, loud, points=short)
        top.set_ylabel("activation" if short or i == 0 else "")
        bottom.set_ylabel("activation" if i == 0 else "")
        if short and i == n - 1:
            _write_tokens(top, sample)
        elif short:
            top.tick_params(labelbottom=False)
        else:
            top.set_xlabel("token index in its window")
            top.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


def _default(sites: list[str]) -> list[str]:
    blocks = [site for site in sites if Site.parse(site).block is not None]
    middle = [blocks[len(blocks) // 2], blocks[-1]] if blocks else []
    wanted = {sites[0], *middle, sites[-1]}
    return [site for site in sites if site in wanted]


def _by_token(axes: Axes, sample: xr.Dataset, site: str, loud: list[int], *, points: bool) -> None:
    state = sample["state"].sel(site=site).values.astype(np.float64)
    x = sample["position"].values.astype(np.float64)
    first = sample["stratum"].values == "first"
    if points:
        flat = np.broadcast_to(x[:, None], state.shape)[~first]
        axes.plot(
            flat.ravel(),
            state[~first].ravel(),
            ".",
            color=POINTS,
            markersize=1.6,
            alpha=0.35,
            markeredgewidth=0,
            rasterized=True,
        )
        for channel, colour in zip(loud, LOUD, strict=False):
            axes.plot(x, state[:, channel], ".", color=colour, markersize=3.4, markeredgewidth=0)
    else:
        _plane(axes, sample, site, "position")
    if first.any():
        flat = np.broadcast_to(x[:, None], state.shape)[first]
        axes.plot(
            flat.ravel(),
            state[first].ravel(),
            ".",
            color=FIRST_TOKEN,
            markersize=1.8 if points else 2.6,
            markeredgewidth=0,
            rasterized=True,
        )
    if not points:
        # Room for the first tokens, which would stand on the axis.
        axes.set_xlim(-0.04 * (x.max() + 1), 1.02 * (x.max() + 1))
    _range(axes, state)


def _by_channel(
    axes: Axes, sample: xr.Dataset, site: str, loud: list[int], *, points: bool
) -> None:
    state = sample["state"].sel(site=site).values.astype(np.float64)
    first = sample["stratum"].values == "first"
    x = np.arange(state.shape[1])
    if points:
        flat = np.broadcast_to(x, state[~first].shape)
        axes.plot(
            flat.ravel(),
            state[~first].ravel(),
            ".",
            color=POINTS,
            markersize=1.6,
            alpha=0.35,
            markeredgewidth=0,
            rasterized=True,
        )
    else:
        _plane(axes, sample, site, "channel")
    if first.any():
        flat = np.broadcast_to(x, state[first].shape)
        axes.plot(
            flat.ravel(),
            state[first].ravel(),
            ".",
            color=FIRST_TOKEN,
            markersize=1.6,
            markeredgewidth=0,
            rasterized=True,
        )
    _range(axes, state)
    finite = np.where(np.isfinite(state), state, 0.0)
    sides = {c: bool(finite[:, c].max() > -finite[:, c].min()) for c in loud}
    for channel, colour in zip(loud, LOUD, strict=False):
        values = state[:, channel]
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        if points:
            axes.plot(
                np.full(len(values), channel),
                values,
                ".",
                color=colour,
                markersize=2.6,
                markeredgewidth=0,
            )
        up = sides[channel]
        # Numbers of neighbours on one side lean away from each other.
        near = [c - channel for c in loud if sides[c] == up and abs(c - channel) < len(x) / 8]
        lean = int(any(d < 0 for d in near)) - int(any(d > 0 for d in near))
        axes.annotate(
            str(channel),
            (channel, float(values.max() if up else values.min())),
            (lean, 2 if up else -2),
            textcoords="offset points",
            size=CELL,
            color=colour,
            weight="bold",
            ha=("right", "center", "left")[lean + 1],
            va="bottom" if up else "top",
            path_effects=[withStroke(linewidth=1.4, foreground="white")],
        )
    axes.set_xlim(-0.02 * len(x) - 0.5, 1.02 * len(x) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel("channel")


def _plane(axes: Axes, sample: xr.Dataset, site: str, against: str) -> None:
    counts = drawn.plane(sample, site, against)
    x = np.append(counts["left"].values, counts["right"].values[-1])
    y = np.append(counts["bottom"].values, counts["top"].values[-1])
    values = np.ma.masked_equal(counts.values, 0)
    axes.pcolormesh(
        x,
        y,
        values,
        norm=LogNorm(1, max(int(counts.max()), 2)),
        cmap=DEPTH.reversed(),
        rasterized=True,
    )


def _range(axes: Axes, state: object) -> None:
    values = np.asarray(state)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 1.0)
    room = 0.1 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.axhline(0, color="#9a9a9a", linewidth=0.4, zorder=0)


def _write_tokens(axes: Axes, sample: xr.Dataset) -> None:
    x = sample["position"].values.astype(np.float64)
    texts = [token_text(str(p)) for p in sample["piece"].values]
    axes.set_xticks(x, texts, rotation=90, fontsize=CELL, family=list(families()))
    axes.set_xlim(-0.8, float(x.max()) + 1.6)
    axes.tick_params(axis="x", length=1.0, pad=1.0)
