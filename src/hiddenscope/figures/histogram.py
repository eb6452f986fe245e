"""The article's histogram: one curve a site, logarithmic counts, one range for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hiddenscope import analysis
from hiddenscope.figures.axis import SET_OFF, label_sites, places
from hiddenscope.figures.style import SINGLE, TICK, number, sheet, site_colours, subject, tick
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
) -> Figure:
    """Draw the histogram of each site's activations on one range, with a logarithmic y axis.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    bins : int
        Equal bins over the smallest range that holds every value.
    """
    s = subject(tree, view, sites)
    table = analysis.histogram(s.stream, bins, None, view, s.sites)
    width = number(float((table["right"] - table["left"]).median()))
    caption = s.caption(
        f"{table.sizes['bin']} bins of {width}, one range for all",
        f"faint: fewer than {FEW} values in the bin",
    )
    figure = sheet(SINGLE, 48, f"Histogram of activations, {s.model}", spread_claim(s), caption)
    axes = figure.subplots()
    edges = np.append(table["left"].values, table["right"].values[-1])
    colours = site_colours(s.sites)
    lowest = 1.0
    for site in s.sites:
        counts = table.sel(site=site).values.astype(np.float64)
        total = counts.sum()
        if not total:
            continue
        share = np.where(counts > 0, counts, np.nan) / total
        strong = np.where(counts >= FEW, share, np.nan)
        front = 3 if site in SET_OFF else 2
        wide = 1.1 if site in SET_OFF else 0.7
        style: dict[str, Any] = {"baseline": None, "color": colours[site], "zorder": front}
        axes.stairs(share, edges, alpha=0.3, linewidth=0.5, gid=f"all:{site}", **style)
        axes.stairs(strong, edges, linewidth=wide, gid=f"many:{site}", **style)
        lowest = min(lowest, 1 / total)
    axes.set_yscale("log")
    axes.set_ylim(lowest * 0.7, 1.3)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel("activation")
    axes.set_ylabel("share of values in the bin (log)")
    key(figure, axes, s.sites)
    return figure


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
