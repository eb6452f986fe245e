"""A matrix over sites, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from hiddenscope.figures.matplotlib.axis import label_sites
from hiddenscope.figures.matplotlib.style import CELL, INK, MM
from hiddenscope.figures.places import READABLE, places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from numpy.typing import NDArray

    from hiddenscope.figures.matplotlib.page import Page

    Floats = NDArray[np.float64]


def gap(sites: Sequence[str]) -> float:
    """Set `embed` and `final_norm` off so that their labels have room beside the last block's."""
    return 0.35 + 0.035 * max(len(sites) - READABLE, 0)


def matrix(
    page: Page,
    axes: Axes,
    sites: list[str],
    values: Floats,
    *,
    wide: float,
    norm: Normalize,
    colours: Colormap | str,
    written: Callable[[float], str] | None,
) -> QuadMesh:
    """Draw one matrix `wide` mm wide; `embed` and `final_norm` stand a little apart."""
    where = places(sites, gap(sites))
    n = len(sites)
    per_unit = wide * page.across * MM * 72 / where.span
    axes.set_facecolor(page.paper)
    mesh = QuadMesh(np.zeros((2, 2, 2)))
    # A mesh for every block of cells between which there is no gap.
    for rows in where.runs:
        for columns in where.runs:
            mesh = axes.pcolormesh(
                _borders(where.at[columns]),
                _borders(where.at[rows]),
                np.ma.masked_invalid(values[np.ix_(rows, columns)]),
                norm=norm,
                cmap=colours,
                edgecolors=page.paper,
                linewidth=0.3 if n <= READABLE else 0.0,
            )
    for i, j in zip(*np.nonzero(np.isnan(values)), strict=True):
        corner = (float(where.at[j]) - 0.5, float(where.at[i]) - 0.5)
        axes.add_patch(
            Rectangle(corner, 1, 1, hatch="////", fc=page.paper, ec=page.grey(0.555), lw=0)
        )
    if written:
        for i in range(n):
            for j in range(n):
                if np.isfinite(values[i, j]):
                    red, green, blue, _ = mesh.cmap(norm(values[i, j]))
                    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.52
                    axes.text(
                        where.at[j],
                        where.at[i],
                        written(float(values[i, j])),
                        size=CELL,
                        ha="center",
                        va="center_baseline",
                        color="white" if dark else INK,
                    )
    axes.set_xlim(where.at[0] - 0.55, where.at[-1] + 0.55)
    axes.set_ylim(where.at[-1] + 0.55, where.at[0] - 0.55)
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    label_sites(axes.xaxis, where, per_unit, size=CELL, upright=False)
    label_sites(axes.yaxis, where, per_unit, size=CELL, across=False)
    axes.set_xlabel(where.title())
    if len(where.runs) > 1:
        # Between the turned words at both ends, not below them.
        axes.xaxis.set_label_coords(0.5, -5.5 * CELL / 72 / MM / wide * 0.45)
    return mesh


def _borders(at: Floats) -> Floats:
    return np.append(at - 0.5, at[-1] + 0.5)
