"""Moments of sites and channels, pooled over the strata of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import grid
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.octaves import magnitude_bounds
from hiddenscope.analysis.views import (
    cell_counts,
    choose_sites,
    group,
    hf_index,
    site_index,
    site_names,
    strata_index,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Power = dict[str, Floats]

_POWERS = ("mean", "m2", "m3", "m4")


def pool(parts: Power, axis: int) -> Power:
    """Join centred power sums along an axis, about the joint mean.

    Parameters
    ----------
    parts : dict
        ``count, mean, m2, m3, m4``, arrays of one shape.
    axis : int

    Returns
    -------
    dict
        The same, without the axis. Exact identities (Pébay 2008), not a running update.
    """
    n = parts["count"]
    total = n.sum(axis)
    safe = np.maximum(total, 1.0)
    mean = (n * parts["mean"]).sum(axis) / safe
    d = np.where(n > 0, parts["mean"] - np.expand_dims(mean, axis), 0.0)
    m2, m3, m4 = (parts[k] for k in _POWERS[1:])
    return {
        "count": total,
        "mean": mean,
        "m2": (m2 + n * d**2).sum(axis),
        "m3": (m3 + 3 * d * m2 + n * d**3).sum(axis),
        "m4": (m4 + 4 * d * m3 + 6 * d**2 * m2 + n * d**4).sum(axis),
    }


def _held(stream: xr.DataTree, view: str) -> Power:
    """Power sums ``[site, stratum, channel]`` of a view's strata."""
    k = strata_index(stream, view)
    data = group(stream, "moments")
    parts = {key: np.asarray(data[key].values)[:, k] for key in _POWERS}
    count = np.asarray(data["count"].values)[:, k].astype(np.float64)
    return parts | {"count": np.broadcast_to(count[..., None], parts["mean"].shape)}


def finish(sums: Power) -> dict[str, Floats]:
    """Turn power sums into mean, standard deviation (ddof 1), skewness and excess kurtosis."""
    n = sums["count"]
    empty, single = n == 0, n < 2
    safe = np.maximum(n, 1.0)
    variance = sums["m2"] / np.maximum(n - 1, 1.0)
    population = sums["m2"] / safe
    # A variance within rounding of the mean's square says nothing about the shape.
    flat = population <= (np.abs(sums["mean"]) * 1e-15) ** 2
    unit = np.where(flat, 1.0, population)
    skewness = sums["m3"] / safe / unit**1.5
    kurtosis = sums["m4"] / safe / unit**2 - 3
    return {
        "mean": np.where(empty, np.nan, sums["mean"]),
        "std": np.where(single, np.nan, np.sqrt(variance)),
        "skewness": np.where(flat | empty, np.nan, skewness),
        "excess_kurtosis": np.where(flat | empty, np.nan, kurtosis),
    }


@cached
def _extreme(stream: xr.DataTree, view: str) -> tuple[Floats, Floats]:
    """Return smallest and largest value, ``[site, channel]``, NaN without tokens."""
    k = strata_index(stream, view)
    low = np.asarray(group(stream, "moments")["min"].values)[:, k].min(1, initial=np.inf)
    high = np.asarray(group(stream, "moments")["max"].values)[:, k].max(1, initial=-np.inf)
    return np.where(np.isinf(low), np.nan, low), np.where(np.isinf(high), np.nan, high)


@cached
def moments(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Summarise each site over tokens × channels.

    Parameters
    ----------
    stream : DataTree
    view : str

    Returns
    -------
    DataFrame[site]
        ``hf_index`` (−1: not in Hugging Face's tuple), ``tokens`` (finite at the site),
        ``mean``, ``std`` (ddof 1), ``skewness`` and ``excess_kurtosis`` (of the population),
        ``min``, ``max`` (of all finite values), in units of activation, and ``nonfinite``
        values. NaN where there are too few tokens or no variance.

    Raises
    ------
    ViewError
        The view is unknown.
    """
    held = _held(stream, view)
    tokens = held["count"][..., 0].sum(1)
    pooled = pool(pool(held, 1), 1)
    low, high = _extreme(stream, view)
    return pd.DataFrame(
        {
            "hf_index": hf_index(stream),
            "tokens": tokens.astype(np.int64),
            **finish(pooled),
            "min": np.fmin.reduce(low, axis=1),
            "max": np.fmax.reduce(high, axis=1),
            "nonfinite": grid.nonfinite(cell_counts(stream, view)),
        },
        index=pd.Index(site_names(stream), name="site"),
    )


def channels(
    stream: xr.DataTree,
    site: str | list[str] | None = None,
    view: str = "rest",
    *,
    quantiles: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Summarise each channel over tokens.

    Parameters
    ----------
    stream : DataTree
    site : str or list of str, optional
        One site, or several, or all of them.
    view : str
    quantiles : sequence of float, optional
        Of the magnitudes, probabilities in [0, 1]; by default 0.5, 0.99 and 0.999 where the
        profile can tell.

    Returns
    -------
    DataFrame[channel], or DataFrame[site, channel] but for one site
        ``tokens``, ``mean``, ``std`` (ddof 1), ``skewness``, ``excess_kurtosis``, ``min``,
        ``max``, ``absmax`` (the largest magnitude),
        ``magnitude_q0.5`` and so on (a bound from above of that quantile of the magnitudes, at
        most twice what it bounds where that is from 2⁻¹⁴ to 2¹⁶; see `octaves.magnitude_bounds`;
        not in files before schema 4),
        ``over`` (tokens with at least the outlier magnitude), ``over_rms`` (with at least its
        multiple of the root mean square of their hidden state; not in files of schema 1) and
        ``nonfinite`` values.

    Raises
    ------
    SiteError, ViewError
        The site is not in the profile; the view is unknown.
    InputError
        A probability is outside of [0, 1].
    ProfileError
        `quantiles` are asked for, and the profile cannot tell them (in this view).
    """
    if not isinstance(site, str):
        names = choose_sites(stream, site)
        parts = {name: channels(stream, name, view, quantiles=quantiles) for name in names}
        return pd.concat(parts, names=["site"])
    at = site_index(stream, site)
    k = strata_index(stream, view)
    pooled = {key: value[at] for key, value in channel_means(stream, view).items()}
    low, high = _extreme(stream, view)
    data = group(stream, "moments")
    absmax = np.fmax(-low[at], high[at])
    counted = {
        key: np.asarray(data[key].values)[at, k].sum(0)
        for key in ("over", "over_rms", "nonfinite")
        if key in data
    }
    return pd.DataFrame(
        {
            "tokens": pooled["count"].astype(np.int64),
            **finish(pooled),
            "min": low[at],
            "max": high[at],
            "absmax": absmax,
            **magnitude_bounds(stream, at, view, quantiles, absmax),
            **counted,
        },
        index=pd.RangeIndex(len(low[at]), name="channel"),
    )


def mean_by_channel(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Return the mean of each channel at each site.

    Returns
    -------
    DataFrame[site, channel]
        NaN without tokens.
    """
    sums = channel_means(stream, view)
    mean = np.where(sums["count"] > 0, sums["mean"], np.nan)
    index = pd.Index(site_names(stream), name="site")
    return pd.DataFrame(mean, index=index).rename_axis(columns="channel")


@cached
def channel_means(stream: xr.DataTree, view: str) -> Power:
    """Return power sums of each channel over a view, arrays ``[site, channel]``."""
    return pool(_held(stream, view), 1)
