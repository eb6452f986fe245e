"""Bands between quantiles through depth for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.depth import band_name
from hiddenscope.figures.plotly.defaults import CLEAR
from hiddenscope.figures.plotly.values import escaped, lines, typed
from hiddenscope.sites import Site
from hiddenscope.words import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hiddenscope.figures.depth import Banded
    from hiddenscope.figures.places import Places
    from hiddenscope.figures.plotly.sheet import Sheet

    Floats = NDArray[np.float64]

BAND = "#2f7fd0"
LAYER = 0.27
"""Opacity of a band: where bands lie on each other their colour is stronger."""


def band(
    sheet: Sheet,
    where: Places,
    low: Floats,
    high: Floats,
    *,
    fillcolor: str,
    panel: int = 0,
    **meta: Any,
) -> None:
    """Fill the room between two lines: through the blocks, and a bar at each other site.

    Parameters
    ----------
    sheet : Sheet
    where : Places
    low, high : ndarray[site] of float64
        As they stand on the y axis.
    fillcolor : str
    panel : int
    **meta
        What the trace is called.
    """
    xs: list[Any] = []
    ys: list[Any] = []
    for run in where.runs:
        half = 0.4 * (len(run) == 1)
        at = where.at
        x = np.concatenate([at[run[:1]] - half, at[run[1:-1]], at[run[-1:]] + half])
        held = [run[0], *run[1:-1], run[-1]]
        # Forth along the upper line, back along the lower one.
        xs += [x, x[::-1], [np.nan]]
        ys += [high[held], low[held][::-1], [np.nan]]
    sheet.add(
        "scatter",
        panel,
        x=typed(np.concatenate(xs[:-1])),
        y=typed(np.concatenate(ys[:-1])),
        mode="lines",
        fill="toself",
        fillcolor=fillcolor,
        line={"width": 0},
        hoverinfo="skip",
        meta=meta,
    )


def bands(
    sheet: Sheet, where: Places, shown: Banded, *, at: Callable[[Any], Floats] = np.asarray
) -> None:
    """Draw nested bands, name them above the panel, and say what they are at each site.

    Parameters
    ----------
    sheet : Sheet
    where : Places
    shown : Banded
    at : callable
        Where values stand on the y axis.
    """
    chosen = sheet.colours([BAND])
    low, high = at(shown.low), at(shown.high)
    for i, share in enumerate(shown.shares):
        picked = chosen[round(i / max(len(shown.shares) - 1, 1) * (len(chosen) - 1))]
        ours = len(chosen) == 1
        fill = colours.clear(picked, LAYER if ours else 1.0)
        band(sheet, where, low[:, i], high[:, i], fillcolor=fill, band=share)
        # As it looks on top of the wider ones.
        seen = colours.clear(picked, 1 - (1 - LAYER) ** (i + 1) if ours else 1.0)
        square = {"symbol": "square", "size": 12, "color": seen}
        sheet.entry(band_name(share), mode="markers", marker=square)
    texts = [
        lines(
            [
                f"<b>{escaped(Site.parse(site).label)}</b>",
                *(
                    f"{band_name(share)}: {number(float(shown.low[i, j]))} to "
                    f"{number(float(shown.high[i, j]))}"
                    for j, share in enumerate(shown.shares)
                ),
            ]
        )
        for i, site in enumerate(shown.sites)
    ]
    # Wherever its column is pointed at, a site says its quantiles.
    sheet.add(
        "bar",
        x=typed(where.at),
        base=typed(low[:, 0]),
        y=typed(high[:, 0] - low[:, 0]),
        width=1.0,
        marker={"color": CLEAR, "line": {"width": 0}},
        customdata=texts,
        hovertemplate="%{customdata}",
        showlegend=False,
    )
