"""The norm of hidden states by position in the window, position 0 in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, far_apart, span_of, subject

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LONG = 64
"""From this position on a bucket holds several, and the x axis is logarithmic."""


@dataclass(frozen=True, kw_only=True)
class Positions(Prepared):
    """Norms by position.

    Attributes
    ----------
    sites : list of str
    places : ndarray[position] of float64
        The first position of each bucket that holds tokens of the view.
    norms : ndarray[site, position] of float64
        The root mean square of the tokens' L2 norms.
    start : ndarray[site] of float64
        The same at position 0 over all tokens, whatever the view; NaN where there are none.
    last : int
        The last position that begins a bucket.
    x : {'linear', 'log'}
        The scale of the x axis.
    range : (float, float) or None
        Of the y axis, where it is not that of all norms.
    log : bool
        Whether the y axis is logarithmic.
    """

    sites: list[str]
    places: Floats
    norms: Floats
    start: Floats
    last: int
    x: str
    range: tuple[float, float] | None
    log: bool


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    x: str | None = None,
    range: tuple[float, float] | None = None,
    log: bool | None = None,
) -> Positions:
    """Draw the norm of hidden states by position in the window, position 0 as a ring.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens the curves hold. Position 0 is shown whatever the view.
    sites : str or list of str, optional
    x : {'linear', 'log'}, optional
        By default logarithmic where windows are longer than 64 tokens; position 0 is in sight.
    range : (float, float), optional
        Of the y axis; by default all norms.
    log : bool, optional
        Whether the y axis is logarithmic; by default where the norms are far apart.
    """
    arguments.check({"x": arguments.optional(arguments.TEXT)}, {"x": x})
    if x not in {None, "linear", "log"}:
        msg = f"unknown x {x!r}: choose linear or log"
        raise FigureError(msg)
    s = subject(tree, view, sites, "positions")
    table = analysis.positions(s.stream, view).sel(site=s.sites)
    held = table.isel(position=np.flatnonzero(table["tokens"].values))
    if not held.sizes["position"]:
        msg = f"no token of the view {view!r} is finite at every site of the profile"
        raise FigureError(msg)
    whole = analysis.positions(s.stream, "all").sel(site=s.sites)
    start, last = whole["norm"].values[:, 0], int(whole["start"][-1])
    norms = held["norm"].values
    if not (norms > 0).any():
        msg = f"every state in the view {view!r} is zero: there are no norms to draw"
        raise FigureError(msg)
    logarithmic = far_apart(np.concatenate([norms.ravel(), start])) if log is None else bool(log)
    inside = int(held["start"][0]) == 0
    return Positions(
        title=f"Norm of hidden states by position, {s.model}",
        claim=analysis.position_words(s.stream, view, s.sites),
        caption=s.caption(
            "root mean square of the L2 norms",
            "rings: position 0" + ", left out of the curves" * (not inside),
            f"from position {LONG} on 8 points for each doubling" if last > LONG else "",
        ),
        sites=s.sites,
        places=held["start"].values.astype(np.float64),
        norms=norms,
        start=start,
        last=last,
        x=x or ("log" if last >= LONG else "linear"),
        range=span_of(range, log=logarithmic),
        log=logarithmic,
    )
