"""The largest magnitudes: of each channel, and through depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import grid
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.distribution import counts_of
from hiddenscope.analysis.token_tables import extremes
from hiddenscope.analysis.views import group, site_names, strata_index

if TYPE_CHECKING:
    import xarray as xr


STANDS_OUT = 2.5
"""A channel stands out at a site where its largest magnitude is at least this many times the
median channel's."""


@cached
def farthest_by_channel(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Return the value of each channel at each site that lies farthest from zero.

    Returns
    -------
    DataFrame[site, channel]
        With its sign; NaN without tokens.
    """
    k = strata_index(stream, view)
    data = group(stream, "moments")
    low = np.asarray(data["min"].values)[:, k].min(1, initial=np.inf)
    high = np.asarray(data["max"].values)[:, k].max(1, initial=-np.inf)
    farthest = np.where(-low > high, low, high)
    farthest = np.where(np.isinf(farthest), np.nan, farthest)
    index = pd.Index(site_names(stream), name="site")
    return pd.DataFrame(farthest, index=index).rename_axis(columns="channel")


def largest_by_channel(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Return the largest magnitude of each channel at each site.

    Returns
    -------
    DataFrame[site, channel]
        NaN without tokens.
    """
    return farthest_by_channel(stream, view).abs()


def largest_over_median(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Return the largest magnitudes over the median of all channels' at their site.

    Returns
    -------
    DataFrame[site, channel]
        NaN without tokens, and where the median is 0.
    """
    table = largest_by_channel(stream, view)
    return table.div(table.median(axis=1).replace(0.0, np.nan), axis=0)


def largest_map(stream: xr.DataTree, view: str = "rest", columns: int = 512) -> pd.DataFrame:
    """Return how far channels stand out of their site, few enough to be drawn.

    Returns
    -------
    DataFrame[site, channel]
        The largest magnitude over the median of all channels' largest magnitudes at the site,
        and of neighbouring channels the most. Columns are the first channel of each group; NaN
        without tokens. ``attrs["group"]``: channels in a group, 1 where all fit.
    """
    table = largest_over_median(stream, view)
    group = -(-table.shape[1] // columns)
    starts = np.arange(0, table.shape[1], group)
    values = np.fmax.reduceat(table.to_numpy(np.float64), starts, axis=1)
    result = pd.DataFrame(values, index=table.index, columns=pd.Index(starts, name="channel"))
    result.attrs = {"group": group}
    return result


@cached
def site_medians(stream: xr.DataTree) -> pd.Series[float]:
    """Return the median magnitude of each site over all counted tokens × channels."""
    names = site_names(stream)
    counts = grid.fold_sign(counts_of(stream, "all", names))
    medians = [float(grid.magnitude_quantiles(c, 0.5)) for c in counts]
    return pd.Series(medians, index=pd.Index(names, name="site"))


def standing_out(
    stream: xr.DataTree, view: str = "rest", sites: list[str] | None = None
) -> pd.Series[float]:
    """Rank the channels whose largest magnitude stands out at some of the sites.

    Returns
    -------
    Series[channel]
        The largest magnitude over the median of all channels' largest magnitudes at the site,
        the most over the sites, where it is at least `STANDS_OUT`; largest first.
    """
    table = largest_over_median(stream, view)
    ratio = table.loc[sites if sites is not None else list(table.index)].max()
    found = ratio[ratio >= STANDS_OUT]
    return found.sort_values(ascending=False, kind="stable")


def outstanding_channels(stream: xr.DataTree) -> list[int]:
    """Return the channels that stand out anywhere, over all tokens, the most first."""
    return [int(c) for c in standing_out(stream, "all").index]


def magnitudes(stream: xr.DataTree, view: str = "rest", top: int = 3) -> pd.DataFrame:
    """Follow the largest magnitudes and the median magnitude through depth.

    As the first figure of Sun et al. 2024, over all the tokens of a view.

    Returns
    -------
    DataFrame[site]
        ``top1`` … ``top3`` of the view, and ``median``, the median magnitude of the site over
        all its tokens × channels, whatever the view: what massive activations are held against.
    """
    names = site_names(stream)
    table = extremes(stream, view)
    medians = site_medians(stream)
    rows = {}
    for name in names:
        found = table.loc[table["site"] == name, "value"].abs().to_numpy(np.float64)[:top]
        padded = np.concatenate([found, np.full(top - len(found), np.nan)])
        rows[name] = [*padded, medians[name]]
    columns = [*(f"top{i + 1}" for i in range(top)), "median"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis(index="site")
