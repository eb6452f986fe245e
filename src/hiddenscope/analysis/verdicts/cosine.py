"""Channels that dominate the cosine similarity: Timkey and van Schijndel 2021."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope.analysis.correlation import r2
from hiddenscope.analysis.shares import loudest
from hiddenscope.analysis.summary import channel_means
from hiddenscope.analysis.verdicts.claim import TIMKEY, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import group, label, site_index, strata_index
from hiddenscope.errors import InputError, ProfileError
from hiddenscope.words import channels, counted, number

if TYPE_CHECKING:
    import xarray as xr

    from hiddenscope.analysis.verdicts.seen import Seen

DOMINANT = 3
"""The number of channels that are claimed to dominate, at most."""
DOMINATED = 0.5
"""They dominate at a block where they hold at least this share of the mean cosine …"""
SHARE_OF_BLOCKS = 0.5
"""… and in a model where they do so at this share of its blocks."""
ISOTROPIC = 0.05
"""A lower mean cosine is not worth sharing out: pairs of tokens are not alike."""


def cosine_shares(stream: xr.DataTree, view: str, sites: list[str]) -> pd.DataFrame:
    """Share the mean cosine of pairs of tokens out to the channels.

    With u the mean of x ÷ ‖x‖ over n tokens, the mean cosine of pairs of different tokens, the
    anisotropy, is (n Σ u² − 1) ÷ (n − 1). Of that a channel c has (n u_c² − q_c) ÷ (n Σ u² − 1),
    where q_c is what it has in the cosine of a token with itself: the mean of x_c² ÷ ‖x‖², for
    which its share of Σ x² over all tokens is taken. Where norms are equal that is exact, and
    otherwise off by a part of 1/n.

    Returns
    -------
    DataFrame[site]
        ``tokens``, ``anisotropy`` and, by channel number, the shares.

    Raises
    ------
    ProfileError
        The profile was made before these means were kept.
    """
    data = group(stream, "moments")
    if "unit_mean" not in data:
        msg = (
            f"this profile is of schema {stream.root.attrs['schema_version']} and lacks "
            "'unit_mean', the mean of x ÷ ‖x‖: measure again with `hiddenscope profile`"
        )
        raise ProfileError(msg)
    at = np.array([site_index(stream, site) for site in sites])
    k = strata_index(stream, view)
    held = data["count"].values[np.ix_(at, k)].astype(np.float64)
    means = np.asarray(data["unit_mean"].values)[np.ix_(at, k)]
    sums = {key: value[at] for key, value in channel_means(stream, view).items()}
    tokens = held.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = ((held[..., None] * means).sum(1) / tokens[:, None]) ** 2
        own = sums["m2"] + sums["count"] * sums["mean"] ** 2
        of_pairs = tokens[:, None] * squares - own / own.sum(1, keepdims=True)
        shares = of_pairs / of_pairs.sum(1, keepdims=True)
        anisotropy = of_pairs.sum(1) / (tokens - 1)
    table = pd.DataFrame(shares, index=pd.Index(sites, name="site"))
    table.insert(0, "anisotropy", anisotropy)
    table.insert(0, "tokens", tokens.astype(np.int64))
    return table


def _dominated(seen: Seen) -> Verdict:
    blocks = seen.blocks()
    table = cosine_shares(seen.stream, seen.view, blocks)
    if table["tokens"].min() < 2:
        msg = "of a single token there are no pairs"
        raise UntoldError(msg)
    shares, cosine = table.drop(columns=["tokens", "anisotropy"]), table["anisotropy"]
    if len(shares.columns) <= DOMINANT:
        msg = f"there are only {len(shares.columns)} channels"
        raise UntoldError(msg)
    alike = cosine >= ISOTROPIC
    if not alike.any():
        msg = (
            f"the mean cosine of two tokens is at most {number(float(cosine.max()))} at any block, "
            "too little to be shared out"
        )
        raise UntoldError(msg)
    top = pd.Series(-np.sort(-shares.to_numpy(), axis=1)[:, :DOMINANT].sum(1), index=blocks)
    most = str(top[alike].idxmax())
    # What is not alike is not dominated by anything.
    held = int((alike & (top >= DOMINATED)).sum())
    order = shares[alike].mean().sort_values(ascending=False, kind="stable")
    named = [int(str(c)) for c in order.index[:DOMINANT]]
    variance = float(loudest(seen.stream, seen.view)["variance"].loc[named].sum())
    words = (
        f"the top {DOMINANT} channels hold {DOMINATED:.0%} or more of the mean cosine at {held} of "
        f"{counted(len(blocks), 'block')}, at most {top[most]:.0%} ({label(most)}, mean cosine "
        f"{number(float(cosine[most]))}); over all blocks most is held by {channels(named)}, "
        f"{order.iloc[:DOMINANT].sum():.0%} (of the variance within channels, another thing, "
        f"{variance:.0%})"
    )
    before, after = _r2_without(seen, blocks, named)
    if not np.isnan(after):
        words += (
            f"; our consequence, not the paper's: without them the median R² of neighbouring "
            f"blocks goes from {number(before)} to {number(after)}"
        )
    return decided(
        held >= SHARE_OF_BLOCKS * len(blocks),
        words,
        blocks_dominated=held,
        largest_share=top[most],
        largest_at=most,
        anisotropy=cosine[most],
        median_anisotropy=float(cosine.median()),
        channels=named,
        channel_shares=[float(v) for v in order.iloc[:DOMINANT]],
        variance_share=variance,
        r2=before,
        r2_without=after,
    )


def _r2_without(seen: Seen, blocks: list[str], left_out: list[int]) -> tuple[float, float]:
    """Return the median R² of neighbouring blocks with and without some channels, or NaN."""
    medians = []
    try:
        for without in ((), left_out):
            matrix = r2(seen.stream, "pooled", seen.view, without=without)
            steps = np.diagonal(matrix.sel(site_a=blocks, site_b=blocks).values, 1)
            medians.append(float(np.median(steps)) if len(steps) else np.nan)
    except InputError:  # the file no longer knows these channels on their own
        return np.nan, np.nan
    return medians[0], medians[1]


CLAIMS = (
    Claim(
        name="cosine_dominated",
        statement="One to three channels dominate the cosine similarity of hidden states.",
        source=TIMKEY,
        criterion=(
            f"at ≥ {SHARE_OF_BLOCKS:.0%} of the blocks the mean cosine of two tokens is ≥ "
            f"{ISOTROPIC:g} and the {DOMINANT} channels with the largest shares hold ≥ "
            f"{DOMINATED:.0%} of it"
        ),
        formula=(
            "u, the mean of x ÷ ‖x‖ over the n tokens; the mean cosine of pairs of tokens "
            "(anisotropy): (n Σ u² − 1) ÷ (n − 1); the share of channel c: (n u_c² − q_c) ÷ "
            "(n Σ u² − 1), where q_c, its share of Σ x², stands for a token's cosine with itself"
        ),
        caveat=(
            "The share of the cosine is none of the variance: a channel that is large and constant "
            "has all of the one and nothing of the other. Pairs are of all tokens of the view, of "
            "the same text as well."
        ),
        figure="outliers",
        judge=_dominated,
    ),
)
