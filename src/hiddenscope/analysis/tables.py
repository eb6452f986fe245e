"""Every table of a profile by its name, flat: no index, one row per record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from hiddenscope import arguments
from hiddenscope.analysis.outlier_channels import COUNTED_ONLY
from hiddenscope.analysis.outlying import outliers
from hiddenscope.analysis.summary import channels, moments
from hiddenscope.analysis.token_tables import NORMS, extremes, norms, positions
from hiddenscope.analysis.views import choose_sites, manifest
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr

    Thresholds = Mapping[str, float]

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)


def _sites(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    return moments(stream, view).loc[sites].reset_index()


def _channels(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    return channels(stream, sites, view).reset_index()


def _outliers(
    stream: xr.DataTree, view: str, sites: list[str], thresholds: Thresholds
) -> pd.DataFrame:
    """List massive activations by channel, then outlier channels, in columns of their own."""
    del sites
    found = outliers(stream, view, **thresholds)
    parts = []
    if "extremes" in stream.children:
        parts.append(found.massive_channels.reset_index().assign(kind="massive activation"))
    if not found.notes:
        rows = found.channels.rename(columns={"largest": "value"}).reset_index()
        first, last = rows["first_block"].astype(str), rows["last_block"].astype(str)
        rows["blocks"] = first.where(first == last, first + "–" + last)
        rows = rows.drop(columns=["first_block", "last_block"])
        kinds = rows["point"].isin(COUNTED_ONLY).map({False: "outlier channel", True: "far out"})
        parts.append(rows.assign(kind=kinds))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    front = [name for name in ("kind", "channel", "blocks", "value") if name in table]
    return table[[*front, *(name for name in table if name not in front)]]


def _extremes(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    table = extremes(stream, view)
    return table[table["site"].isin(sites)].reset_index(drop=True)


def _norms(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    parts = {which: norms(stream, which, QUANTILES, view).loc[sites] for which in NORMS}
    return pd.concat(parts, names=["norm"]).reset_index()


def _positions(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    table = positions(stream, view).sel(site=sites).to_dataframe().reset_index()
    table = table[["site", "start", "stop", "tokens", "mean", "std", "absmax", "norm"]]
    return table[table["tokens"] > 0].reset_index(drop=True)


def _claims(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    # Showing any other table needs none of it.
    from hiddenscope.analysis.verdicts import claims  # noqa: PLC0415

    del sites
    return claims(stream, view).reset_index()


def _checks(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    del view, sites
    columns = ["name", "level", "passed", "value", "detail"]
    return pd.DataFrame(json.loads(stream.root.attrs["checks"])).reindex(columns=columns)


def _manifest(stream: xr.DataTree, view: str, sites: list[str], _: Thresholds) -> pd.DataFrame:
    del view, sites
    rows = list(_flat("", manifest(stream)))
    return pd.DataFrame(rows, columns=["key", "value"])


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [row for k, v in value.items() for row in _flat(f"{key}.{k}" if key else k, v)]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(key, text)]


TABLES: dict[str, Callable[[xr.DataTree, str, list[str], Thresholds], pd.DataFrame]] = {
    "sites": _sites,
    "channels": _channels,
    "outliers": _outliers,
    "extremes": _extremes,
    "norms": _norms,
    "positions": _positions,
    "claims": _claims,
    "checks": _checks,
    "manifest": _manifest,
}
"""By name, functions of a stream, a view, sites and thresholds."""


def table(
    stream: xr.DataTree,
    name: str,
    view: str = "rest",
    sites: str | list[str] | None = None,
    *,
    sort: str | None = None,
    top: int | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return a table by its name, as the command line shows it.

    Parameters
    ----------
    stream : DataTree
    name : str
        ``sites``, ``channels``, ``outliers``, ``extremes``, ``norms``, ``positions``, ``claims``,
        ``checks`` or ``manifest``.
    view : str
    sites : str or list of str, optional
        Of the tables that have sites; all by default.
    sort : str, optional
        A column: the largest magnitude first, of text in alphabetical order.
    top : int, optional
        Only the first rows.
    thresholds : mapping of str to float, optional
        Of the table ``outliers``: keywords of `outliers`.

    Returns
    -------
    DataFrame
        No index but the row numbers.

    Raises
    ------
    InputError
        There is no such table or column; `top` is no positive number.
    SiteError, ViewError
        A site or the view is unknown.
    """
    if name not in TABLES:
        msg = f"there is no table {name!r}: choose one of {', '.join(TABLES)}"
        raise InputError(msg)
    arguments.check({"top": arguments.optional(arguments.WHOLE)}, {"top": top})
    if top is not None and top < 1:
        msg = f"top is a number of rows, at least 1, got {top}"
        raise InputError(msg)
    made = TABLES[name](stream, view, choose_sites(stream, sites), thresholds or {})
    if sort is not None:
        if sort not in made:
            msg = f"the table {name!r} has no column {sort!r}: it has {', '.join(map(str, made))}"
            raise InputError(msg)
        numeric = pd.api.types.is_numeric_dtype(made[sort])
        by = made[sort].astype(float).abs() if numeric else made[sort].astype(str)
        made = made.loc[by.sort_values(ascending=not numeric, kind="stable").index]
        made = made.reset_index(drop=True)
    return made.iloc[:top]
