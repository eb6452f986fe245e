"""The ridge, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures.matplotlib.artists import stairs
from hiddenscope.figures.matplotlib.axis import label_sites, value_axis
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import MM, SINGLE, TICK
from hiddenscope.figures.places import places
from hiddenscope.figures.ridge import FILL, height
from hiddenscope.sites import Site
from hiddenscope.words import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Places
    from hiddenscope.figures.ridge import Ridge


def draw(shown: Ridge, look: Look) -> Page:
    """Draw a row for each site, behind its density a normal."""
    row = float(np.clip(150 / len(shown.sites), 2.3, 6.4))
    where = places(shown.sites, 0.25)
    page = Page(look, SINGLE, row * where.span + 12, shown)
    (axes,) = page.axes((1, 1))
    table, peaks = shown.table, shown.table.attrs["sites"]["peak"]
    colours = page.site_colours(shown.sites)
    for i, site in enumerate(shown.sites):
        base = float(where.at[i]) + 0.5
        line: dict[str, Any] = {"color": page.grey(0.559), "linewidth": 0.4}
        axes.axhline(base, zorder=1, gid=f"base:{site}", **line)
        axes.axhline(
            base - FILL / 2, zorder=3, linestyle=(0, (1, 2)), gid=f"thousandth:{site}", **line
        )
        part = table[table["site"] == site]
        if not part.empty:
            top = float(peaks[site])
            _row(page, axes, part, base=base, top=top, colour=colours[site])
    axes.set_ylim(where.at[-1] + 0.55, where.at[0] - 0.6)
    value_axis(
        axes.xaxis, shown.scale, table.attrs["low"], table.attrs["high"], table.attrs["linear"]
    )
    axes.set_xlabel(shown.label)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    names = [Site.parse(site).label for site in shown.sites]
    label_sites(axes.yaxis, where, row * page.down * MM * 72, size=TICK, across=False, labels=names)
    _widths(page, axes, where, shown, row * page.down * MM * 72)
    return page


def _row(
    page: Page,
    axes: Axes,
    part: pd.DataFrame,
    *,
    base: float,
    top: float,
    colour: ColorType,
) -> None:
    site = part["site"].iloc[0]
    edges = np.append(part["left"].to_numpy(), part["right"].to_numpy()[-1])
    tall = height(part["density"].to_numpy(), top)
    normal = height(part["normal"].to_numpy(), top)
    middle = (edges[:-1] + edges[1:]) / 2
    axes.fill_between(
        middle,
        base,
        base - normal,
        color=page.grey(0.847),
        linewidth=0,
        zorder=1.5,
        gid=f"grey:{site}",
    )
    stairs(
        axes,
        base - tall,
        edges,
        baseline=base,
        fill=True,
        color=colour,
        alpha=0.82,
        linewidth=0,
        zorder=2,
        gid=f"density:{site}",
    )
    axes.plot(
        middle,
        base - normal,
        color=page.ink,
        linewidth=0.45,
        alpha=0.8,
        zorder=2.5,
        gid=f"normal:{site}",
    )


def _widths(page: Page, axes: Axes, where: Places, shown: Ridge, per_unit: float) -> None:
    """Write every site's scale to the right of its row, thinned like the labels."""
    step = next(n for n in (1, 2, 4, 5, 10, 20, 50) if n * per_unit >= 1.15 * TICK)
    across = axes.get_yaxis_transform()
    for i in where.shown(step):
        axes.text(
            1.02,
            where.at[i],
            f"{shown.unit} {number(float(shown.widths[i]))}",
            transform=across,
            size=TICK,
            color=page.muted,
            va="center",
        )
