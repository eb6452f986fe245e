"""What the page holds of the sample: a passage by token and channel, pairs of values of two sites.

States of the sample are rounded to bfloat16, so 16 bits a value hold all of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis
from hiddenscope.analysis.largest import largest_over_median
from hiddenscope.errors import FigureError
from hiddenscope.report import encode
from hiddenscope.report.figure import each_view
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from hiddenscope.report.figure import Figure
    from hiddenscope.report.subject import Subject

BUDGET = 150_000
"""Bytes of the states behind each of the two figures, before they are written as base64."""
CHANNELS = 64
"""Channels of a site that the map shows: those that stand out most."""
SEED = 0


def passage_map(subject: Subject) -> Figure:
    """Prepare the passage, token by token, in the channels that stand out at each site."""

    def common(held: xr.Dataset) -> tuple[dict[str, Any], str]:
        tokens = np.flatnonzero(held["passage"].values)
        # A short text is kept whole and has no passage of its own.
        tokens = tokens if len(tokens) else np.arange(held.sizes["token"])
        order = np.lexsort([held[k].values[tokens] for k in ("position", "window", "document")])
        channels = _channels(subject)
        tokens = tokens[order][: max(BUDGET // (2 * channels.size), 1)]
        states = held["state"].values[:, tokens]
        values = np.take_along_axis(states, channels[:, None, :], axis=2)
        made = {
            "pieces": [encode.text(p) for p in held["piece"].values[tokens]],
            "positions": [int(p) for p in held["position"].values[tokens]],
            "strata": [str(s) for s in held["stratum"].values[tokens]],
            "channels": encode.array(channels.ravel(), "i4"),
            "states": encode.array(encode.top_bits(values).ravel(), "u2"),
            "width": channels.shape[1],
        }
        total = counted(held.sizes["channel"], "channel")
        caption = (
            f"{channels.shape[1]} of {total}: those whose largest magnitude stands out most at "
            "the site · colour on an asinh scale"
        )
        return made, caption

    return _sampled(subject, "map", "A passage, token by token", common)


def pairs(subject: Subject) -> Figure:
    """Prepare values of all sites at the same places, drawn at random from the sample."""

    def common(held: xr.Dataset) -> tuple[dict[str, Any], str]:
        count, channels = held.sizes["token"], held.sizes["channel"]
        many = min(BUDGET // (2 * len(subject.sites)), count * channels)
        chosen = np.random.default_rng(SEED).permutation(count * channels)[:many]
        token, channel = np.divmod(np.sort(chosen), channels)
        values = held["state"].values[:, token, channel]
        names, codes = np.unique(held["stratum"].values[token].astype(str), return_inverse=True)
        made = {
            "strata": [str(n) for n in names],
            "stratum": encode.array(codes, "u1"),
            "states": encode.array(encode.top_bits(values).ravel(), "u2"),
        }
        caption = (
            f"a random part of the sample: {many:,} of {counted(count * channels, 'value')} of "
            f"{counted(count, 'token')}, the same at both sites · asinh scales · colour logarithmic"
        )
        return made, caption

    return _sampled(subject, "pairs", "Two sites against each other", common)


def _sampled(
    subject: Subject,
    key: str,
    title: str,
    common: Callable[[xr.Dataset], tuple[dict[str, Any], str]],
) -> Figure:
    """Prepare once what does not depend on the view, and say which strata a view shows of it."""
    held = None
    if "sample" in subject.stream.children:
        held = analysis.sample(subject.stream, "all")
        held = held if held["state"].size else None
    made, caption = ({}, "") if held is None else common(held)
    known = analysis.strata_of(subject.stream)

    def prepare(view: str) -> dict[str, Any]:
        if held is None:
            msg = "this profile holds no sample of whole hidden states: measure again to have one"
            raise FigureError(msg)
        shown = known.select(view)
        if not set(shown).intersection(made["strata"]):
            msg = f"the profile's sample holds no token of the view {view!r} here"
            raise FigureError(msg)
        return {"caption": caption, "shown": list(shown), "sites": subject.sites}

    return replace(each_view(subject, key, title, key, prepare), common=made)


def _channels(subject: Subject) -> NDArray[np.int64]:
    """Return the channels of each site that stand out most, in ascending order."""
    table = largest_over_median(subject.stream, "all").loc[subject.sites].to_numpy(np.float64)
    order = np.argsort(-np.nan_to_num(table, nan=-1.0), axis=1, kind="stable")
    return np.sort(order[:, :CHANNELS], axis=1)
