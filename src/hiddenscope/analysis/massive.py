"""Massive activations among the extremes that a profile keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import words
from hiddenscope.analysis.largest import site_medians
from hiddenscope.analysis.token_tables import extremes
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr

KEPT_OF_A_CHANNEL = 8
"""How many values of one channel `extremes` keeps, at each site and of each stratum."""


def massive_activations(
    stream: xr.DataTree, view: str, thresholds: dict[str, float]
) -> pd.DataFrame:
    """List the massive activations among the extremes of a view, as in `Outliers`."""
    table = extremes(stream, view)
    medians = site_medians(stream).reindex(table["site"]).to_numpy()
    table.insert(list(table.columns).index("median") + 1, "site_median", medians)
    magnitude = table["value"].abs().astype(np.float64)
    far = (magnitude > thresholds["massive"]) & (magnitude > thresholds["massive_ratio"] * medians)
    return table[far].reset_index(drop=True)


def massive_channels(found: pd.DataFrame) -> pd.DataFrame:
    """Gather massive activations by channel, as in `Outliers`."""
    rows = []
    for channel, part in found.groupby("channel", sort=False):
        blocks = [b for b in (Site(s).block for s in part["site"]) if b is not None]
        kept = part.groupby(["site", "stratum"]).size()
        top = part.iloc[0]
        rows.append(
            {
                "channel": channel,
                "sites": part["site"].nunique(),
                "blocks": words.ranges(sorted(set(blocks))),
                "values": int(part.groupby("site").size().max()),
                "cut": bool((kept >= KEPT_OF_A_CHANNEL).any()),
                **{key: top[key] for key in ("value", "site", "piece", "position")},
            }
        )
    columns = ["channel", "sites", "blocks", "values", "cut", "value", "site", "piece", "position"]
    return pd.DataFrame(rows, columns=columns).set_index("channel")
