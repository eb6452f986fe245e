"""A matrix over sites for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.places import places
from hiddenscope.figures.plotly.axes import site_ticks
from hiddenscope.figures.plotly.defaults import CLEAR
from hiddenscope.figures.plotly.values import escaped, typed
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hiddenscope.figures.places import Places
    from hiddenscope.figures.plotly.sheet import Sheet

    Floats = NDArray[np.float64]


def cells(where: Places) -> tuple[Floats, NDArray[np.int64]]:
    """Return the edges of cells over sites, gaps between them included, and whose they are.

    Returns
    -------
    ndarray[cell + 1] of float64
    ndarray[cell] of int64
        The index of the site, −1 in a gap.
    """
    edges, index = [float(where.at[0]) - 0.5], []
    for i, at in enumerate(where.at):
        if at - 0.5 > edges[-1] + 1e-9:
            edges.append(float(at) - 0.5)
            index.append(-1)
        edges.append(float(at) + 0.5)
        index.append(i)
    return np.array(edges), np.array(index)


def matrix(
    sheet: Sheet,
    panel: int,
    sites: list[str],
    values: Floats,
    *,
    name: str,
    at: Callable[[Floats], Floats] = np.asarray,
    written: Callable[[float], str] | None = None,
) -> None:
    """Draw one matrix; `embed` and `final_norm` stand a little apart.

    Parameters
    ----------
    sheet : Sheet
    panel : int
    sites : list of str
    values : ndarray[site, site] of float64
        NaN cells are hatched.
    name : str
        What the values are.
    at : callable
        Where values stand on the scale of colours.
    written : callable, optional
        How a value is written in its cell.
    """
    where = places(sites, 0.35)
    edges, index = cells(where)
    spaced = np.full((len(index), len(index)), np.nan)
    held = np.flatnonzero(index >= 0)
    spaced[np.ix_(held, held)] = values
    names = [escaped(Site.parse(s).label) for s in sites]
    sheet.name_cells(panel, x=(where.at, names), y=(where.at, names))
    trace: dict[str, Any] = {}
    if written:
        texts = np.full(spaced.shape, "", object)
        for i, j in zip(*np.nonzero(np.isfinite(spaced)), strict=True):
            texts[i, j] = written(float(spaced[i, j]))
        trace = {"text": texts.tolist(), "texttemplate": "%{text}"}
    sheet.add(
        "heatmap",
        panel,
        x=typed(edges),
        y=typed(edges),
        z=typed(at(spaced)),
        customdata=typed(spaced),
        coloraxis="coloraxis",
        hoverongaps=False,
        xgap=0.5,
        ygap=0.5,
        hovertemplate=f"<b>%{{y}} × %{{x}}</b><br>{name} %{{customdata:,.4~r}}",
        **trace,
    )
    _hatch(sheet, panel, where, values)
    ends = [float(where.at[0]) - 0.55, float(where.at[-1]) + 0.55]
    plain = {"showline": False, "ticks": "", "showgrid": False}
    sheet.axis("x", panel, range=ends, title=where.title(), **plain)
    sheet.axis("y", panel, range=ends[::-1], **plain)
    sheet.vary_axis("x", panel, lambda room: site_ticks(where, room, across=True))
    sheet.vary_axis("y", panel, lambda room: site_ticks(where, room, across=False))


def _hatch(sheet: Sheet, panel: int, where: Places, values: Floats) -> None:
    """Hatch the cells that have no value."""
    rows, columns = np.nonzero(np.isnan(values))
    if not len(rows):
        return
    sheet.add(
        "bar",
        panel,
        x=typed(where.at[columns]),
        base=typed(where.at[rows] - 0.5),
        y=typed(np.ones(len(rows))),
        width=1.0,
        marker={
            "color": CLEAR,
            "line": {"width": 0},
            "pattern": {"shape": "/", "size": 6, "fgcolor": colours.GREY, "bgcolor": CLEAR},
        },
        hovertemplate="no variance",
        showlegend=False,
    )
    sheet.layout["barmode"] = "overlay"
