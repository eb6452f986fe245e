"""The norms of hidden states through depth, first tokens in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, strata
from hiddenscope.errors import FigureError
from hiddenscope.figures.depth import Banded, band_levels, bands_of, bands_words
from hiddenscope.figures.prepared import Subject, far_apart, span_of, subject

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

NAMES = {"l2": "L2 norm", "linf": "largest magnitude"}
APART = (strata.FIRST, strata.MASSIVE)
"""The strata that have a line of their own."""


@dataclass(frozen=True, kw_only=True)
class Norms(Banded):
    """Quantiles of the norms by site.

    Attributes
    ----------
    name : str
        What the norm is called.
    apart : DataFrame[site, stratum]
        The median norm of first tokens and of massive tokens, where the profile has them.
    range : (float, float) or None
        Of the y axis, where it is not that of all norms.
    log : bool
        Whether the y axis is logarithmic.
    """

    name: str
    apart: pd.DataFrame
    range: tuple[float, float] | None
    log: bool


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    norm: str = "l2",
    range: tuple[float, float] | None = None,
    log: bool | None = None,
) -> Norms:
    """Draw the norms of hidden states through depth as nested bands, first tokens as a line.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens the bands hold. First tokens and tokens with massive activations have lines
        of their own, whatever the view.
    sites : str or list of str, optional
    norm : {'l2', 'linf'}
        The L2 norm of each hidden state, or its largest magnitude.
    range : (float, float), optional
        Of the y axis; by default all norms.
    log : bool, optional
        Whether the y axis is logarithmic; by default where the norms are far apart.
    """
    s = subject(tree, view, sites, "norms")
    tokens = int(analysis.norms(s.stream, norm, 0.5, view).loc[s.sites, "tokens"].max())
    kept = bands_of(tokens)
    table = analysis.norms(s.stream, norm, band_levels(kept), view).loc[s.sites]
    values = table.drop(columns="tokens").to_numpy(np.float64)
    low, high = values[:, : len(kept)], values[:, len(kept) :][:, ::-1]
    apart = _apart(s, norm)
    everything = np.concatenate([values.ravel(), apart.to_numpy(np.float64).ravel()])
    if not (everything > 0).any():
        msg = f"every state in the view {view!r} is zero: there are no norms to draw"
        raise FigureError(msg)
    logarithmic = far_apart(everything) if log is None else bool(log)
    return Norms(
        title=f"Norms of hidden states through depth, {s.model}",
        claim=analysis.norm_words(s.stream, view, s.sites, norm),
        caption=s.caption(
            bands_words(kept, "the tokens"),
            f"lines: the median of {_lines(apart)}" if len(apart.columns) else "",
        ),
        sites=s.sites,
        name=NAMES[norm],
        shares=kept,
        low=low,
        high=high,
        apart=apart,
        range=span_of(range, log=logarithmic),
        log=logarithmic,
    )


def _apart(s: Subject, norm: str) -> pd.DataFrame:
    """Return the medians of the strata that have lines of their own."""
    held = analysis.tokens(s.stream)
    shown = analysis.strata_of(s.stream).select(s.view)
    names = [k for k in APART if held.get(k) and shown != (k,)]
    columns = {k: analysis.norms(s.stream, norm, 0.5, k).loc[s.sites, "q0.5"] for k in names}
    table = analysis.norms(s.stream, norm, 0.5).loc[s.sites, []].assign(**columns)
    return table.dropna(axis="columns", how="all")


def _lines(apart: pd.DataFrame) -> str:
    counted = {strata.FIRST: "first tokens", strata.MASSIVE: "tokens with massive activations"}
    return " and of ".join(counted[str(k)] for k in apart)
