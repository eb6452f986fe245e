"""The wing, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.figures.matplotlib.artists import site_curve
from hiddenscope.figures.matplotlib.axis import label_sites
from hiddenscope.figures.matplotlib.key import head, key
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import DOUBLE, TICK
from hiddenscope.figures.places import places

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.wing import Wing

LINES = {
    "next": ("with the next site", "-", "o"),
    "embed": ("with embed", "--", "s"),
    "final_norm": ("with final norm", ":", "^"),
}


def draw(shown: Wing, look: Look) -> Page:
    """Draw a curve for each site on the left, three lines of interest on the right."""
    page = Page(look, DOUBLE, 48, shown)
    left, right = page.axes((1, 2), sharey=True)
    (low, high), step = shown.range, shown.step
    where = places(shown.sites, 0.4)
    colours = page.site_colours(shown.sites)
    for i in where.shown(step):
        site = shown.sites[i]
        site_curve(
            left, where, shown.matrix[i], dotted=step == 1, color=colours[site], gid=f"wing:{site}"
        )
    named = {"next": page.points, **page.site_colours(["embed", "final_norm"])}
    for column, (name, dash, marker) in LINES.items():
        values = shown.lines[column].to_numpy(np.float64)
        if np.isfinite(values).any():
            site_curve(
                right,
                where,
                values,
                color=named[column],
                linestyle=dash,
                marker=marker,
                label=name,
                gid=f"line:{column}",
            )
    for axes, name in (
        (left, "with every site (itself: 1), one curve per site"),
        (right, "with one site"),
    ):
        axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axes.set_xlim(where.at[0] - 0.6, where.at[-1] + 0.6)
        axes.grid(axis="y", color=page.grey(0.882), linewidth=0.4)
        axes.set_xlabel(where.title())
        room = page.room(axes, 66, 2)
        head(axes, name, room, *(axes.get_legend_handles_labels() if axes is right else ()))
        label_sites(axes.xaxis, where, room / (where.span + 0.2), size=TICK)
    left.set_ylabel("R²")
    key(page, left, shown.sites, titled=False)
    return page
