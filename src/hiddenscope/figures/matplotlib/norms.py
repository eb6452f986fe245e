"""Norms through depth, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.figures.matplotlib.artists import site_curve
from hiddenscope.figures.matplotlib.axis import magnitude_axis, sites_across
from hiddenscope.figures.matplotlib.bands import bands, name_bands
from hiddenscope.figures.matplotlib.depth import BODY, WIDE
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import MM, SINGLE
from hiddenscope.figures.places import places
from hiddenscope.strata import FIRST, MASSIVE

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.norms import Norms

LINES = {FIRST: ("first tokens", "-", "o"), MASSIVE: ("massive tokens", "--", "s")}


def draw(shown: Norms, look: Look) -> Page:
    """Draw nested bands, and lines of the tokens that are unlike all others."""
    page = Page(look, SINGLE, BODY, shown)
    (axes,) = page.axes((1, 1))
    where = places(shown.sites, 0.4 + 0.085 * len(shown.sites))
    bands(page, axes, where, shown)
    colours = {FIRST: page.first, MASSIVE: page.highlight(0)}
    for stratum, values in shown.apart.items():
        name, dash, marker = LINES[str(stratum)]
        site_curve(
            axes,
            where,
            values,
            color=colours[str(stratum)],
            linestyle=dash,
            marker=marker,
            label=name,
            gid=f"line:{stratum}",
        )
    drawn = np.hstack([shown.low, shown.high, shown.apart.to_numpy(np.float64)])
    magnitude_axis(axes, drawn, log=shown.log, span=shown.range)
    sites_across(axes, where, WIDE * page.across * MM * 72)
    axes.set_ylabel(shown.name + " (log)" * shown.log)
    name_bands(page, axes, shown, BODY * page.down * 0.8 * MM * 72)
    if len(shown.apart.columns):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)
    return page
