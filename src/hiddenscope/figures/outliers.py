"""Outliers: the largest magnitudes by depth, and where in site × channel they sit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments
from hiddenscope.analysis.largest import largest_map
from hiddenscope.errors import FigureError
from hiddenscope.figures.prepared import Prepared, Subject, span_of, subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr

NUMBERED = 8
"""At most this many channels are numbered above the map: outliers, then what stands out."""
LINES = {
    "top1": "largest",
    "top2": "second",
    "top3": "third",
    "median": "median of all tokens",
}
"""Columns of the magnitudes that are drawn, and what they are called."""
FAR = 30.0
"""Where the colours of the map end, in multiples of the median channel's largest magnitude."""


@dataclass(frozen=True, kw_only=True)
class LargestMagnitudes(Prepared):
    """The largest magnitudes by depth and by channel.

    Attributes
    ----------
    sites : list of str
    magnitudes : DataFrame[site]
        As `hiddenscope.analysis.magnitudes` returns it.
    relative : DataFrame[site, channel]
        As `hiddenscope.analysis.largest.largest_map` returns it.
    channels : int
        Of a hidden state.
    numbered : list of int
        The channels to number.
    loud : list of int
        Those that stand out in the whole profile, the most first.
    range : (float, float) or None
        Of the magnitudes, where it is not that of all of them.
    log : bool
        Whether the axis of the magnitudes is logarithmic.
    """

    sites: list[str]
    magnitudes: pd.DataFrame
    relative: pd.DataFrame
    channels: int
    numbered: list[int]
    loud: list[int]
    range: tuple[float, float] | None
    log: bool


def prepare(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    channels: Sequence[int] | None = None,
    range: tuple[float, float] | None = None,
    log: bool = True,
    massive: float | None = None,
    ratio: float | None = None,
    outlier: float | None = None,
    outlier_rms: float | None = None,
    site_share: float | None = None,
    token_share: float | None = None,
) -> LargestMagnitudes:
    """Draw the three largest magnitudes and the median by depth, and a map by channel.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    channels : sequence of int, optional
        Those to number; by default outliers, and those that stand out.
    range : (float, float), optional
        Of the magnitudes; by default all of them.
    log : bool
        Whether the axis of the magnitudes is logarithmic.
    massive, ratio, outlier, outlier_rms, site_share, token_share : float, optional
        Thresholds, as in `hiddenscope.analysis.outliers`.
    """
    s = subject(tree, view, sites, "extremes")
    table = analysis.magnitudes(s.stream, view).loc[s.sites]
    if not (table.to_numpy(np.float64) > 0).any():
        msg = f"every state in the view {view!r} is zero: there are no magnitudes to draw"
        raise FigureError(msg)
    found = analysis.outliers(
        s.stream,
        view,
        massive=massive,
        ratio=ratio,
        outlier=outlier,
        outlier_rms=outlier_rms,
        site_share=site_share,
        token_share=token_share,
    )
    span = span_of(range, log=log)
    named = None if channels is None else arguments.channels("channels", channels, s.channels)
    return LargestMagnitudes(
        title=f"Largest magnitudes, {s.model}",
        claim=f"{analysis.massive_words(found, 2)}. {analysis.channel_words(found)}",
        caption=s.caption("second and third: among the 8 largest values kept per channel"),
        sites=s.sites,
        magnitudes=table,
        relative=largest_map(s.stream, view).loc[s.sites],
        channels=s.channels,
        numbered=_named(s, found) if named is None else named,
        loud=analysis.outstanding_channels(s.stream) if named is None else named,
        range=span,
        log=bool(log),
    )


def _named(s: Subject, found: analysis.Outliers) -> list[int]:
    """Return the channels to number: those of the claim first, then those that stand out."""
    outliers = [] if found.notes else list(found.channels.index)
    outstanding = analysis.standing_out(s.stream, s.view, s.sites).index
    every = (*found.massive_channels.index[:NUMBERED], *outliers, *outstanding)
    return list(dict.fromkeys(int(c) for c in every))[:NUMBERED]
