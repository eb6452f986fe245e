"""Densities of values along an axis that a few of them cannot stretch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import arguments, grid
from hiddenscope.analysis.distribution import counts_of, quantiles
from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.views import choose_sites, group
from hiddenscope.errors import InputError
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SCALES = ("linear", "asinh", "sigma")
BEYOND = 1e-4
"""The share of a site's values that may lie beyond a figure's range, on either side."""
MANY_TIMES = 10.0
"""An axis is asinh where the widest site is more than this many times as wide as the narrowest
block."""
BODY = (0.005, 0.995)
"""Where an axis goes ten times as far as these quantiles of a site, it is asinh."""
DOMINATED = 0.1
"""If one value has this share of a site's variance, σ says little about the other values."""
_LEFT, _RIGHT = slice(None, -1), slice(1, None)
_COLUMNS = ["site", "left", "right", "count", "share", "density", "normal"]
ONE_SIGMA = (0.15865525393145707, 0.8413447460685429)
"""The quantiles of a normal one standard deviation below and above its mean."""


def linear_width(stream: xr.DataTree, view: str = "rest", sites: list[str] | None = None) -> float:
    """Return the linear part of an asinh axis: half the narrowest site's middle 90 %."""
    ends = quantiles(stream, [0.05, 0.95], view, sites).values
    width = ends[:, 1] - ends[:, 0]
    positive = width[np.isfinite(width) & (width > 0)]
    return float(positive.min()) / 2 if len(positive) else 1.0


def even_steps(low: float, high: float, count: int, scale: str, linear: float) -> Floats:
    """Return the edges of bins that are equal on a linear axis or, with `scale` asinh, on that."""
    if scale != "asinh":
        return np.linspace(low, high, count + 1)
    first, last = np.arcsinh(low / linear), np.arcsinh(high / linear)
    return np.asarray(linear * np.sinh(np.linspace(first, last, count + 1)))


def scale_of(stream: xr.DataTree, view: str = "rest", sites: list[str] | None = None) -> str:
    """Say whether the sites' values can share a linear axis, or need an asinh one."""
    names = choose_sites(stream, sites)
    ends = quantiles(stream, [BEYOND, 1 - BEYOND], view, names).values
    width = pd.Series(ends[:, 1] - ends[:, 0], index=names)
    width = width[np.isfinite(width) & (width > 0)]
    blocks = width[[n for n in width.index if Site(n).block is not None]]
    narrow = blocks if len(blocks) else width
    return "asinh" if len(width) and width.max() > MANY_TIMES * narrow.min() else "linear"


def with_room(low: float, high: float, scale: str, linear: float) -> tuple[float, float]:
    """Leave a tenth of the axis beyond the outermost values, for their numbers."""
    if scale == "linear":
        room = 0.1 * (high - low) or 1.0
        return low - room, high + room
    a, b = np.arcsinh(low / linear), np.arcsinh(high / linear)
    room = 0.1 * (b - a)
    return float(linear * np.sinh(a - room)), float(linear * np.sinh(b + room))


def scale_of_site(stream: xr.DataTree, view: str, site: str, low: float, high: float) -> str:
    """Say whether an axis from `low` to `high` shows a site's values if it is linear, or asinh."""
    ends = quantiles(stream, BODY, view, [site]).values
    # Without a finite value there is no body.
    body = float(np.fmax.reduce(np.abs(ends), axis=None, initial=0.0))
    return "asinh" if max(-low, high) > MANY_TIMES * body > 0 else "linear"


def densities(
    stream: xr.DataTree,
    x: str = "sigma",
    bins: int = 160,
    view: str = "rest",
    sites: str | list[str] | None = None,
    *,
    range: tuple[float, float] | None = None,
    linear: float | None = None,
) -> pd.DataFrame:
    """Count the values of each site in bins over one range that a few values cannot stretch.

    Parameters
    ----------
    stream : DataTree
    x : {'linear', 'asinh', 'sigma'}
        In activations, in bins that are equal on a linear or an asinh axis; or in standard
        deviations of the site from its mean, in equal bins. Where one value holds `DOMINATED`
        of a site's variance, all sites are scaled by quantiles instead: from the median, in units
        of half the distance between the two quantiles that enclose 68.3 % of a normal.
    bins : int
        Over the common range; edges are then moved to the grid's cell boundaries.
    view : str
    sites : str or list of str, optional
    range : (float, float), optional
        In units of `x`; by default one beyond which no site has more than about `BEYOND` of its
        values on either side.
    linear : float, optional
        The linear part of an asinh axis; by default that of `linear_width`.

    Returns
    -------
    DataFrame
        A row per bin: ``site``, ``left`` and ``right`` in units of `x`, ``count``, ``share`` (of
        the site's finite values), ``density`` (share per unit of x) and ``normal`` (that of a
        normal of the same centre and scale). A site without variance has none. ``attrs``:
        ``low`` and ``high``, the range; ``linear``, the linear part of an asinh axis; ``sites``, a
        table by site: ``origin``, ``unit``, ``total`` (finite values), ``below``, ``above``
        (values beyond the range), ``min``, ``max``, ``dominated`` (the share of the variance in
        its largest value), ``peak`` (the density of the normal at its centre).

    Raises
    ------
    InputError, SiteError, ViewError
        `x` or `bins` make no sense; a site or view is unknown.
    """
    if x not in SCALES:
        msg = f"unknown x {x!r}: choose one of {', '.join(SCALES)}"
        raise InputError(msg)
    arguments.check({"bins": arguments.WHOLE}, {"bins": bins})
    if not 2 <= bins <= 10_000:
        msg = f"bins must be between 2 and 10,000, got {bins}"
        raise InputError(msg)
    names = choose_sites(stream, sites)
    table = _site_scales(stream, x, view, names)
    usable = table[table["unit"] > 0]
    if usable.empty:
        empty = pd.DataFrame(columns=_COLUMNS)
        empty.attrs = {"low": -1.0, "high": 1.0, "linear": 1.0, "sites": table}
        return empty
    shown = list(usable.index)
    levels = quantiles(stream, [BEYOND, 1 - BEYOND, 0.0, 1.0], view, shown).values
    ends = levels[:, :2].copy()
    # With few values, none may lie beyond the range, even if no token is finite in all channels.
    few = usable["tokens"].to_numpy() * group(stream, "moments").sizes["channel"] * BEYOND < 1
    ends[few] = levels[few, 2:]
    origin, unit = (usable[k].to_numpy(np.float64)[:, None] for k in ("origin", "unit"))
    ends = (ends - origin) / unit
    low, high = (ends.min(), ends.max()) if range is None else arguments.limits("range", range)
    low, high = float(low), float(high)
    if linear is None:
        linear = linear_width(stream, view, names) if x == "asinh" else 1.0
    steps = even_steps(low, high, bins, x, linear)
    binned = [
        _binned(counts, steps, *scale)
        for counts, *scale in zip(
            counts_of(stream, view, shown), usable["origin"], usable["unit"], strict=True
        )
    ]
    edges, held, outside = (list(part) for part in zip(*binned, strict=True))
    table.loc[shown, ["below", "above"]] = outside
    table.loc[shown, "total"] = [h.sum() + sum(o) for h, o in zip(held, outside, strict=True)]
    # In units of x the normal of a site has this centre and width.
    centre, width = (0.0, 1.0) if x == "sigma" else (usable["mean"], usable["std"])
    table.loc[shown, "peak"] = 1 / (width * np.sqrt(2 * np.pi))
    result = _by_bin(edges, held, table.loc[shown].assign(centre=centre, width=width))
    result.attrs = {"low": low, "high": high, "linear": linear, "sites": table}
    return result


def _by_bin(
    edges: list[Floats], held: list[NDArray[np.int64]], scales: pd.DataFrame
) -> pd.DataFrame:
    """Put the bins of all sites into one table, with the density of each site's normal."""
    at = np.repeat(np.arange(len(held)), [len(h) for h in held])
    total, centre, width, peak = (
        scales[k].to_numpy(np.float64)[at] for k in ("total", "centre", "width", "peak")
    )
    left, right = (np.concatenate([e[part] for e in edges]) for part in (_LEFT, _RIGHT))
    share = np.concatenate(held) / np.maximum(total, 1)
    z = ((left + right) / 2 - centre) / width
    columns = [
        np.array(scales.index, object)[at],
        left,
        right,
        np.concatenate(held),
        share,
        share / (right - left),
        peak * np.exp(-(z**2) / 2),
    ]
    return pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))


def _site_scales(stream: xr.DataTree, x: str, view: str, names: list[str]) -> pd.DataFrame:
    """Say by site from where and in what unit its values are measured on an axis."""
    table = moments(stream, view).loc[names, ["tokens", "mean", "std", "min", "max"]].copy()
    values = table["tokens"] * group(stream, "moments").sizes["channel"]
    farthest = np.maximum(table["max"] - table["mean"], table["mean"] - table["min"])
    table["dominated"] = farthest**2 / ((values - 1).clip(lower=1) * table["std"] ** 2)
    table["origin"], table["unit"] = table["mean"], table["std"]
    if x == "sigma" and (table["dominated"] >= DOMINATED).any():
        low, middle, high = quantiles(
            stream, [ONE_SIGMA[0], 0.5, ONE_SIGMA[1]], view, names
        ).values.T
        table["origin"], table["unit"] = middle, (high - low) / 2
    elif x != "sigma":
        # A site without variance has no density.
        table["origin"], table["unit"] = 0.0, np.where(table["std"] > 0, 1.0, 0.0)
    return table.assign(total=0.0, below=0.0, above=0.0, peak=np.nan)


def _binned(
    counts: NDArray[np.int64], steps: Floats, origin: float, unit: float
) -> tuple[Floats, NDArray[np.int64], tuple[int, int]]:
    """Bin one site; return edges in its unit, counts, and how many lie below and above."""
    wanted = origin + unit * steps
    # Whole cells at the ends: the smallest and the largest value of a range lie inside of it.
    rounding = 1e-12 * (abs(origin) + abs(unit * steps[[0, -1]]))
    first, last = grid.around(wanted[0] - rounding[0], wanted[-1] + rounding[1])
    inner = grid.snap(wanted)
    edges = np.concatenate([[first], inner[(inner > first) & (inner < last)], [last]])
    # The outermost two parts hold what lies outside, by value.
    whole = np.concatenate([grid.EDGES[:1], edges, grid.EDGES[-1:]])
    below, *held, above = grid.rebin(counts, whole)
    return (edges - origin) / unit, np.array(held), (int(below), int(above))
