"""Two views side by side: by default what sees a context, and the first token, which sees none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments, strata
from hiddenscope.analysis import density
from hiddenscope.errors import FigureError
from hiddenscope.figures.histogram import FEW
from hiddenscope.figures.prepared import Prepared, Subject, a_few, far_apart, subject
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr

LOUDEST = 3
"""The channels of either view whose means are drawn."""
BAND = (0.01, 0.5, 0.99)
"""Where the band of the norms begins, its line, and where it ends."""


@dataclass(frozen=True)
class Panel:
    """The histograms of one site.

    Attributes
    ----------
    site : str
    scale : {'linear', 'asinh'}
        Of the x axis.
    low, high : float
        Where that begins and ends.
    linear : float
        The linear part of an asinh axis.
    tables : list of DataFrame
        Of each view, as `hiddenscope.analysis.density.densities` returns it: the same bins.
    """

    site: str
    scale: str
    low: float
    high: float
    linear: float
    tables: list[pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class CompareViews(Prepared):
    """Two views.

    Attributes
    ----------
    views : tuple of str
    panels : list of Panel
        The histograms.
    log : bool
        Whether their y axes are logarithmic.
    sites : list of str
        Of the norms and of the means.
    norms : list of DataFrame[site]
        Of each view, as `hiddenscope.analysis.norms` returns it.
    norms_log : bool
        Whether the axis of the norms is logarithmic.
    means : list of DataFrame[site, channel]
        Of each view, the means of the loud channels.
    reach, linear : (float, float), float
        Where the axis of the means begins and ends, and the linear part of it.
    scale : {'linear', 'asinh'}
        Of that axis.
    loud : list of int
        The channels that stand out in the whole profile, the most first.
    """

    views: tuple[str, str]
    panels: list[Panel]
    log: bool
    sites: list[str]
    norms: list[pd.DataFrame]
    norms_log: bool
    means: list[pd.DataFrame]
    scale: str
    reach: tuple[float, float]
    linear: float
    loud: list[int]


def prepare(
    tree: xr.DataTree,
    view: str = "rest",
    against: str | None = None,
    *,
    sites: str | list[str] | None = None,
    bins: int = 80,
    channels: Sequence[int] | None = None,
    range: tuple[float, float] | None = None,
    log: bool = True,
) -> CompareViews:
    """Draw two views side by side: histograms, norms by depth and the means of loud channels.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    against : str, optional
        Which others; by default ``first``, or ``rest`` where `view` is ``first``.
    sites : str or list of str, optional
        Of the histograms; by default the first site, a middle one, the last block and the last
        site. Norms and means are drawn over the whole trunk, or over these sites where one of
        them is outside of it.
    bins : int
        Of a histogram.
    channels : sequence of int, optional
        Those whose means are drawn; by default the loudest of either view.
    range : (float, float), optional
        Of every histogram, in activations; by default all values of its site.
    log : bool
        Whether the y axes of the histograms are logarithmic.
    """
    against = _other(view) if against is None else against
    one, other = _two(tree, view, against, sites)
    stream, views = one.stream, (view, against)
    chosen = one.sites if sites is not None else a_few(one.sites)
    trunk = analysis.trunk_sites(stream)
    over = trunk if set(chosen) <= set(trunk) else chosen
    span = None if range is None else arguments.limits("range", range)
    panels = [_panel(stream, views, site, bins, span) for site in chosen]
    norms = [analysis.norms(stream, "l2", BAND, v).loc[over] for v in views]
    named = _loud(stream, views) if channels is None else channels
    held = arguments.channels("channels", named, one.channels)
    means = [analysis.mean_by_channel(stream, v).loc[over, held] for v in views]
    scale, reach, linear = _scale(np.concatenate([m.to_numpy(np.float64) for m in means]))
    return CompareViews(
        title=f"The views {view} and {against}, {one.model}",
        claim=analysis.view_words(stream, view, against, over),
        caption=_caption(one, other, panels, own=channels is None),
        views=views,
        panels=panels,
        log=bool(log),
        sites=over,
        norms=norms,
        norms_log=far_apart(np.concatenate([n.to_numpy(np.float64)[:, 1:] for n in norms])),
        means=means,
        scale=scale,
        reach=reach,
        linear=linear,
        loud=analysis.outstanding_channels(stream),
    )


def _other(view: str) -> str:
    return strata.DEFAULT_VIEW if view == strata.FIRST else strata.FIRST


def _two(
    tree: xr.DataTree, view: str, against: str, sites: str | list[str] | None
) -> tuple[Subject, Subject]:
    """Look up both views, which must differ."""
    one, other = (subject(tree, v, sites, "norms") for v in (view, against))
    known = analysis.strata_of(one.stream)
    held = analysis.tokens(one.stream)
    first, second = ([k for k in known.select(v) if held[k]] for v in (view, against))
    if first == second:
        msg = (
            f"the views {view!r} and {against!r} hold the same tokens: there is nothing to "
            f"compare; choose two of 'first', 'rest', 'all' and {', '.join(map(repr, known))}"
        )
        raise FigureError(msg)
    return one, other


def _caption(one: Subject, other: Subject, panels: list[Panel], *, own: bool) -> str:
    tables = [table for panel in panels for table in panel.tables]
    beyond = sum(int(t.attrs["sites"][["below", "above"]].to_numpy().sum()) for t in tables)
    words = " · ".join(f"{s.view}: {s.words}" for s in (one, other))
    return replace(one, words=words).caption(
        f"faint: fewer than {FEW} values in the bin",
        f"{counted(beyond, 'value')} beyond the range" if beyond else "",
        "norms: the median and the middle 98 %",
        f"means: the {LOUDEST} loudest channels of either view" if own else "",
    )


def _panel(
    stream: xr.DataTree,
    views: tuple[str, str],
    site: str,
    bins: int,
    span: tuple[float, float] | None,
) -> Panel:
    ends = [analysis.moments(stream, v).loc[site, ["min", "max"]].to_numpy(float) for v in views]
    lows, highs = np.transpose(ends)
    low, high = float(np.fmin.reduce(lows)), float(np.fmax.reduce(highs))
    low, high = (low, high) if np.isfinite([low, high]).all() else (-1.0, 1.0)
    low, high = span or ((low, high) if low < high else (low - 1.0, high + 1.0))
    scales = {density.scale_of_site(stream, v, site, low, high) for v in views}
    scale = "asinh" if "asinh" in scales else "linear"
    linear = min(density.linear_width(stream, v, [site]) for v in views)
    tables = [
        density.densities(stream, scale, bins, v, [site], range=(low, high), linear=linear)
        for v in views
    ]
    return Panel(site, scale, low, high, linear, tables)


def _loud(stream: xr.DataTree, views: tuple[str, str]) -> list[int]:
    """Return the channels that hold most of the pooled variance of either view."""
    return [int(c) for v in views for c in analysis.loudest(stream, v, LOUDEST, "pooled").index]


def _scale(means: np.ndarray) -> tuple[str, tuple[float, float], float]:
    """Return the scale of an axis of means, where it begins and ends, and its linear part."""
    sizes = np.abs(means[np.isfinite(means) & (means != 0)])
    if not len(sizes):
        return "linear", (-1.0, 1.0), 1.0
    linear, middle = (float(v) for v in np.quantile(sizes, [0.25, 0.5]))
    scale = "asinh" if sizes.max() > density.MANY_TIMES * middle else "linear"
    low, high = min(float(np.nanmin(means)), 0.0), max(float(np.nanmax(means)), 0.0)
    return scale, density.with_room(low, high, scale, linear), linear
