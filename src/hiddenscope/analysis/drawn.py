"""Tables that only the figures need: densities along an axis and over a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from hiddenscope import grid
from hiddenscope.analysis.distribution import cell_counts, quantiles
from hiddenscope.analysis.loud import largest_by_channel
from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.views import choose_sites
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SCALES = ("sigma", "raw")


def densities(
    stream: xr.DataTree,
    x: str = "sigma",
    bins: int = 160,
    view: str = "rest",
    sites: str | list[str] | None = None,
    *,
    tail: float = 1e-5,
) -> pd.DataFrame:
    """Compare the density of each site's values with a normal of the same mean and deviation.

    Parameters
    ----------
    stream : DataTree
    x : {'sigma', 'raw'}
        In standard deviations of the site from its mean, in equal bins; or in activations, in
        bins that are equal on an asinh axis.
    bins : int
        Over the common range; edges are then moved to the grid's cell boundaries.
    view : str
    sites : str or list of str, optional
    tail : float
        The common range reaches to this quantile, and to the one above, of the widest site.

    Returns
    -------
    DataFrame
        A row a bin: ``site``, ``left`` and ``right`` in units of `x`, ``count``, ``density``
        (share of the site's finite values per unit of x) and ``normal``. A site without
        variance has none. ``attrs``: ``low`` and ``high`` of the range, ``linear``, the width
        of the linear part of an asinh axis.

    Raises
    ------
    InputError, SiteError, ViewError
        `x` or `bins` make no sense; a site or view is unknown.
    """
    if x not in SCALES:
        msg = f"unknown x {x!r}: choose one of {', '.join(SCALES)}"
        raise InputError(msg)
    if not 2 <= bins <= 10_000:
        msg = f"bins must be between 2 and 10,000, got {bins}"
        raise InputError(msg)
    names = choose_sites(stream, sites)
    table = moments(stream, view).loc[names]
    mean, std = (table[k].to_numpy(np.float64) for k in ("mean", "std"))
    usable = np.flatnonzero(np.isfinite(std) & (std > 0))
    ends = quantiles(stream, [tail, 1 - tail], view, names).values
    if x == "sigma":
        ends = (ends - mean[:, None]) / np.where(std > 0, std, np.nan)[:, None]
    frames = []
    linear = float(std[usable].min()) if len(usable) else 1.0
    low, high = -1.0, 1.0
    if len(usable):
        low, high = float(ends[usable, 0].min()), float(ends[usable, 1].max())
        steps = np.linspace(low, high, bins + 1)
        if x == "raw":
            steps = linear * np.sinh(
                np.linspace(np.arcsinh(low / linear), np.arcsinh(high / linear), bins + 1)
            )
        counts = cell_counts(stream, view, names)
        for i in usable:
            unit, origin = (std[i], mean[i]) if x == "sigma" else (1.0, 0.0)
            edges = grid.snap(origin + unit * steps)
            held = grid.rebin(counts[i], edges)
            scaled = (edges - origin) / unit
            total = int(grid.merged(counts[i]).sum())
            middle = (scaled[:-1] + scaled[1:]) / 2
            z, width = (middle, 1.0) if x == "sigma" else ((middle - mean[i]) / std[i], std[i])
            frames.append(
                pd.DataFrame(
                    {
                        "site": names[i],
                        "left": scaled[:-1],
                        "right": scaled[1:],
                        "count": held,
                        "density": held / max(total, 1) / np.diff(scaled),
                        "normal": np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / width,
                    }
                )
            )
    columns = ["site", "left", "right", "count", "density", "normal"]
    result = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    result.attrs = {"low": low, "high": high, "linear": linear}
    return result


def plane(
    sample: xr.Dataset, site: str, against: str, columns: int = 128, rows: int = 96
) -> xr.DataArray:
    """Count the sampled values of a site over position or channel × activation.

    Parameters
    ----------
    sample : Dataset
        As `sample` returns it.
    site : str
    against : {'position', 'channel'}
    columns, rows : int
        At most so many bins; a column holds a whole number of positions or channels.

    Returns
    -------
    DataArray[row, column] of int64
        With coordinates ``bottom, top`` of rows and ``left, right`` of columns; finite values.
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
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    high = high if high > low else low + 1.0
    y = np.linspace(low, high, rows + 1)
    count, _, _ = np.histogram2d(values, place, bins=[y, x])
    return xr.DataArray(
        count.astype(np.int64),
        dims=("row", "column"),
        coords={
            "bottom": ("row", y[:-1]),
            "top": ("row", y[1:]),
            "left": ("column", x[:-1]),
            "right": ("column", x[1:]),
        },
        name="values",
    )


def largest_map(stream: xr.DataTree, view: str = "rest", columns: int = 512) -> pd.DataFrame:
    """Return the largest magnitude of neighbouring channels, few enough to be drawn.

    Returns
    -------
    DataFrame[site, channel]
        Columns are the first channel of each group; NaN without tokens. ``attrs["group"]``:
        channels in a group, 1 where all fit.
    """
    table = largest_by_channel(stream, view)
    group = -(-table.shape[1] // columns)
    starts = np.arange(0, table.shape[1], group)
    values = np.fmax.reduceat(table.to_numpy(np.float64), starts, axis=1)
    result = pd.DataFrame(values, index=table.index, columns=pd.Index(starts, name="channel"))
    result.attrs = {"group": group}
    return result
