"""Distributions fitted to a site's values by maximum likelihood on cells of the grid.

SciPy is imported when the first fit is made: a profile opens and shows itself without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import grid
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.distribution import counts_of
from hiddenscope.analysis.views import choose_sites, manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Family = Callable[[Floats, float], Floats]

FAMILIES = ("normal", "laplace", "logistic", "student")
"""Symmetric families of location and scale; Student's t has degrees of freedom as well."""
STEPS = 800
"""Cells are joined to at most this many, even on an asinh axis about the median."""
DEGREES = (0.2, 1000.0)
"""Degrees of freedom that are tried; at the upper end Student's t is a normal."""
_STEP = 1e-6
"""How far the logarithm of the degrees of freedom is moved to see where a fit improves."""
_LOWEST = -745.0
"""The logarithm of the smallest float64, for what lies even farther out."""
_COLUMNS = ["values", "loc", "scale", "degrees", "nats", "lost"]


@cached
def fits(
    stream: xr.DataTree,
    view: str = "rest",
    sites: str | tuple[str, ...] | None = None,
    families: tuple[str, ...] = FAMILIES,
) -> pd.DataFrame:
    """Fit families of distributions to the pooled values of each site.

    Parameters
    ----------
    stream : DataTree
    view : str
    sites : str or tuple of str, optional
    families : tuple of str
        Of `FAMILIES`; without Student's t there is no ``lost``.

    Returns
    -------
    DataFrame[site, family]
        As `fit` returns it.

    Raises
    ------
    SiteError, ViewError
        A site or the view is unknown.
    """
    names = choose_sites(stream, list(sites) if isinstance(sites, tuple) else sites)
    dtypes = manifest(stream).get("model", {}).get("state_dtype", {})
    counts = counts_of(stream, view, names)
    tables = [
        fit(held, lossless=dtypes.get(name) == "bfloat16", families=families)
        for name, held in zip(names, counts, strict=True)
    ]
    return pd.concat(dict(zip(names, tables, strict=True)), names=["site"])


def fit(
    counts: NDArray[np.int64], *, lossless: bool = False, families: tuple[str, ...] = FAMILIES
) -> pd.DataFrame:
    """Fit families to the counts of one distribution.

    A cell's likelihood is the difference of the family's distribution function between its ends;
    the outermost two reach to infinity. The finest cells are joined first: the likelihood of what
    is left is exact.

    Parameters
    ----------
    counts : ndarray[cell] of int64
    lossless : bool
        The values were bfloat16: each stands for the interval that is rounded to it.
    families : tuple of str
        Of `FAMILIES`; without Student's t there is no ``lost``.

    Returns
    -------
    DataFrame[family]
        ``values`` (finite ones), ``loc`` and ``scale`` in activations, ``degrees`` of freedom (NaN
        but for Student's t), ``nats``, the mean logarithm of a value's likelihood, and ``lost``,
        how many nats fewer than with Student's t. NaN where the values do not vary.
    """
    held = grid.merged(counts)
    filled = np.flatnonzero(held)
    index = pd.Index(families, name="family")
    nothing = pd.DataFrame(np.nan, index, _COLUMNS).assign(values=int(held.sum()))
    if len(filled) < 2:
        return nothing
    middle, unit = _middle(held, filled)
    ends, parts = _joined(held, filled, middle, unit, lossless=lossless)
    found = {family: _maximise(family, (ends - middle) / unit, parts) for family in families}
    table = pd.DataFrame.from_dict(found, orient="index", columns=_COLUMNS[1:5])
    table["loc"] = middle + unit * table["loc"]
    table["scale"] *= unit
    table["lost"] = found["student"][-1] - table["nats"] if "student" in found else np.nan
    table.insert(0, "values", int(held.sum()))
    return table.rename_axis(index="family")


def _middle(held: NDArray[np.int64], filled: NDArray[np.int64]) -> tuple[float, float]:
    """Return the median and half the width of the middle 68 %, or what is left of it."""
    total = np.cumsum(held[filled])
    at = filled[np.searchsorted(total, np.array([0.16, 0.5, 0.84]) * total[-1])]
    low, middle, high = (float((grid.EDGES[i] + grid.EDGES[i + 1]) / 2) for i in at)
    widest = float(grid.EDGES[filled[-1] + 1] - grid.EDGES[filled[0]])
    # Most values may be equal, as behind a ReLU.
    return middle, (high - low) / 2 if high > low else widest / 2


def _joined(
    held: NDArray[np.int64],
    filled: NDArray[np.int64],
    middle: float,
    unit: float,
    *,
    lossless: bool,
) -> tuple[Floats, NDArray[np.int64]]:
    """Join cells; return the ends of what is left, the outermost infinite, and its counts."""
    low, high = float(grid.EDGES[filled[0]]), float(grid.EDGES[filled[-1] + 1])
    first, last = (float(np.arcsinh((end - middle) / unit)) for end in (low, high))
    wanted = middle + unit * np.sinh(np.linspace(first, last, STEPS + 1))
    edges = grid.snap(np.concatenate([[low], wanted[1:-1], [high]]))
    at = np.searchsorted(grid.EDGES, edges)
    total = np.append(0, np.cumsum(held))
    # Between two empty parts there is no need of an end.
    empty = np.diff(total[at]) == 0
    at = np.delete(at, 1 + np.flatnonzero(empty[:-1] & empty[1:]))
    parts = np.diff(total[at])
    ends = grid.halfway(at) if lossless else grid.EDGES[at]
    ends[0], ends[-1] = -np.inf, np.inf
    return ends, parts


def _maximise(family: str, ends: Floats, parts: NDArray[np.int64]) -> list[float]:
    """Return location, scale, degrees of freedom and nats of the best fit."""
    from scipy import optimize  # noqa: PLC0415

    log_cdf, log_pdf = _FAMILIES[family]
    share = parts / parts.sum()

    def lost(parameters: Floats) -> tuple[float, Floats]:
        location, scale, degrees = _named(parameters)
        z = (ends - location) / scale
        log = _log_likelihood(z, log_cdf, degrees)
        # What a part gains, relative to its probability, as its ends move.
        density = log_pdf(z, degrees)
        low, high = np.exp(density[:-1] - log), np.exp(density[1:] - log)
        inner = np.where(np.isfinite(z), z, 0.0)
        slope = [share @ (low - high) / scale, share @ (inner[:-1] * low - inner[1:] * high)]
        if len(parameters) > 2:
            more = _log_likelihood(z, log_cdf, _named(parameters + np.array([0.0, 0.0, _STEP]))[2])
            slope.append(share @ (more - log) / _STEP)
        return -float(share @ log), -np.array(slope)

    start = np.array([0.0, 0.0] + [np.log(5.0)] * (family == "student"))
    best = optimize.minimize(lost, start, jac=True, method="BFGS", tol=1e-6)
    return [*_named(best.x), -float(best.fun)]


def _named(parameters: Floats) -> tuple[float, float, float]:
    """Return location, scale and degrees of freedom, NaN where there are none."""
    location, log_scale, *shape = parameters
    degrees = float(np.exp(np.clip(shape[0], *np.log(DEGREES)))) if shape else np.nan
    return float(location), float(np.exp(log_scale)), degrees


def _log_likelihood(z: Floats, log_cdf: Family, degrees: float) -> Floats:
    """Return the logarithm of the probability between each two neighbours of `z`.

    All families are symmetric, so that what lies above 0 is computed as its mirror image, where no
    digits are lost.
    """
    tail = log_cdf(-np.abs(z), degrees)
    low, high = tail[:-1], tail[1:]
    near, far = np.maximum(low, high), np.minimum(low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = near + np.log(-np.expm1(far - near))
        around = (z[:-1] < 0) & (z[1:] > 0)
        log[around] = np.log1p(-np.exp(low[around]) - np.exp(high[around]))
    return np.asarray(np.nan_to_num(log, nan=_LOWEST, neginf=_LOWEST))


def _normal(x: Floats, _: float) -> Floats:
    from scipy import special  # noqa: PLC0415

    return np.asarray(special.log_ndtr(x))


def _normal_density(x: Floats, _: float) -> Floats:
    return np.asarray(-(x**2) / 2 - np.log(2 * np.pi) / 2)


def _laplace(x: Floats, _: float) -> Floats:
    return np.asarray(x - np.log(2.0))


def _laplace_density(x: Floats, _: float) -> Floats:
    return np.asarray(-np.abs(x) - np.log(2.0))


def _logistic(x: Floats, _: float) -> Floats:
    from scipy import special  # noqa: PLC0415

    return np.asarray(special.log_expit(x))


def _logistic_density(x: Floats, _: float) -> Floats:
    return np.asarray(-np.abs(x) - 2 * np.log1p(np.exp(-np.abs(x))))


def _student(x: Floats, degrees: float) -> Floats:
    from scipy import special  # noqa: PLC0415

    with np.errstate(divide="ignore"):
        return np.asarray(np.log(special.stdtr(degrees, x)))


def _student_density(x: Floats, degrees: float) -> Floats:
    from scipy import special  # noqa: PLC0415

    constant = special.gammaln((degrees + 1) / 2) - special.gammaln(degrees / 2)
    tail = -(degrees + 1) / 2 * np.log1p(x**2 / degrees)
    return np.asarray(constant - np.log(degrees * np.pi) / 2 + tail)


_FAMILIES: dict[str, tuple[Family, Family]] = {
    "normal": (_normal, _normal_density),
    "laplace": (_laplace, _laplace_density),
    "logistic": (_logistic, _logistic_density),
    "student": (_student, _student_density),
}
"""The logarithms of each family's distribution function, up to its centre, and of its density, of
location 0 and scale 1, at the values and degrees of freedom given."""
