"""Through depth: nested bands between quantiles, embeddings and final norm set apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments
from hiddenscope.analysis import density
from hiddenscope.figures.prepared import Prepared, subject
from hiddenscope.words import counted

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHARES = (1.0, 0.999, 0.99, 0.9, 0.5)
"""What the bands hold, widest first."""


@dataclass(frozen=True, kw_only=True)
class Banded(Prepared):
    """Nested bands by site.

    Attributes
    ----------
    sites : list of str
    shares : tuple of float
        What each band holds, widest first.
    low, high : ndarray[site, band] of float64
        Where each band ends.
    """

    sites: list[str]
    shares: tuple[float, ...]
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Depth(Banded):
    """Quantiles of the values by site.

    Attributes
    ----------
    linear : float
        The linear part of the asinh axis.
    range : (float, float) or None
        Of the y axis, where it is not that of all values.
    """

    linear: float
    range: tuple[float, float] | None


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    range: tuple[float, float] | None = None,
) -> Depth:
    """Draw the quantiles of activations through depth as nested bands, on an asinh axis.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    range : (float, float), optional
        Of the y axis; by default all values.
    """
    s = subject(tree, view, sites)
    values = int(analysis.moments(s.stream, view).loc[s.sites, "tokens"].max()) * s.channels
    kept = bands_of(values)
    table = analysis.quantiles(s.stream, band_levels(kept), view, s.sites)
    missing = " and ".join(band_name(b) for b in SHARES if b not in kept)
    # Of so few values no band is left but that of all.
    middle = next((b for b in kept if b <= 0.99), 0.0)
    return Depth(
        title=f"Activations through depth, {s.model}",
        claim=analysis.reach_words(s.stream, view, s.sites, middle),
        caption=s.caption(
            bands_words(kept, "a site's values"),
            f"{counted(values, 'value')} per site: too few for {missing}" if missing else "",
            "asinh scale",
        ),
        sites=s.sites,
        shares=kept,
        low=table.values[:, : len(kept)],
        high=table.values[:, len(kept) :][:, ::-1],
        linear=density.linear_width(s.stream, view, s.sites),
        range=None if range is None else arguments.limits("range", range),
    )


def bands_of(count: int) -> tuple[float, ...]:
    """Return what the bands over so many values hold, widest first.

    A band that would leave out less than one value on either side is no band.
    """
    return tuple(b for b in SHARES if b == 1.0 or count * (1 - b) / 2 >= 1)


def bands_words(shares: tuple[float, ...], of: str) -> str:
    """Say what bands hold."""
    named = ", ".join(band_name(b) for b in shares[:0:-1])
    return f"bands hold {f'the middle {named} and ' * bool(named)}all of {of}"


def band_levels(shares: tuple[float, ...]) -> list[float]:
    """Return where bands begin, then in the opposite order where they end, as probabilities."""
    held = np.array(shares)
    levels: list[float] = np.concatenate([(1 - held) / 2, (1 + held[::-1]) / 2]).tolist()
    return levels


def band_name(share: float) -> str:
    """Say what a band holds: ``all``, ``99.9 %``."""
    return "all" if share == 1.0 else f"{100 * share:g} %"
