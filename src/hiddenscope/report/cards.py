"""The channels that stand out, a card each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis, words
from hiddenscope.analysis.largest import STANDS_OUT, farthest_by_channel, largest_over_median
from hiddenscope.errors import InputError
from hiddenscope.report import encode
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from hiddenscope.report.subject import Subject

RULES = {"massive_channels": "massive activations", "channels": "outlier channel"}
"""Tables of outliers, and what a channel in them is called."""
MOST = 12
"""Cards of a view."""
TOKENS = 5
CONTEXT = 24
"""Characters before and after a token."""
"""Tokens named on a card."""
LOUDEST = 3
"""Channels that have a card for their share of the variance alone."""


@dataclass(frozen=True)
class Card:
    """What is known of a channel.

    Attributes
    ----------
    channel : int
    kinds : list of str
        By which rules it stands out.
    largest, site : str
        Its largest magnitude with its sign, and where.
    signs : str
    blocks : str
        Where it stands out.
    variance, pooled : str
        Shares of the variance.
    tokens : list of (str, str, str, str)
        What stood before, the token, what came after, and the value.
    """

    channel: int
    kinds: list[str]
    largest: str
    site: str
    signs: str
    blocks: str
    variance: str
    pooled: str
    tokens: list[tuple[str, str, str, str]]


def cards_by_view(subject: Subject) -> dict[str, list[Card]]:
    """Return the cards of each view."""
    return {view: cards(subject.stream, view) for view in subject.views}


def cards(stream: xr.DataTree, view: str) -> list[Card]:
    """Return a card for each channel that stands out in a view, the loudest first."""
    known = _Known(
        analysis.trunk_sites(stream),
        farthest_by_channel(stream, view),
        largest_over_median(stream, view),
        analysis.loudest(stream, view),
        analysis.extremes(stream, view) if "extremes" in stream.children else None,
    )
    return [_card(channel, why, known) for channel, why in _kinds(stream, view).items()]


@dataclass(frozen=True)
class _Known:
    """The tables that cards are made from."""

    sites: list[str]
    farthest: pd.DataFrame
    ratio: pd.DataFrame
    shares: pd.DataFrame
    extremes: pd.DataFrame | None


def _kinds(stream: xr.DataTree, view: str) -> dict[int, list[str]]:
    """Return which channels have a card, and why, massive activations first."""
    why: dict[int, list[str]] = {}
    found = analysis.outliers(stream, view)
    for name, kind in RULES.items():
        try:
            held = getattr(found, name)
        except InputError:
            continue
        for channel in analysis.by_the_rule(held).index if name == "channels" else held.index:
            why.setdefault(int(channel), []).append(kind)
    for channel in analysis.standing_out(stream, view, analysis.trunk_sites(stream)).index:
        why.setdefault(int(str(channel)), []).append("stands out")
    shares = analysis.loudest(stream, view, LOUDEST, "pooled")
    for channel in shares.index[shares["pooled"] > 0]:
        why.setdefault(int(channel), []).append("loud")
    return dict(list(why.items())[:MOST])


def _card(channel: int, kinds: list[str], known: _Known) -> Card:
    sites = known.sites
    signed = known.farthest.loc[sites, channel].to_numpy(np.float64)
    at = int(np.argmax(np.nan_to_num(np.abs(signed), nan=-1.0)))
    out = np.flatnonzero(known.ratio.loc[sites, channel].to_numpy(np.float64) >= STANDS_OUT)
    over = signed[out] if len(out) else signed[[at]]
    signs = "negative" if over.max() < 0 else "positive" if over.min() > 0 else "both signs"
    parsed = [Site(sites[i]) for i in out]
    numbers = [s.block for s in parsed if s.block is not None]
    where = [words.blocks(numbers)] * bool(numbers)
    where += [s.label for s in parsed if s.block is None]
    variance, pooled = known.shares.loc[channel, ["variance", "pooled"]].to_numpy(np.float64)
    return Card(
        channel=channel,
        kinds=kinds,
        largest=words.number(float(signed[at])),
        site=Site(sites[at]).label,
        signs=signs,
        blocks=", ".join(where) or "nowhere by this rule",
        variance=_percent(variance),
        pooled=_percent(pooled),
        tokens=_tokens(known.extremes, channel),
    )


def _percent(share: Any) -> str:
    return "–" if not np.isfinite(share) else f"{words.number(100 * share)} %"


def _tokens(extremes: pd.DataFrame | None, channel: int) -> list[tuple[str, str, str, str]]:
    """Return the tokens of the channel's largest magnitudes, each place in the text once."""
    if extremes is None:
        return []
    held = extremes[extremes["channel"] == channel]
    held = held.drop_duplicates(["document", "window", "position"]).head(TOKENS)
    before, piece, after = ([str(v) for v in held[k]] for k in ("before", "piece", "after"))
    texts = (
        [encode.text(v[-CONTEXT:]) for v in before],
        [encode.text(v) for v in piece],
        [encode.text(v[:CONTEXT]) for v in after],
    )
    values = [words.number(float(v)) for v in held["value"]]
    return list(zip(*texts, values, strict=True))
