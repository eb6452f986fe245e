"""Quantiles and histograms, read off the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hiddenscope import arguments, grid
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.views import cell_counts, choose_sites, manifest, site_names
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_BINS = 65_000


def counts_of(stream: xr.DataTree, view: str, sites: Sequence[str]) -> NDArray[np.int64]:
    """Return counts ``[site, cell]`` of a view at some sites."""
    names = site_names(stream)
    rows = [names.index(s) for s in sites]
    counts = cell_counts(stream, view)
    first, last = (rows[0], rows[-1] + 1) if rows else (0, 0)
    # Neighbours in order are not copied: most of the time it is all sites, or one.
    return counts[first:last] if rows == list(range(first, last)) else counts[rows]


def quantiles(
    stream: xr.DataTree,
    q: float | Sequence[float],
    view: str = "rest",
    sites: str | list[str] | None = None,
) -> xr.DataArray:
    """Read quantiles of every site's values off the grid.

    Parameters
    ----------
    stream : DataTree
    q : float or sequence of float
        Probabilities in [0, 1].
    view : str
    sites : str or list of str, optional

    Returns
    -------
    DataArray[site, quantile]
        Within one cell (0.79 %) of the exact quantile, exact for bfloat16 states; clamped to
        the smallest and largest value; NaN without tokens.

    Raises
    ------
    InputError, SiteError, ViewError
        A probability is outside [0, 1]; a site or view is unknown.
    """
    levels = arguments.probabilities("q", q)
    names = choose_sites(stream, sites)
    return xr.DataArray(
        _quantiles(stream, tuple(levels), view, tuple(names)),
        dims=("site", "quantile"),
        coords={"site": names, "quantile": levels},
        name="quantile",
        attrs={"units": "activation", "view": view},
    )


@cached
def _quantiles(
    stream: xr.DataTree, levels: tuple[float, ...], view: str, sites: tuple[str, ...]
) -> NDArray[np.float64]:
    names = list(sites)
    table = moments(stream, view).loc[names]
    # Before schema 3 the extremes were those of whole tokens; the grid has all finite values.
    whole = (table["nonfinite"] == 0) | (stream.root.attrs["schema_version"] >= 3)
    low, high = table["min"].where(whole, -np.inf), table["max"].where(whole, np.inf)
    dtypes = manifest(stream).get("model", {}).get("state_dtype", {})
    values = [
        grid.quantiles(counts, levels, *ends, lossless=dtypes.get(site) == "bfloat16")
        for site, counts, *ends in zip(
            names, counts_of(stream, view, names), low, high, strict=True
        )
    ]
    return np.stack(values)


def histogram(
    stream: xr.DataTree,
    bins: int = 200,
    range: tuple[float, float] | None = None,
    view: str = "rest",
    sites: str | list[str] | None = None,
) -> xr.DataArray:
    """Count the values of every site in bins, exactly.

    Edges are equally spaced, then moved to the nearest boundaries of the grid's cells (by less
    than 0.4 % of their value), so that the counts are those of ``numpy.histogram`` with the
    same edges on the float32 values.

    Parameters
    ----------
    stream : DataTree
    bins : int
        Bins close to zero that would be narrower than a cell are joined.
    range : (float, float), optional
        By default the smallest that holds every finite value of the view at these sites.
    view : str
    sites : str or list of str, optional

    Returns
    -------
    DataArray[site, bin] of int64
        With coordinates ``left`` and ``right`` of the bins.

    Raises
    ------
    InputError, SiteError, ViewError
        `bins` or `range` make no sense; a site or view is unknown.
    """
    arguments.check({"bins": arguments.WHOLE}, {"bins": bins})
    if not 1 <= bins <= MAX_BINS:
        msg = f"bins must be between 1 and {MAX_BINS:,}, got {bins}"
        raise InputError(msg)
    names = choose_sites(stream, sites)
    if range is None:
        # From the grid, which holds every finite value in files of any schema.
        filled = np.flatnonzero(grid.merged(counts_of(stream, view, names)).any(0))
        low, high = grid.EDGES[filled[[0, -1]]] if len(filled) else (0.0, 0.0)
    else:
        low, high = arguments.limits("range", range)
    edges = grid.snap(np.linspace(low, high, bins + 1))
    if range is None or len(edges) < 2:
        # Whole cells at the ends, so that the smallest and the largest value are inside.
        first, last = grid.around(low, high)
        edges = np.concatenate([[first], edges[(edges > first) & (edges < last)], [last]])
        edges = _even_ends(edges, bins)
    counts = grid.rebin(counts_of(stream, view, names), edges)
    return xr.DataArray(
        counts,
        dims=("site", "bin"),
        coords={"site": names, "left": ("bin", edges[:-1]), "right": ("bin", edges[1:])},
        name="histogram",
        attrs={"units": "values", "view": view},
    )


def outlines(
    stream: xr.DataTree, bins: int, view: str = "rest", sites: str | list[str] | None = None
) -> list[list[int]]:
    """Count the values of each site in equal bins from −max to +max, as `histogram` does.

    Parameters
    ----------
    stream : DataTree
    bins : int
    view : str
    sites : str or list of str, optional

    Returns
    -------
    list of list of int
        By site; empty where the values do not vary.

    Raises
    ------
    SiteError, ViewError
        A site or view is unknown.
    """
    names = choose_sites(stream, sites)
    made: list[list[int]] = []
    for counts, (low, high) in zip(
        counts_of(stream, view, names),
        moments(stream, view).loc[names, ["min", "max"]].to_numpy(np.float64),
        strict=True,
    ):
        reach = 1.01 * max(abs(low), abs(high))
        edges = grid.snap(np.linspace(-reach, reach, bins + 1)) if low < high else None
        made.append([] if edges is None else grid.rebin(counts, edges).tolist())
    return made


def _even_ends(edges: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    # Snapping may leave slivers at the ends; they join their neighbours.
    if len(edges) < 4:
        return edges
    width = (edges[-1] - edges[0]) / bins
    keep = np.ones(len(edges), bool)
    keep[1] = edges[1] - edges[0] > width / 2
    keep[-2] = edges[-1] - edges[-2] > width / 2
    return edges[keep]
