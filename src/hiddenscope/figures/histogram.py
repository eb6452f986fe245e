"""The article's histogram: one curve a site, logarithmic counts, one range for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hiddenscope import analysis
from hiddenscope.analysis import drawn
from hiddenscope.errors import FigureError
from hiddenscope.figures.axis import SET_OFF, label_sites, places, value_axis
from hiddenscope.figures.style import (
    CELL,
    MUTED,
    SINGLE,
    TICK,
    number,
    sheet,
    site_colours,
    subject,
    tick,
)
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hiddenscope.figures.style import Subject

FEW = 10
"""Bins with fewer values are drawn faint: their height is mostly chance."""


def draw(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    bins: int = 200,
    x: str | None = None,
) -> Figure:
    """Draw the distribution of each site's activations on one range, with a logarithmic y axis.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    bins : int
        Over the common range, which leaves out at most 1 in 10,000 of a site's values on either
        side; what lies beyond is counted at the edge.
    x : {'linear', 'asinh'}, optional
        By default linear, or asinh where the widest site is more than ten times as wide as the
        narrowest block. On a linear axis y is the share of values in a bin, on an asinh axis,
        whose bins are not equally wide, their density.
    """
    s = subject(tree, view, sites)
    scale = x or analysis.scale_of(s.stream, view, s.sites)
    if scale not in {"linear", "asinh"}:
        msg = f"unknown x {scale!r}: choose linear or asinh"
        raise FigureError(msg)
    table = drawn.densities(s.stream, scale, bins, view, s.sites)
    if table.empty:
        raise FigureError(no_density(view))
    y = "share" if scale == "linear" else "density"
    caption = s.caption(
        "one range: beyond it about 1 in 10,000 of a site's values at most, on either side",
        f"faint: fewer than {FEW} values in the bin",
    )
    figure = sheet(SINGLE, 48, f"Histogram of activations, {s.model}", spread_claim(s), caption)
    axes = figure.subplots()
    colours = site_colours(s.sites)
    for site, part in table.groupby("site", sort=False):
        edges = np.append(part["left"].to_numpy(), part["right"].to_numpy()[-1])
        values = part[y].where(part["count"] > 0).to_numpy(np.float64)
        strong = part[y].where(part["count"] >= FEW).to_numpy(np.float64)
        front = 3 if site in SET_OFF else 2
        wide = 1.1 if site in SET_OFF else 0.7
        style: dict[str, Any] = {"baseline": None, "color": colours[str(site)], "zorder": front}
        axes.stairs(values, edges, alpha=0.3, linewidth=0.5, gid=f"all:{site}", **style)
        axes.stairs(strong, edges, linewidth=wide, gid=f"many:{site}", **style)
    filled = table.loc[table["count"] > 0, y]
    axes.set_yscale("log")
    axes.set_ylim(filled.min() * 0.7, filled.max() * 1.6)
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
    value_axis(axes.xaxis, scale, table.attrs["low"], table.attrs["high"], table.attrs["linear"])
    axes.set_xlabel("activation" if scale == "linear" else "activation (asinh scale)")
    axes.set_ylabel(
        "share of values in the bin (log)" if scale == "linear" else "density per unit (log)"
    )
    for (side, align), words in zip(
        ((0.01, "left"), (0.99, "right")), beyond_words(table.attrs["sites"]), strict=True
    ):
        axes.text(
            *(side, 0.98, words),
            transform=axes.transAxes,
            size=CELL,
            color=MUTED,
            ha=align,
            va="top",
        )
    key(figure, axes, s.sites)
    return figure


def no_density(view: str) -> str:
    """Say why there is no distribution to draw."""
    return f"the states in the view {view!r} do not vary at these sites: there is no density"


def beyond_words(sites: pd.DataFrame) -> tuple[str, str]:
    """Say how many values lie below and above a range, and how far the farthest goes."""
    texts = []
    for column, end, farthest in (("below", "min", "idxmin"), ("above", "max", "idxmax")):
        count = int(sites[column].sum())
        site = getattr(sites[end], farthest)()
        values = f"{count:,} value{'s' * (count != 1)} beyond"
        far = f"farthest {number(float(sites.loc[site, end]))}\n({Site.parse(str(site)).label})"
        texts.append(f"{values},\n{far}" if count else "")
    return texts[0], texts[1]


def key(figure: Figure, axes: Axes, sites: list[str], *, titled: bool = True) -> None:
    """Name the colours: a bar for the blocks, lines above the axes for the other sites."""
    colours = site_colours(sites)
    blocks = [site for site in sites if site not in SET_OFF]
    named = [site for site in sites if site in SET_OFF or len(blocks) == 1]
    lines = [Line2D([], [], color=colours[site], linewidth=1.4) for site in named]
    if named:
        axes.legend(
            lines,
            [Site.parse(site).label for site in named],
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=3,
            borderpad=0.1,
            borderaxespad=0.1,
            handlelength=1.4,
            columnspacing=1.4,
        )
    if len(blocks) < 2:
        return
    where = places(blocks, 0.0)
    scale = ScalarMappable(
        BoundaryNorm(np.arange(len(blocks) + 1) - 0.5, len(blocks)),
        ListedColormap([colours[site] for site in blocks]),
    )
    bar = figure.colorbar(scale, ax=axes, aspect=28, pad=0.015, ticks=[])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()
    height = axes.get_window_extent().height / figure.dpi * 72
    label_sites(bar.ax.yaxis, where, 0.8 * height / len(blocks), size=TICK, across=False)
    if titled:
        bar.set_label(where.title())


def spread_claim(s: Subject) -> str:
    """Say how wide the distributions are, from this profile's own numbers."""
    std: pd.Series[float] = analysis.moments(s.stream, s.view).loc[s.sites, "std"]
    blocks = std[[site for site in s.sites if site not in SET_OFF]].dropna()
    parts = []
    if "embed" in s.sites:
        parts.append(f"{number(float(std['embed']))} at embed")
    if len(blocks) == 1:
        parts.append(f"{number(float(blocks.iloc[0]))} at {Site.parse(str(blocks.index[0])).label}")
    elif len(blocks):
        low, high = Site.parse(str(blocks.idxmin())).label, Site.parse(str(blocks.idxmax())).label
        parts.append(
            f"{number(float(blocks.min()))} ({low}) to {number(float(blocks.max()))} ({high})"
        )
    if "final_norm" in s.sites:
        parts.append(f"{number(float(std['final_norm']))} at final norm")
    return f"σ {', '.join(parts)}"
