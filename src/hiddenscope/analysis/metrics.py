"""A profile in numbers for loggers, and several profiles side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from hiddenscope.analysis.outlier_channels import COUNTED_ONLY, by_the_rule
from hiddenscope.analysis.outlying import outliers
from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.token_tables import norms
from hiddenscope.analysis.views import choose_sites, site_names, trunk_sites
from hiddenscope.errors import ProfileError, SiteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


UNITS = {
    "tokens": "tokens",
    "mean": "activation",
    "std": "activation",
    "excess_kurtosis": "1",
    "absmax": "activation",
    "median_norm": "activation",
    "massive": "activations",
}
"""Numbers of a site, and their units."""


def _summed_up(stream: xr.DataTree, view: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """Sum up each site, and the whole profile, in a few numbers.

    Returns
    -------
    DataFrame[site]
        ``tokens``, ``mean``, ``std`` (ddof 1), ``excess_kurtosis``, ``absmax``; where the file
        has what they need ``median_norm`` (of the L2 norms, within one cell), ``massive``
        (massive activations among the extremes that are kept).
    dict of str to float
        ``massive_channels`` and ``outlier_channels``, where the file can tell them.
    """
    table = moments(stream, view)
    sites = table[["tokens", "mean", "std", "excess_kurtosis"]].copy()
    sites["absmax"] = np.fmax(-table["min"], table["max"])
    if "norms" in stream.children:
        sites["median_norm"] = norms(stream, "l2", 0.5, view)["q0.5"]
    found = outliers(stream, view)
    whole = {}
    if "extremes" in stream.children:
        counts = found.massive.groupby("site").size()
        sites["massive"] = counts.reindex(sites.index).fillna(0).astype(float)
        whole["massive_channels"] = float(len(found.massive_channels))
    if not found.notes and not found.points.keys() <= set(COUNTED_ONLY):
        whole["outlier_channels"] = float(len(by_the_rule(found.channels)))
    return sites, whole


def metrics(
    stream: xr.DataTree, view: str = "rest", prefix: str = "hiddenscope"
) -> dict[str, float]:
    """Return a profile's numbers by name, as loggers take them.

    Parameters
    ----------
    stream : DataTree
    view : str
    prefix : str
        What every name starts with; empty for nothing.

    Returns
    -------
    dict of str to float
        ``hiddenscope/block.3.resid_post/std`` and the like, for the trunk, and of the whole
        ``hiddenscope/outlier_channels``, ``hiddenscope/massive_channels``. What is NaN is absent.
    """
    sites, whole = _summed_up(stream, view)
    lead = f"{prefix}/" if prefix else ""
    named = {
        f"{lead}{site}/{column}": float(value)
        for site, row in sites.loc[trunk_sites(stream)].iterrows()
        for column, value in row.items()
    }
    named |= {f"{lead}{name}": value for name, value in whole.items()}
    return {name: value for name, value in named.items() if not math.isnan(value)}


def side_by_side(
    streams: Mapping[object, xr.DataTree],
    view: str = "rest",
    sites: str | list[str] | None = None,
    dim: str = "step",
) -> xr.Dataset:
    """Set the numbers of several profiles side by side, at the sites that all of them have.

    Parameters
    ----------
    streams : mapping of label to DataTree
    view : str
    sites : str or list of str, optional
        By default all common ones.
    dim : str
        What the labels are called.

    Returns
    -------
    Dataset[site, label]
        Those of `UNITS`, NaN where a profile lacks one, sites by depth; by label alone
        ``massive_channels`` and ``outlier_channels``.

    Raises
    ------
    ProfileError
        There are no profiles.
    SiteError
        They have no site in common, or not the one that was asked for.
    ViewError
        A profile does not know the view.
    """
    if not streams:
        msg = "there are no profiles to set side by side: give {label: profile}"
        raise ProfileError(msg)
    parts = list(streams.values())
    common = [s for s in site_names(parts[0]) if all(s in site_names(x) for x in parts)]
    if not common:
        held = "; ".join(f"{label}: {', '.join(site_names(x))}" for label, x in streams.items())
        msg = f"these profiles have no site in common ({held[:400]})"
        raise SiteError(msg)
    if sites is not None:
        common = [s for s in choose_sites(parts[0], sites) if s in common]
        if not common:
            msg = f"no site of {sites!r} is in all of the profiles"
            raise SiteError(msg)
    sums = [_summed_up(x, view) for x in parts]
    tables = [table.reindex(common) for table, _ in sums]
    arrays = {
        column: xr.DataArray(
            np.stack([_column(table, column) for table in tables], axis=1),
            dims=("site", dim),
            attrs={"units": units},
        )
        for column, units in UNITS.items()
        if any(column in table for table in tables)
    }
    counts = pd.DataFrame([whole for _, whole in sums])
    arrays |= {
        str(name): xr.DataArray(counts[name].to_numpy(float), dims=dim, attrs={"units": "channels"})
        for name in counts
    }
    return xr.Dataset(arrays, {"site": common, dim: list(streams)}, {"view": view})


def _column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return table[name].to_numpy(float) if name in table else np.full(len(table), np.nan)
