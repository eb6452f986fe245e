"""A map with a row for each site for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures.places import places
from hiddenscope.figures.plotly.axes import site_ticks
from hiddenscope.figures.plotly.matrix import cells
from hiddenscope.figures.plotly.values import coarse, escaped, typed
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from hiddenscope.figures.plotly.sheet import Sheet

    Floats = NDArray[np.float64]


def site_map(
    sheet: Sheet,
    panel: int,
    sites: list[str],
    values: Floats,
    *,
    edges: Any,
    names: Sequence[str],
    told: str,
    at: Callable[[Floats], Floats] = np.asarray,
) -> None:
    """Draw a row for each site, `embed` and `final_norm` a little apart.

    Parameters
    ----------
    sheet : Sheet
    panel : int
    sites : list of str
    values : ndarray[site, column] of float64
        NaN where there is nothing to draw.
    edges : array_like[column + 1] of float64
        Where the columns begin and end.
    names : sequence of str
        Of the columns, escaped already.
    told : str
        Template of what is said of a cell below its names; its value is ``customdata``, to three
        digits.
    at : callable
        Where values stand on the scale of colours.
    """
    where = places(sites, 0.25)
    rows, index = cells(where)
    spaced = np.where((index >= 0)[:, None], values[index], np.nan)
    columns = np.asarray(edges, np.float64)
    labels = [escaped(Site.parse(site).label) for site in sites]
    centres = (columns[:-1] + columns[1:]) / 2
    sheet.name_cells(panel, x=(centres, names), y=(where.at, labels))
    sheet.add(
        "heatmap",
        panel,
        x=typed(columns),
        y=typed(rows),
        z=typed(coarse(at(spaced))),
        customdata=typed(coarse(spaced)),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate=f"<b>%{{y}}</b>, %{{x}}<br>{told}",
    )
    sheet.axis("y", panel, range=[float(where.at[-1]) + 0.55, float(where.at[0]) - 0.55])
    sheet.axis("y", panel, showgrid=False)
    sheet.axis("y", panel, **site_ticks(where, sheet.high, across=False, labels=labels))
