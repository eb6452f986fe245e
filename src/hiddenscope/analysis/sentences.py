"""What a profile's tables say, in a sentence each: for figures, command line and report alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope.analysis.correlation import covariance, wing
from hiddenscope.analysis.distribution import quantiles
from hiddenscope.analysis.shares import loudest
from hiddenscope.analysis.summary import mean_by_channel, moments
from hiddenscope.analysis.token_tables import norms, positions
from hiddenscope.analysis.views import group, label, site_names, strata_of
from hiddenscope.sites import Site
from hiddenscope.strata import FIRST
from hiddenscope.words import channels, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

NORMAL = 0.1
"""An excess kurtosis up to this is not called heavy tails: samples of a normal reach it."""


def spread_words(stream: xr.DataTree, view: str, sites: list[str]) -> str:
    """Say how wide the distributions are."""
    return f"σ {_by_depth(moments(stream, view).loc[sites, 'std'])}"


def _by_depth(values: pd.Series[float]) -> str:
    """Write the values of sites: embeddings, the blocks' range, final norm."""
    sites = list(values.index)
    blocks = values[[site for site in sites if Site(site).block is not None]].dropna()
    parts = []
    if "embed" in sites:
        parts.append(f"{number(float(values['embed']))} at embed")
    if len(blocks) == 1:
        parts.append(f"{number(float(blocks.iloc[0]))} at {label(blocks.index[0])}")
    elif len(blocks):
        low, high = label(blocks.idxmin()), label(blocks.idxmax())
        parts.append(
            f"{number(float(blocks.min()))} ({low}) to {number(float(blocks.max()))} ({high})"
        )
    if "final_norm" in sites:
        parts.append(f"{number(float(values['final_norm']))} at final norm")
    return ", ".join(parts)


def norm_words(stream: xr.DataTree, view: str, sites: list[str], which: str = "l2") -> str:
    """Say how large hidden states are, and where those of first tokens differ most from that."""
    medians = _medians(stream, view, sites, which)
    name = {"l2": "norm", "linf": "largest magnitude"}[which]
    words = f"median {name} {_by_depth(medians)}"
    if FIRST not in strata_of(stream) or strata_of(stream).select(view) == (FIRST,):
        return words
    first = _medians(stream, FIRST, sites, which)
    site = _farthest(first, medians)
    if site is None:
        return words
    return (
        f"{words}; first tokens {number(float(first[site] / medians[site]))} × that at "
        f"{label(site)} ({number(float(first[site]))})"
    )


def position_words(stream: xr.DataTree, view: str, sites: list[str]) -> str:
    """Say at which site the norm at position 0 differs most from that at later positions."""
    start = positions(stream, "all").sel(site=sites).isel(position=0)
    table = positions(stream, view).sel(site=sites)
    later = table["norm"].values[:, (table["start"].values > 0) & (table["tokens"].values > 0)]
    if int(start["start"]) or not later.shape[1]:
        return ""
    usual = pd.Series(np.median(later, axis=1), index=sites)
    first = pd.Series(start["norm"].values, index=sites)
    site = _farthest(first, usual)
    if site is None:
        return ""
    return (
        f"position 0: norm {number(float(first[site]))} at {label(site)}, "
        f"{number(float(first[site] / usual[site]))} × the median of later positions"
    )


def view_words(stream: xr.DataTree, view: str, against: str, sites: list[str]) -> str:
    """Say where the norms of two views are farthest apart, and which channel's mean there."""
    one, other = (_medians(stream, v, sites) for v in (view, against))
    site = _farthest(one, other)
    if site is None:
        return ""
    means = [mean_by_channel(stream, v).loc[site].to_numpy(np.float64) for v in (view, against)]
    channel = int(np.nanargmax(np.abs(means[0] - means[1])))
    first, second = (number(float(m[channel])) for m in means)
    return (
        f"farthest apart at {label(site)}: median norm {number(float(one[site]))} in {view} "
        f"against {number(float(other[site]))} in {against}, mean of channel {channel}: {first} "
        f"against {second}"
    )


def _medians(
    stream: xr.DataTree, view: str, sites: list[str], which: str = "l2"
) -> pd.Series[float]:
    medians: pd.Series[float] = norms(stream, which, 0.5, view).loc[sites, "q0.5"]
    return medians


def _farthest(one: pd.Series[float], other: pd.Series[float]) -> str | None:
    """Return the site at which the ratio of two positive numbers is farthest from 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(np.log(one.to_numpy(np.float64) / other.to_numpy(np.float64)))
    known = np.isfinite(apart)
    return str(one.index[int(np.where(known, apart, -1).argmax())]) if known.any() else None


def tail_words(stream: xr.DataTree, view: str, sites: list[str]) -> str:
    """Say which site has the heaviest tails, if any has heavier ones than a normal."""
    kurtosis = moments(stream, view).loc[sites, "excess_kurtosis"].dropna()
    if kurtosis.empty:
        return ""
    site, most = label(kurtosis.idxmax()), float(kurtosis.max())
    if most <= NORMAL:
        return (
            "no site has clearly heavier tails than a normal: excess kurtosis at most "
            f"{number(most)} ({site}; a normal has 0)"
        )
    return f"heaviest tails: {site}, excess kurtosis {number(most)} (a normal has 0)"


def reach_words(stream: xr.DataTree, view: str, sites: list[str], share: float) -> str:
    """Say what lies farthest from zero, and where the middle `share` of that site's values lie.

    With a share of 0 only the first is said.
    """
    levels = [0.0, (1 - share) / 2, (1 + share) / 2, 1.0]
    ends = np.nan_to_num(quantiles(stream, levels, view, sites).values)
    far = int(np.maximum(-ends[:, 0], ends[:, -1]).argmax())
    lowest, low, high, highest = (float(v) for v in ends[far])
    said = (
        f"farthest from zero: {number(lowest if -lowest > highest else highest)} "
        f"at {label(sites[far])}"
    )
    if not share:
        return said
    return (
        f"{said}, where {100 * share:g} % of the values lie between {number(low)} "
        f"and {number(high)}"
    )


def loudest_words(stream: xr.DataTree, view: str) -> str:
    """Name the channel that varies most and the one that stands farthest off."""
    table = loudest(stream, view)
    # One token does not vary.
    if not table["variance"].any():
        return ""
    loud, off = (int(str(table[key].idxmax())) for key in ("variance", "offset"))
    equal = 1 / group(stream, "moments").sizes["channel"]
    return (
        f"most variance: channel {loud}, {float(table['variance'].max()):.0%} of that within "
        f"channels of the blocks (an equal share is {equal:.1%}); largest constant "
        f"offset: channel {off}, {float(table['offset'].max()):.0%} of the pooled variance"
    )


def share_words(stream: xr.DataTree, view: str, numbers: Sequence[int]) -> str:
    """Say what share of the blocks' pooled variance some channels hold."""
    table = loudest(stream, view)
    pooled, offset = (float(table[key].loc[list(numbers)].sum()) for key in ("pooled", "offset"))
    return (
        f"{channels(numbers)} hold{'s' * (len(numbers) == 1)} {pooled:.0%} of the pooled variance "
        f"of the blocks ({offset:.0%} as constant offsets)"
    )


def variance_words(
    stream: xr.DataTree, view: str, sites: list[str], without: Sequence[int] = ()
) -> str:
    """Say which sites vary least and most, over the flattened states."""
    table = covariance(stream, view, without=without).sel(site_a=sites, site_b=sites)
    variances = np.diagonal(table.values)
    least, most = int(np.nanargmin(variances)), int(np.nanargmax(variances))
    return (
        f"variance from {number(float(variances[least]))} ({label(sites[least])}) to "
        f"{number(float(variances[most]))} ({label(sites[most])})"
    )


def step_words(stream: xr.DataTree, view: str, sites: list[str]) -> str:
    """Say between which of the sites and its next one R² is lowest."""
    steps = wing(stream, view).loc[sites, "next"].to_numpy(np.float64)
    if not np.isfinite(steps).any():
        return ""
    low = int(np.nanargmin(steps))
    every = site_names(stream)
    after = every[min(every.index(sites[low]) + 1, len(every) - 1)]
    return (
        f"largest change between neighbours: {label(sites[low])} to {label(after)}, "
        f"R² {number(float(steps[low]))}"
    )
