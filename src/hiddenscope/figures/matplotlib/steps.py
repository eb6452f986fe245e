"""A series, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from hiddenscope.figures.matplotlib.artists import site_map
from hiddenscope.figures.matplotlib.key import key
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.style import DOUBLE
from hiddenscope.figures.places import SET_OFF
from hiddenscope.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.steps import Steps


def draw(shown: Steps, look: Look) -> Page:
    """Draw a curve for each site on the left, a map of site × step on the right."""
    page = Page(look, DOUBLE, 56, shown)
    left, right = page.axes((1, 2), width_ratios=(1, 1.1))
    colours = page.site_colours(shown.sites)
    for site, values in zip(shown.sites, shown.values, strict=True):
        left.plot(
            shown.places,
            values,
            color=colours[site],
            linewidth=1.1 if site in SET_OFF else 0.8,
            marker="o",
            markersize=2.0,
            gid=f"line:{site}",
        )
    if shown.log:
        left.set_yscale("log")
        left.yaxis.set_minor_formatter(NullFormatter())
    left.yaxis.set_major_formatter(FuncFormatter(tick))
    if shown.log_steps:
        # Step 0 has a place too, to the left of the smallest one.
        smallest = float(shown.places[shown.places > 0].min())
        left.set_xscale("symlog", linthresh=smallest)
        left.set_xlim(min(float(shown.places.min()), smallest) - 0.15 * smallest)
        left.xaxis.set_minor_locator(NullLocator())
    named = _few(len(shown.labels))
    left.set_xticks(shown.places[named], [shown.labels[i] for i in named])
    left.set_xlabel("step")
    left.set_ylabel(shown.name + (" (log)" if shown.log else ""))
    left.grid(axis="y", color=page.grey(0.882), linewidth=0.4)
    key(page, left, shown.sites)
    _map(page, right, shown)
    return page


def _map(page: Page, axes: Axes, shown: Steps) -> None:
    known = shown.values[np.isfinite(shown.values)]
    scale = LogNorm if shown.log else Normalize
    norm = scale(float(known.min()), float(known.max()))
    x = np.arange(len(shown.labels) + 1) - 0.5
    mesh = site_map(page, axes, shown.sites, shown.values, x=x, norm=norm, high=44)
    named = _few(len(shown.labels))
    axes.set_xticks(named, [shown.labels[i] for i in named])
    axes.set_xlabel("step")
    page.colorbar(mesh, axes, shown.name + (" (log)" if shown.log else ""), aspect=28, pad=0.02)


def _few(steps: int) -> NDArray[np.int64]:
    """Return which of the steps get a label: the first, the last and some between."""
    return np.unique(np.linspace(0, steps - 1, 6).round().astype(np.int64))
