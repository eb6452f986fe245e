"""Covariance and R² between sites, from one sufficient statistic.

With the count n, the means μ and the centred co-moment C[a, b, channel] of a view, m the grand
mean of a site over its channels and N the number of channels,

* the article's pooled covariance is (Σ_c C + n Σ_c (μ_a − m_a)(μ_b − m_b)) / (n N − 1);
* within channels it is Σ_c C / (n N − 1), which leaves the channels' means out;
* R² is the squared covariance over the product of the variances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from hiddenscope import arguments
from hiddenscope.analysis.comoments import Comoments, comoments_of
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

KINDS = ("pooled", "within", "channel")
ROUNDING = 1e-6
"""A deviation below this share of the mean is the rounding of float32 states, not a variance."""


def _check(v: Comoments, kind: str, without: Sequence[int]) -> list[int]:
    if kind not in KINDS:
        msg = f"unknown kind of R² {kind!r}: choose one of {', '.join(KINDS)}"
        raise InputError(msg)
    channels = v.channels
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


def _matrix(v: Comoments, values: Floats, name: str, view: str, units: str) -> xr.DataArray:
    dims = ("site_a", "site_b", "channel")[: values.ndim]
    coords = {"site_a": v.sites, "site_b": v.sites}
    return xr.DataArray(
        values, dims=dims, coords=coords, name=name, attrs={"view": view, "units": units}
    )


def _pooled(v: Comoments, without: list[int]) -> tuple[Floats, Floats, int]:
    """Pooled sum of products ``[site, site]``, its floor of rounding ``[site]``, channels."""
    kept = np.setdiff1d(np.arange(v.channels), without)
    mean = v.mean[:, kept]
    grand = mean.mean(1, keepdims=True)
    about = mean - grand
    products = v.summed(without) + v.n * (about @ about.T)
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
    v = comoments_of(stream, view)
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
    v = comoments_of(stream, view)
    chosen = _check(v, kind, without)
    if kind == "channel":
        products = v.by_channel()
        floor = v.n * (ROUNDING * v.mean) ** 2
    elif kind == "within":
        products = v.summed(chosen)
        kept = np.setdiff1d(np.arange(v.channels), chosen)
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
