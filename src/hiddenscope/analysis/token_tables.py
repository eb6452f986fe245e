"""What is known of tokens: norms, positions, extremes and the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from hiddenscope import arguments, grid
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.views import (
    choose_sites,
    group,
    over_strata,
    site_index,
    site_names,
    strata_index,
    strata_of,
)
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NORMS = ("l2", "linf")
_EXTREME_COLUMNS = (
    "value",
    "channel",
    "median",
    "document",
    "window",
    "position",
    "token_id",
    "piece",
    "before",
    "after",
)


def norms(
    stream: xr.DataTree,
    which: str = "l2",
    q: float | Sequence[float] = (0.01, 0.25, 0.5, 0.75, 0.99),
    view: str = "rest",
) -> pd.DataFrame:
    """Summarise the norms of hidden states.

    Parameters
    ----------
    stream : DataTree
    which : {'l2', 'linf'}
        The L2 norm or the largest magnitude of each hidden state.
    q : float or sequence of float
    view : str

    Returns
    -------
    DataFrame[site]
        ``tokens`` and one column per quantile, such as ``q0.5``, within one cell (0.79 %).

    Raises
    ------
    InputError, ViewError
        `which` or the view is unknown; a probability is outside [0, 1].
    """
    if which not in NORMS:
        msg = f"unknown norm {which!r}: choose one of {', '.join(NORMS)}"
        raise InputError(msg)
    levels = arguments.probabilities("q", q)
    counts = over_strata(stream, group(stream, "norms")[which], view)
    values = np.stack([grid.magnitude_quantiles(c, levels) for c in counts])
    columns = {f"q{level:g}": values[:, i] for i, level in enumerate(levels)}
    index = pd.Index(site_names(stream), name="site")
    return pd.DataFrame({"tokens": counts.sum(1), **columns}, index=index)


def positions(stream: xr.DataTree, view: str = "rest") -> xr.Dataset:
    """Summarise hidden states by position in the window, over tokens × channels.

    Returns
    -------
    Dataset[site, position]
        ``tokens[position]``, ``mean``, ``std`` (ddof 1), ``absmax``, and ``norm``, the root mean
        square of the tokens' L2 norms; NaN where a bucket is empty. Coordinates ``start`` and
        ``stop`` of each bucket of positions.
    """
    data = group(stream, "positions")
    k = strata_index(stream, view)
    channels = group(stream, "moments").sizes["channel"]
    n = np.asarray(data["count"].values, np.float64)[k]
    means = np.asarray(data["mean"].values)[:, k]
    total = n.sum(0)
    safe = np.maximum(total, 1.0)
    mean = (n * means).sum(1) / safe
    d = np.where(n > 0, means - mean[:, None], 0.0)
    m2 = (np.asarray(data["m2"].values)[:, k] + channels * n * d**2).sum(1)
    absmax = np.asarray(data["absmax"].values)[:, k].max(1, initial=0.0)
    values = total * channels
    std = np.where(values > 1, np.sqrt(m2 / np.maximum(values - 1, 1.0)), np.nan)
    norm = np.sqrt(m2 / safe + channels * mean**2)
    dims = ("site", "position")
    empty = total == 0
    return xr.Dataset(
        {
            "tokens": ("position", total.astype(np.int64), {"units": "tokens"}),
            "mean": (dims, np.where(empty, np.nan, mean), {"units": "activation"}),
            "std": (dims, std, {"units": "activation"}),
            "absmax": (dims, np.where(empty, np.nan, absmax), {"units": "activation"}),
            "norm": (dims, np.where(empty, np.nan, norm), {"units": "activation"}),
        },
        coords={
            "site": site_names(stream),
            "start": ("position", data["position_start"].values),
            "stop": ("position", data["position_stop"].values),
        },
        attrs={"view": view},
    )


def sample(
    stream: xr.DataTree, view: str = "rest", sites: str | list[str] | None = None
) -> xr.Dataset:
    """Return the hidden states that were kept whole, of the tokens in a view.

    Returns
    -------
    Dataset
        ``state[site, token, channel]`` float32 and by token ``document``, ``window``,
        ``position``, ``token_id``, ``piece``, ``stratum`` and ``passage`` (whether the token
        belongs to the passage, the start of one window).
    """
    data = group(stream, "sample")
    names = site_names(stream)
    chosen = choose_sites(stream, sites)
    chosen_strata = strata_of(stream).select(view)
    keep = np.isin(data["stratum"].values.astype(str), chosen_strata)
    held = data.isel(token=keep, site=[names.index(s) for s in chosen])
    return held.assign(passage=held["passage"].astype(bool)).assign_attrs(view=view)


@cached
def extremes(stream: xr.DataTree, view: str = "rest", site: str | None = None) -> pd.DataFrame:
    """List the largest finite magnitudes, largest first.

    Parameters
    ----------
    stream : DataTree
    view : str
    site : str, optional
        Only of this site.

    Returns
    -------
    DataFrame
        ``site, stratum, value, channel, median, document, window, position, token_id, piece,
        before, after``; of each site and stratum the 64 largest, at most 8 a channel.
        Where several corpora were merged also ``corpus``, before ``value``.
    """
    names = site_names(stream)
    index = [site_index(stream, site)] if site else list(range(len(names)))
    k = strata_index(stream, view)
    data = group(stream, "extremes")
    keys: tuple[str, ...] = _EXTREME_COLUMNS
    if "corpus" in data and (data["corpus"] > 0).any():
        keys = ("corpus", *keys)
    columns = {key: np.asarray(data[key].values)[np.ix_(np.array(index), k)] for key in keys}
    shape = columns["channel"].shape
    at, stratum, _ = (i.ravel() for i in np.indices(shape))
    strata = strata_of(stream)
    table = pd.DataFrame(
        {
            "site": [names[index[i]] for i in at],
            "stratum": [strata[k[i]] for i in stratum],
            **{key: column.ravel() for key, column in columns.items()},
        }
    )
    table = table[table["channel"] >= 0]
    order = np.argsort(-np.abs(table["value"].to_numpy(np.float64)), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def plane(sample: xr.Dataset, site: str, against: str, columns: int, edges: Floats) -> xr.DataArray:
    """Count the sampled values of a site over position or channel × activation.

    Parameters
    ----------
    sample : Dataset
        As `sample` returns it.
    site : str
    against : {'position', 'channel'}
    columns : int
        At most this many bins; a column holds a whole number of positions or channels.
    edges : ndarray[row + 1] of float64
        In activations, ascending.

    Returns
    -------
    DataArray[row, column] of int64
        With coordinates ``bottom, top`` of rows and ``left, right`` of columns. Values outside
        of `edges` and those that are not finite are not counted.
    """
    state = sample["state"].sel(site=site).values
    tokens, channels = state.shape
    along = (
        np.broadcast_to(np.arange(channels), (tokens, channels))
        if against == "channel"
        else np.broadcast_to(sample["position"].values[:, None], (tokens, channels))
    )
    finite = np.isfinite(state)
    values, place = state[finite].astype(np.float64), along[finite]
    first, last = int(along.min(initial=0)), int(along.max(initial=0))
    wide = -(-(last - first + 1) // columns)
    x = np.arange(first, last + wide + 1, wide) - 0.5
    count, _, _ = np.histogram2d(values, place, bins=[edges, x])
    return xr.DataArray(
        count.astype(np.int64),
        dims=("row", "column"),
        coords={
            "bottom": ("row", edges[:-1]),
            "top": ("row", edges[1:]),
            "left": ("column", x[:-1]),
            "right": ("column", x[1:]),
        },
        name="values",
    )
