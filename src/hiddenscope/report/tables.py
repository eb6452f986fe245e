"""The table behind each figure of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hiddenscope.figures.depth import band_levels
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable


def table_of(kind: str, shown: Any) -> pd.DataFrame:
    """Return what a figure shows as a table.

    Parameters
    ----------
    kind : str
        One of `hiddenscope.figures.KINDS`.
    shown : Prepared
        As `hiddenscope.figures.prepare` returns it.
    """
    return TABLES[kind](shown)


def by_site(sites: list[str], columns: dict[str, Any]) -> pd.DataFrame:
    """Return a table with the sites in words as its first column."""
    return pd.DataFrame({"site": [Site(s).label for s in sites], **columns})


def _bands(shown: Any) -> pd.DataFrame:
    levels = band_levels(shown.shares)
    values = np.concatenate([shown.low, shown.high[:, ::-1]], axis=1)
    order = np.argsort(levels)
    return by_site(shown.sites, {f"quantile {levels[i]:g}": values[:, i] for i in order})


def _norms(shown: Any) -> pd.DataFrame:
    apart = {f"median of {c}": shown.apart[c].to_numpy() for c in shown.apart}
    return _bands(shown).assign(**apart)


def _ridge(shown: Any) -> pd.DataFrame:
    table = shown.table
    return pd.DataFrame(
        {
            "site": [Site(str(s)).label for s in table["site"]],
            shown.label: ((table["left"] + table["right"]) / 2).to_numpy(),
            "density": table["density"].to_numpy(),
        }
    )


def _positions(shown: Any) -> pd.DataFrame:
    columns = {Site(s).label: shown.norms[i] for i, s in enumerate(shown.sites)}
    return pd.DataFrame({"position": shown.places.astype(np.int64), **columns})


def _scatter(shown: Any) -> pd.DataFrame:
    held = pd.concat([panel.extremes for panel in shown.panels], ignore_index=True)
    columns = ["site", "value", "channel", "position", "piece", "before", "after"]
    found: pd.DataFrame = held[columns].assign(site=[Site(str(s)).label for s in held["site"]])
    return found


def _wing(shown: Any) -> pd.DataFrame:
    columns = {f"R² with {c}": shown.lines[c].to_numpy() for c in shown.lines}
    return by_site(shown.sites, columns)


def _outliers(shown: Any) -> pd.DataFrame:
    names = {"top1": "largest", "top2": "second", "top3": "third", "median": "median magnitude"}
    columns = {names.get(c, c): shown.magnitudes[c].to_numpy() for c in shown.magnitudes}
    return by_site(shown.sites, columns)


def _compare_views(shown: Any) -> pd.DataFrame:
    columns = {
        f"norm, {c}, {view}": table[c].to_numpy()
        for view, table in zip(shown.views, shown.norms, strict=True)
        for c in table
    }
    return by_site(shown.sites, columns)


TABLES: dict[str, Callable[[Any], pd.DataFrame]] = {
    "depth": _bands,
    "norms": _norms,
    "ridge": _ridge,
    "positions": _positions,
    "scatter": _scatter,
    "wing": _wing,
    "outliers": _outliers,
    "compare_views": _compare_views,
}
