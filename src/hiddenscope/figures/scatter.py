"""The article's scatter: token index against activation, channel against activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments, strata
from hiddenscope.analysis import density
from hiddenscope.analysis.token_tables import plane
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, Subject, a_few, subject
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHORT = 84
"""At most this number of tokens are drawn as points, with their text under the axis."""
RINGS = 64
"""The largest magnitudes of all tokens that are drawn: as many as are kept of a stratum."""
NUMBERED = 5
"""At most this many channels are numbered in a panel."""
ROWS = 96
"""Of the density, from bottom to top."""
MOST_COLUMNS = 256
"""Of the density by token."""
TOKENS_OF_A_COLUMN = 8
"""About how many tokens of the sample fall into one column of the density by position."""


@dataclass(frozen=True)
class Panel:
    """One site.

    Attributes
    ----------
    site : str
    state : ndarray[token, channel] of float64
        The sampled hidden states.
    scale : {'linear', 'asinh'}
        Of the y axis.
    reach : tuple of float
        Where the y axis begins and ends.
    linear : float
        The linear part of an asinh axis.
    extremes : DataFrame
        The largest magnitudes of all tokens.
    outer : DataFrame[channel]
        ``min`` and ``max`` over all tokens.
    positions : Dataset[position]
        Mean and σ by position over all tokens.
    numbered : list of int
        The channels to number.
    planes : dict of str to DataArray[row, column]
        ``position`` and ``channel``: how many sampled values fall where; of points, a column for
        each token.
    """

    site: str
    state: Floats
    scale: str
    reach: tuple[float, float]
    linear: float
    extremes: pd.DataFrame
    outer: pd.DataFrame
    positions: xr.Dataset
    numbered: list[int]
    planes: dict[str, xr.DataArray]


@dataclass(frozen=True, kw_only=True)
class Scatter(Prepared):
    """Activations by token and by channel.

    Attributes
    ----------
    points : bool
        Whether every token is drawn as a point, its text under the axis.
    places : ndarray[token] of float64
        Where the tokens stand on the x axis.
    first : ndarray[token] of bool
        Which are first tokens.
    pieces : list of str
        The tokens' texts.
    panels : list of Panel
    loud : list of int
        The channels that stand out in the whole profile, the most first.
    """

    points: bool
    places: Floats
    first: NDArray[np.bool_]
    pieces: list[str]
    panels: list[Panel]
    loud: list[int]


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    channels: Sequence[int] | None = None,
    range: tuple[float, float] | None = None,
) -> Scatter:
    """Draw activations by token and by channel: points for a few tokens, density for more.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens. The first token has a colour of its own where the view shows it.
    sites : str or list of str, optional
        By default the first site, a middle one, the last block and the last site; ``all`` or
        ``trunk`` for every one.
    channels : sequence of int, optional
        Those to colour and to number; by default those that stand out.
    range : (float, float), optional
        Of every y axis; by default, of each, all values of its site.
    """
    s = subject(tree, view, sites, "sample")
    chosen = s.sites if sites is not None else a_few(s.sites)
    sample = analysis.sample(s.stream, view, chosen)
    tokens = sample.sizes["token"]
    if not tokens:
        msg = f"the profile's sample holds no token of the view {view!r}: nothing to scatter"
        raise FigureError(msg)
    points = tokens <= SHORT
    windows = {*zip(sample["document"].values, sample["window"].values, strict=True)}
    several = points and len(windows) > 1
    named = None if channels is None else arguments.channels("channels", channels, s.channels)
    span = None if range is None else arguments.limits("range", range)
    stands = np.arange(tokens) if several else sample["position"].values
    places = np.asarray(stands, np.float64)
    panels = [_panel(s, sample, site, named, span, points=points, places=places) for site in chosen]
    first = np.asarray(sample["stratum"].values == strata.FIRST)
    held = analysis.tokens(s.stream)
    whole = tokens == sum(held[k] for k in analysis.strata_of(s.stream).select(s.view))
    return Scatter(
        title=f"Activations by {'token' if points else 'position'} and by channel, {s.model}",
        claim=analysis.loudest_words(s.stream, view),
        caption=s.caption(
            "" if whole else f"a sample of {counted(tokens, 'token')}, the same at every site",
            "tokens of several windows side by side" if several else "",
            "rings: the largest magnitudes of all tokens",
            "" if points else "lines: mean ± σ by position, smallest and largest by channel",
            "numbers: channels that stand out at the site"
            if named is None and any(p.numbered for p in panels)
            else "",
        ),
        points=points,
        places=places,
        first=first,
        pieces=[str(p) for p in sample["piece"].values],
        panels=panels,
        loud=analysis.outstanding_channels(s.stream) if named is None else named,
    )


def _panel(
    s: Subject,
    sample: xr.Dataset,
    site: str,
    channels: list[int] | None,
    span: tuple[float, float] | None,
    *,
    points: bool,
    places: Floats,
) -> Panel:
    state = sample["state"].sel(site=site).values.astype(np.float64)
    outer = analysis.channels(s.stream, site, s.view)[["min", "max"]]
    low, high = float(outer["min"].min()), float(outer["max"].max())
    low, high = (low, high) if np.isfinite([low, high]).all() else (-1.0, 1.0)
    scale = density.scale_of_site(s.stream, s.view, site, low, high)
    linear = density.linear_width(s.stream, s.view, [site]) if scale == "asinh" else 1.0
    reach = span or density.with_room(low, high, scale, linear)
    columns = MOST_COLUMNS if points else max(1, min(96, len(state) // TOKENS_OF_A_COLUMN))
    edges = density.even_steps(*reach, ROWS, scale, linear)
    standing = sample.assign(position=("token", places))
    planes = {
        "position": plane(standing, site, "position", columns, edges),
        "channel": plane(sample, site, "channel", 128, edges),
    }
    if channels is None:
        outstanding = analysis.standing_out(s.stream, s.view, [site]).index
        channels = [int(c) for c in outstanding[:NUMBERED]]
    return Panel(
        site=site,
        state=state,
        scale=scale,
        reach=reach,
        linear=linear,
        # Of several strata together no more than of one.
        extremes=analysis.extremes(s.stream, s.view, site).head(RINGS),
        outer=outer,
        positions=analysis.positions(s.stream, s.view).sel(site=site),
        numbered=channels,
        planes=planes,
    )
