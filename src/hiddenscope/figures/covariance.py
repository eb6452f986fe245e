"""The article's covariance of every pair of sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments, words
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, subject
from hiddenscope.figures.r2 import trunk_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Covariance(Prepared):
    """The covariance matrix.

    Attributes
    ----------
    sites : list of str
    values : ndarray[site, site] of float64
    reach : float
        The largest magnitude: the colours go from −`reach` to `reach`.
    linear : float
        Up to this magnitude colours are linear, beyond logarithmic.
    """

    sites: list[str]
    values: NDArray[np.float64]
    reach: float
    linear: float


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    without: Sequence[int] = (),
    range: tuple[float, float] | None = None,
) -> Covariance:
    """Draw the pooled covariance of every pair of sites.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    without : sequence of int
        Channels to leave out.
    range : (float, float), optional
        Where the colours end, on either side of 0: the larger magnitude counts.
    """
    s = subject(tree, view, sites, "cross")
    left = arguments.numbers("without", without, whole=True).tolist()
    values = trunk_table(analysis.covariance(s.stream, view, without=left), s.sites).values
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(sizes):
        msg = f"the states in the view {view!r} do not vary: there is no covariance to draw"
        raise FigureError(msg)
    reach = float(sizes.max())
    linear = max(float(sizes.min()), reach * 1e-5)
    return Covariance(
        title=f"Covariance between sites, {s.model}",
        claim=analysis.variance_words(s.stream, view, s.sites, left),
        caption=s.caption(
            f"colour symmetric-logarithmic, linear within ±{words.number(linear)}",
            f"without {words.channels(left)}" if left else "",
            "diagonal: variance",
        ),
        sites=s.sites,
        values=values,
        reach=reach if range is None else max(map(abs, arguments.limits("range", range))),
        linear=linear,
    )


def short(value: float) -> str:
    """Write a covariance with its sign and two digits."""
    size = abs(value)
    if size < 0.005:
        return "0"
    unit, scale = ("M", 1e6) if size >= 9.95e5 else ("k", 1e3) if size >= 995 else ("", 1.0)
    size /= scale
    digits = 0 if size >= 9.95 else 1 if size >= 0.995 else 2
    return ("−" if value < 0 else "") + f"{size:.{digits}f}".removeprefix("0") + unit
