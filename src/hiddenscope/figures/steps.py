"""A number of each site through the profiles of a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, far_apart
from hiddenscope.sites import Site
from hiddenscope.words import number, shorten

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

NAMES = {
    "std": "standard deviation",
    "excess_kurtosis": "excess kurtosis",
    "absmax": "largest magnitude",
    "median_norm": "median L2 norm",
    "mean": "mean",
    "massive": "massive activations",
    "tokens": "tokens",
}


@dataclass(frozen=True, kw_only=True)
class Steps(Prepared):
    """One column of a series.

    Attributes
    ----------
    sites : list of str
    labels : list of str
        Of the profiles, in order.
    places : ndarray[step] of float64
        Where they stand on the x axis: the labels where these are numbers, else 0, 1, 2, ….
    values : ndarray[site, step] of float64
    name : str
        What the values are called.
    log : bool
        Whether the values share a logarithmic axis: all are positive and far apart.
    log_steps : bool
        The same of the labels.
    """

    sites: list[str]
    labels: list[str]
    places: NDArray[np.float64]
    values: NDArray[np.float64]
    name: str
    log: bool
    log_steps: bool


def prepare(table: xr.Dataset, model: str, column: str = "std") -> Steps:
    """Show one column of a series.

    Parameters
    ----------
    table : Dataset[site, step]
        As `hiddenscope.analysis.side_by_side` returns it.
    model : str
    column : str

    Raises
    ------
    FigureError
        There is no such column, or no value in it.
    """
    known = [str(name) for name in table if "site" in table[name].dims]
    if column not in known:
        msg = f"a series has no column {column!r} by site: it has {', '.join(known)}"
        raise FigureError(msg)
    values = table[column].values.astype(np.float64)
    if not np.isfinite(values).any():
        msg = f"no profile of the series has a number for {column!r}"
        raise FigureError(msg)
    sites = [str(s) for s in table["site"].values]
    labels = [str(x) for x in table["step"].values]
    numeric = table["step"].dtype.kind in "iuf"
    places = table["step"].values.astype(float) if numeric else np.arange(len(labels), dtype=float)
    name = NAMES.get(column, column)
    return Steps(
        title=f"{name[0].upper()}{name[1:]} through {len(labels)} profiles, {shorten(model, 40)}",
        claim=_claim(sites, labels, values),
        caption=f"view {table.attrs['view']} · {len(sites)} sites",
        sites=sites,
        labels=labels,
        places=places,
        values=values,
        name=name,
        log=far_apart(values) and bool((values[np.isfinite(values)] > 0).all()),
        log_steps=far_apart(places) and bool((places >= 0).all()),
    )


def _claim(sites: list[str], labels: list[str], values: NDArray[np.float64]) -> str:
    """Say at which site the first and the last value are farthest apart, as a ratio."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = values[:, -1] / values[:, 0]
        size = np.abs(np.log(np.where(change > 0, change, np.nan)))
    if np.isnan(size).all():
        return ""
    most = int(np.nanargmax(size))
    first, last = (number(float(values[most, i])) for i in (0, -1))
    return (
        f"largest change: {Site(sites[most]).label}, from {first} at {labels[0]} to {last} at "
        f"{labels[-1]}"
    )
