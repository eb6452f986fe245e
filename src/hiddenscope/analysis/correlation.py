"""Covariance and R² between sites, from one sufficient statistic.

With the count n, the means μ and the centred co-moment C[a, b, channel] of a view, m the grand
mean of a site over its channels and N the number of channels,

* the article's pooled covariance is (Σ_c C + n Σ_c (μ_a − m_a)(μ_b − m_b)) / (n N − 1);
* within channels it is Σ_c C / (n N − 1), which leaves the channels' means out;
* R² is the squared covariance over the product of the variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from hiddenscope import arguments
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.views import group, strata_index
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

KINDS = ("pooled", "within", "channel")
ROUNDING = 1e-6
"""A deviation below this share of the mean is the rounding of float32 states, not a variance."""


@dataclass(frozen=True)
class _View:
    """Sums of a view: the count, means ``[site, channel]`` and how strata differ from them.

    The sites are those of the trunk, ``site_a``.
    """

    data: xr.Dataset
    strata: NDArray[np.int64]
    n: float
    mean: Floats
    shift: Floats
    weights: Floats

    @property
    def sites(self) -> list[str]:
        return [str(s) for s in self.data["site_a"].values]

    @property
    def compact(self) -> bool:
        return bool(self.data.attrs.get("compact", 0))

    def variable(self, name: str) -> Floats:
        return np.asarray(self.data[name].values, np.float64)[self.strata]


@cached
def _view(stream: xr.DataTree, view: str) -> _View:
    data = group(stream, "cross")
    if not data.sizes["site_a"]:
        msg = (
            f"the stream {stream.name!r} holds no site of the trunk, and only between those are "
            "covariance and R² kept: measure it with --sites trunk as well"
        )
        raise InputError(msg)
    k = strata_index(stream, view)
    weights = np.asarray(data["count"].values, np.float64)[k]
    means = np.asarray(data["mean"].values)[k]
    n = float(weights.sum())
    mean = np.tensordot(weights, means, 1) / max(n, 1.0)
    shift = np.where(weights[:, None, None] > 0, means - mean, 0.0)
    return _View(data, k, n, mean, shift, weights)


def _channel_comoment(v: _View, channels: Sequence[int] | None = None) -> Floats:
    """C of the view, ``[site, site, channel]``, for all channels or for some."""
    if not v.compact:
        comoment, columns = v.variable("comoment"), slice(None) if channels is None else channels
        comoment = comoment[..., columns]
    else:
        held = [int(c) for c in v.data["loud"].values]
        lost = sorted(set(channels or ()) - set(held))
        if channels is None or lost:
            what = "every channel" if channels is None else f"channel {lost[0]}"
            msg = (
                f"this profile keeps the co-moment of all pairs of sites only for its {len(held)} "
                f"loudest channels, so it cannot answer for {what}: it has {held}"
            )
            raise InputError(msg)
        columns = channels
        comoment = v.variable("comoment_loud")[..., [held.index(c) for c in channels]]
    shift = v.shift[..., columns]
    between = np.einsum("k,kac,kbc->abc", v.weights, shift, shift, optimize=True)
    total: Floats = comoment.sum(0) + between
    return total


def _summed(v: _View, without: Sequence[int]) -> Floats:
    """Σ_c C of the view, ``[site, site]``, with channels left out."""
    if not v.compact:
        kept = np.setdiff1d(np.arange(v.mean.shape[1]), without)
        comoment = v.variable("comoment").sum(0)
        total = (comoment[..., kept] if len(without) else comoment).sum(-1)
        shift = v.shift[..., kept]
        result: Floats = total + np.einsum("k,kac,kbc->ab", v.weights, shift, shift, optimize=True)
        return result
    total = v.variable("comoment_sum").sum(0)
    total = total + np.einsum("k,kac,kbc->ab", v.weights, v.shift, v.shift, optimize=True)
    if len(without):
        total = total - _channel_comoment(v, without).sum(-1)
    return np.asarray(total)


def _check(v: _View, kind: str, without: Sequence[int]) -> list[int]:
    if kind not in KINDS:
        msg = f"unknown kind of R² {kind!r}: choose one of {', '.join(KINDS)}"
        raise InputError(msg)
    channels = v.mean.shape[1]
    chosen = sorted(set(arguments.numbers("without", without, whole=True).tolist()))
    wrong = [c for c in chosen if not 0 <= c < channels]
    if wrong or len(chosen) >= channels:
        msg = (
            f"cannot leave out channel {wrong[0]}: channels run from 0 to {channels - 1}"
            if wrong
            else "cannot leave out every channel"
        )
        raise InputError(msg)
    return chosen


def _matrix(v: _View, values: Floats, name: str, view: str, units: str) -> xr.DataArray:
    dims = ("site_a", "site_b", "channel")[: values.ndim]
    coords = {"site_a": v.sites, "site_b": v.sites}
    return xr.DataArray(
        values, dims=dims, coords=coords, name=name, attrs={"view": view, "units": units}
    )


def _pooled(v: _View, without: list[int]) -> tuple[Floats, Floats, int]:
    """Pooled sum of products ``[site, site]``, its floor of rounding ``[site]``, channels."""
    kept = np.setdiff1d(np.arange(v.mean.shape[1]), without)
    mean = v.mean[:, kept]
    grand = mean.mean(1, keepdims=True)
    about = mean - grand
    products = _summed(v, without) + v.n * (about @ about.T)
    floor = v.n * len(kept) * (ROUNDING * grand[:, 0]) ** 2
    return products, floor, len(kept)


def covariance(
    stream: xr.DataTree, view: str = "rest", *, without: Sequence[int] = ()
) -> xr.DataArray:
    """Return the article's covariance of the flattened states of every pair of sites.

    Parameters
    ----------
    stream : DataTree
    view : str
    without : sequence of int
        Channels to leave out.

    Returns
    -------
    DataArray[site_a, site_b]
        In activation², ddof 1 as ``numpy.cov``; NaN with fewer than two values.

    Raises
    ------
    InputError, ViewError
        A channel does not exist or is no longer known on its own; the view is unknown.
    """
    v = _view(stream, view)
    products, _, channels = _pooled(v, _check(v, "pooled", without))
    values = v.n * channels
    result = products / (values - 1) if values > 1 else np.full_like(products, np.nan)
    return _matrix(v, result, "covariance", view, "activation^2")


def r2(
    stream: xr.DataTree,
    kind: str = "pooled",
    view: str = "rest",
    *,
    without: Sequence[int] = (),
) -> xr.DataArray:
    """Return the squared correlation of every pair of sites.

    Parameters
    ----------
    stream : DataTree
    kind : {'pooled', 'within', 'channel'}
        Over the flattened states (the article's); with every channel's mean removed; for each
        channel on its own.
    view : str
    without : sequence of int
        Channels to leave out.

    Returns
    -------
    DataArray[site_a, site_b] or, for 'channel', DataArray[site_a, site_b, channel]
        NaN where a variance is zero to rounding, and for channels left out.

    Raises
    ------
    InputError, ViewError
        `kind` or a channel is unknown, or the profile no longer knows it; the view is unknown.
    """
    v = _view(stream, view)
    chosen = _check(v, kind, without)
    if kind == "channel":
        products = _comoment_by_channel(v)
        floor = v.n * (ROUNDING * v.mean) ** 2
    elif kind == "within":
        products = _summed(v, chosen)
        kept = np.setdiff1d(np.arange(v.mean.shape[1]), chosen)
        floor = v.n * ((ROUNDING * v.mean[:, kept]) ** 2).sum(1)
    else:
        products, floor, _ = _pooled(v, chosen)
    diagonal = np.einsum("aa...->a...", products)
    flat = ~(diagonal > floor)
    own = np.where(flat, 1.0, diagonal)
    # Roots first: the product of two variances may leave the range of a float64.
    root = np.sqrt(own)
    correlation = products / root[:, None] / root[None]
    values = np.where(flat[:, None] | flat[None], np.nan, np.minimum(correlation**2, 1.0))
    if kind == "channel" and chosen:
        values[..., chosen] = np.nan
    return _matrix(v, values, "r2", view, "1")


def _comoment_by_channel(v: _View) -> Floats:
    if not v.compact:
        return _channel_comoment(v)
    # Single channels are known for each site with itself and the next: the rest stays NaN.
    sites, channels = v.mean.shape
    result = np.full((sites, sites, channels), np.nan)
    own = v.variable("comoment_self").sum(0) + np.einsum("k,kac->ac", v.weights, v.shift**2)
    shifted = np.einsum("k,kac,kac->ac", v.weights, v.shift[:, :-1], v.shift[:, 1:])
    following = v.variable("comoment_next").sum(0)[:-1] + shifted
    at = np.arange(sites)
    result[at, at] = own
    result[at[:-1], at[1:]] = result[at[1:], at[:-1]] = following
    loud = [int(c) for c in v.data["loud"].values]
    result[..., loud] = _channel_comoment(v, loud)
    return result


def wing(stream: xr.DataTree, view: str = "rest", kind: str = "pooled") -> pd.DataFrame:
    """Follow R² through depth: how the blocks open like a wing.

    Returns
    -------
    DataFrame[site]
        ``next``, ``embed``, ``final_norm``: R² of each site with the next site and with these
        two; NaN where there is no such site.
    """
    matrix = r2(stream, kind, view)
    names = [str(s) for s in matrix["site_a"].values]
    table = pd.DataFrame(index=pd.Index(names, name="site"))
    table["next"] = np.append(np.diagonal(matrix.values, 1), np.nan)
    for site in ("embed", "final_norm"):
        table[site] = matrix.values[:, names.index(site)] if site in names else np.nan
    return table
