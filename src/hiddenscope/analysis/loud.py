"""Loud channels, outlier channels and massive activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope.analysis.distribution import cell_counts
from hiddenscope.analysis.summary import channel_means
from hiddenscope.analysis.tokens import extremes
from hiddenscope.analysis.views import group, manifest, site_names, strata_index
from hiddenscope.grid import CELLS, magnitude_quantiles

if TYPE_CHECKING:
    import xarray as xr

THRESHOLDS = {
    # Sun et al. 2024, "Massive Activations in Large Language Models".
    "massive": 100.0,
    "massive_ratio": 1000.0,
    # Dettmers et al. 2022, "LLM.int8()".
    "outlier": 6.0,
    "outlier_site_share": 0.25,
    "outlier_token_share": 0.06,
}
"""What counts as an outlier, where a profile's manifest does not say otherwise."""


@dataclass(frozen=True)
class Outliers:
    """Outliers by both criteria.

    Attributes
    ----------
    massive : DataFrame
        Massive activations (Sun et al. 2024), largest first, with token and place, among the
        extremes that the profile keeps: a magnitude over 100 and over 1,000 times the median
        magnitude of its hidden state.
    channels : DataFrame[channel]
        Outlier channels (Dettmers et al. 2022, applied to the residual stream): at 25 % of the
        blocks or more, 6 % of the tokens or more have a magnitude of at least 6 there.
        ``sites``, ``site_share``, ``token_share`` (largest over the blocks), ``first_block``,
        ``last_block`` (that meet the criterion), ``largest`` (signed value of the largest
        magnitude) and ``share`` (as in `loudest`).
    thresholds : dict of str to float
    """

    massive: pd.DataFrame
    channels: pd.DataFrame
    thresholds: dict[str, float]


def block_sites(stream: xr.DataTree) -> list[int]:
    """Return the indices of the block outputs, or of every site where there are none."""
    names = site_names(stream)
    return [i for i, n in enumerate(names) if n.endswith(".resid_post")] or list(range(len(names)))


def loudest(stream: xr.DataTree, view: str = "rest", k: int | None = None) -> pd.DataFrame:
    """Rank the channels by their share of the variance.

    Returns
    -------
    DataFrame[channel]
        ``share``: of the pooled sum of squares about the grand mean, averaged over blocks;
        largest first, the first `k`.
    """
    at = block_sites(stream)
    sums = {key: value[at] for key, value in channel_means(stream, view).items()}
    grand = sums["mean"].mean(1, keepdims=True)
    squares = sums["m2"] + sums["count"] * (sums["mean"] - grand) ** 2
    total = squares.sum(1, keepdims=True)
    share = np.divide(squares, total, out=np.zeros_like(squares), where=total > 0).mean(0)
    order = np.argsort(-share, kind="stable")[:k]
    return pd.DataFrame({"share": share[order]}, index=pd.Index(order, name="channel"))


def outliers(stream: xr.DataTree, view: str = "rest") -> Outliers:
    """Find outliers by both criteria, with the thresholds that the profile was made with.

    Returns
    -------
    Outliers

    Raises
    ------
    ViewError
        The view is unknown.
    """
    thresholds = THRESHOLDS | manifest(stream).get("thresholds", {})
    table = extremes(stream, view)
    magnitude = table["value"].abs()
    massive = (magnitude > thresholds["massive"]) & (
        magnitude > thresholds["massive_ratio"] * table["median"]
    )
    return Outliers(
        massive=table[massive].reset_index(drop=True),
        channels=_channels(stream, view, thresholds),
        thresholds=thresholds,
    )


def _channels(stream: xr.DataTree, view: str, thresholds: dict[str, float]) -> pd.DataFrame:
    at = block_sites(stream)
    names = [site_names(stream)[i] for i in at]
    k = strata_index(stream, view)
    data = group(stream, "moments")
    over = np.asarray(data["over"].values)[np.ix_(np.array(at), k)].sum(1)
    count = np.asarray(data["count"].values)[np.ix_(np.array(at), k)].sum(1)
    low = np.asarray(data["min"].values)[np.ix_(np.array(at), k)].min((0, 1), initial=np.inf)
    high = np.asarray(data["max"].values)[np.ix_(np.array(at), k)].max((0, 1), initial=-np.inf)
    token_share = over / np.maximum(count, 1)[:, None]
    meets = (token_share >= thresholds["outlier_token_share"]) & (over > 0)
    site_share = meets.mean(0)
    found = np.flatnonzero((site_share >= thresholds["outlier_site_share"]) & meets.any(0))
    share = loudest(stream, view)["share"]
    blocks = np.array([int(n.split(".")[1]) if "." in n else -1 for n in names])
    rows = pd.DataFrame(
        {
            "sites": meets[:, found].sum(0),
            "site_share": site_share[found],
            "token_share": token_share[:, found].max(0),
            "first_block": [int(blocks[meets[:, c]].min()) for c in found],
            "last_block": [int(blocks[meets[:, c]].max()) for c in found],
            "largest": np.where(-low[found] > high[found], low[found], high[found]),
            "share": share.reindex(found).to_numpy(),
        },
        index=pd.Index(found, name="channel"),
    )
    return rows.sort_values("share", ascending=False, kind="stable")


def largest_by_channel(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Return the largest magnitude of each channel at each site.

    Returns
    -------
    DataFrame[site, channel]
        NaN without tokens.
    """
    k = strata_index(stream, view)
    data = group(stream, "moments")
    low = np.asarray(data["min"].values)[:, k].min(1, initial=np.inf)
    high = np.asarray(data["max"].values)[:, k].max(1, initial=-np.inf)
    largest = np.maximum(-low, high)
    largest = np.where(np.isinf(largest), np.nan, largest)
    index = pd.Index(site_names(stream), name="site")
    return pd.DataFrame(largest, index=index).rename_axis(columns="channel")


def magnitudes(stream: xr.DataTree, view: str = "rest", top: int = 3) -> pd.DataFrame:
    """Follow the largest magnitudes and the median magnitude through depth.

    As the first figure of Sun et al. 2024, over all the tokens of a view.

    Returns
    -------
    DataFrame[site]
        ``top1`` … ``top3`` and ``median``, the median magnitude over tokens × channels.
    """
    names = site_names(stream)
    table = extremes(stream, view)
    counts = cell_counts(stream, view, names)
    both = counts[:, : CELLS // 2] + counts[:, CELLS // 2 :]
    both[:, 0x7F80:] = 0
    rows = {}
    for i, name in enumerate(names):
        found = table.loc[table["site"] == name, "value"].abs().to_numpy(np.float64)[:top]
        padded = np.concatenate([found, np.full(top - len(found), np.nan)])
        # Read inside of a cell, a median of zeros would be above every value.
        median = min(float(magnitude_quantiles(both[i], 0.5)), *found[:1], np.inf)
        rows[name] = [*padded, median]
    columns = [*(f"top{i + 1}" for i in range(top)), "median"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis(index="site")
