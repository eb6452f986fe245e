"""Channels that are far out for many tokens at many blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope.analysis.octaves import tokens_over
from hiddenscope.analysis.shares import loudest
from hiddenscope.analysis.views import group, site_names, strata_index
from hiddenscope.sites import LINEAR_POINTS, Site
from hiddenscope.words import counted

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

RULES = {
    "resid_post": "over_rms",
    "resid_mid": "over_rms",
    # What linear layers read: there the paper looked.
    **dict.fromkeys(LINEAR_POINTS, "over"),
}
"""Point → the count that its outlier channels are found by.

On the residual stream, whose scale grows through the blocks, a value is held against the root
mean square of its own hidden state; elsewhere against the paper's fixed magnitude.
"""


COUNTED_ONLY = ("mamba_norm", "mamba_mix", "mix_norm", "mix_act", "mlp_act")
"""Points that the paper does not speak of, at which its limits are counted all the same.

It knows no mixers but attention, and leaves out the second layer of an MLP, whose input most
activation functions make sparse.
"""


def by_the_rule(table: pd.DataFrame) -> pd.DataFrame:
    """Return those rows of `Outliers.channels` that the paper's rule speaks of."""
    return table[~table["point"].isin(COUNTED_ONLY)]


def outlier_channels(
    stream: xr.DataTree, view: str, thresholds: dict[str, float]
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Find outlier channels at each point that has a rule, as in `Outliers.channels`.

    Returns
    -------
    DataFrame or None
        None where the profile lacks a count that its points need.
    tuple of str
        What cannot be said, and why.
    """
    data = group(stream, "moments")
    channels = data.sizes["channel"]
    notes: list[str] = []
    tables = []
    rules = rules_of(stream)
    for point, at in _points(stream).items():
        rule = rules[point]
        if rule not in data:
            notes.append(
                f"this profile is of schema {stream.root.attrs['schema_version']} and lacks "
                f"{rule!r}, the counts that outlier channels of the residual stream are found by: "
                "measure again with `hiddenscope profile`"
            )
            return None, tuple(notes)
        if rule == "over_rms" and channels <= thresholds["outlier_rms"] ** 2:
            needed = int(thresholds["outlier_rms"] ** 2) + 1
            notes.append(
                f"of {counted(channels, 'channel')} none can reach "
                f"{thresholds['outlier_rms']:g} times the root mean square of them all: "
                f"under {needed} the rule of outlier channels cannot speak"
            )
        table = _channels_over_limit(stream, view, thresholds, at, rule)
        tables.append(table.assign(point=point, rule=rule))
    return pd.concat(tables).sort_values("variance", ascending=False, kind="stable"), tuple(notes)


def rules_of(stream: xr.DataTree) -> dict[str, str]:
    """Return the rule of each point that a stream has; of all sites together, with no name."""
    return {point: RULES.get(point, "over_rms") for point in _points(stream)}


def _points(stream: xr.DataTree) -> dict[str, NDArray[np.int64]]:
    """Return the sites of each point that has a rule, all sites where none has."""
    names = site_names(stream)
    points = [Site(n).point or "" for n in names]
    held = {p: np.flatnonzero([q == p for q in points]) for p in RULES if p in points}
    return held or {"": np.arange(len(names))}


def _channels_over_limit(
    stream: xr.DataTree,
    view: str,
    thresholds: dict[str, float],
    at: NDArray[np.int64],
    rule: str,
) -> pd.DataFrame:
    """Return the channels that are over the limit for enough tokens at enough of some sites."""
    blocks = np.array([-1 if (b := Site(site_names(stream)[i]).block) is None else b for i in at])
    k = strata_index(stream, view)
    data = group(stream, "moments")
    held = {key: np.asarray(data[key].values)[np.ix_(at, k)] for key in ("count", "min", "max")}
    low, high = held["min"].min((0, 1), initial=np.inf), held["max"].max((0, 1), initial=-np.inf)
    if rule == "over":
        over = tokens_over(stream, view, thresholds["outlier"])[at]
    else:
        over = np.asarray(data[rule].values)[np.ix_(at, k)].sum(1)
    count = held["count"].sum(1)
    token_share = over / np.maximum(count, 1)[:, None]
    meets = (token_share >= thresholds["outlier_token_share"]) & (over > 0)
    site_share = meets.mean(0)
    found = np.flatnonzero((site_share >= thresholds["outlier_site_share"]) & meets.any(0))
    return pd.DataFrame(
        {
            "sites": meets[:, found].sum(0),
            "site_share": site_share[found],
            "token_share": token_share[:, found].max(0),
            "first_block": [int(blocks[meets[:, c]].min()) for c in found],
            "last_block": [int(blocks[meets[:, c]].max()) for c in found],
            "largest": np.where(-low[found] > high[found], low[found], high[found]),
            "variance": loudest(stream, view)["variance"].reindex(found).to_numpy(),
        },
        index=pd.Index(found, name="channel"),
    )
