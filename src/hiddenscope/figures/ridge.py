"""A row a site: the density of its values, logarithmic, with a normal behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from hiddenscope import analysis
from hiddenscope.analysis import drawn
from hiddenscope.errors import FigureError
from hiddenscope.figures.axis import asinh_ticks, label_sites, places
from hiddenscope.figures.style import (
    INK,
    MM,
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
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hiddenscope.figures.axis import Floats, Places

DECADES = 6
"""A row spans the site's peak and this many decades below it."""
FILL = 0.86
"""Share of a row's height that the peak reaches."""


def draw(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    bins: int = 160,
    x: str = "sigma",
) -> Figure:
    """Draw the density of each site's activations as a row, logarithmic, behind it a normal.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    bins : int
        Over the common range.
    x : {'sigma', 'raw'}
        In standard deviations from the site's mean, or activations on a symmetric-logarithmic
        axis.
    """
    s = subject(tree, view, sites)
    table = drawn.densities(s.stream, x, bins, view, s.sites)
    if table.empty:
        msg = f"the states in the view {view!r} do not vary at these sites: there is no density"
        raise FigureError(msg)
    moments = analysis.moments(s.stream, view).loc[s.sites]
    row = float(np.clip(150 / len(s.sites), 2.3, 6.4))
    where = places(s.sites, 0.25)
    caption = s.caption(
        "blue and orange: density, grey: a normal of the same mean and σ",
        f"each row reaches {DECADES} decades below a normal's peak, dotted line: 1/1,000 of it",
        "x ends at the outermost 10⁻⁵ quantiles of all sites" if x == "sigma" else "",
    )
    heavy = moments["excess_kurtosis"]
    peak = heavy.idxmax() if heavy.notna().any() else None
    claim = (
        f"heaviest tails: {Site.parse(str(peak)).label}, excess kurtosis "
        f"{number(float(heavy.max()))} (a normal has 0)"
        if peak
        else ""
    )
    title = f"Density of activations by site, {s.model}"
    figure = sheet(SINGLE, row * where.span + 12, title, claim, caption)
    axes = figure.subplots()
    colours = site_colours(s.sites)
    low, high = table.attrs["low"], table.attrs["high"]
    for i, site in enumerate(s.sites):
        base = float(where.at[i]) + 0.5
        part = table[table["site"] == site]
        axes.axhline(base, color="#9a9a9a", linewidth=0.4, zorder=1)
        axes.axhline(
            base - FILL / 2, color="#9a9a9a", linewidth=0.4, linestyle=(0, (1, 2)), zorder=3
        )
        if part.empty:
            continue
        edges = np.append(part["left"].to_numpy(), part["right"].to_numpy()[-1])
        top = float(part["normal"].max())
        tall = _height(part["density"].to_numpy(), top)
        normal = _height(part["normal"].to_numpy(), top)
        middle = (edges[:-1] + edges[1:]) / 2
        axes.fill_between(middle, base, base - normal, color="#dcdcdc", linewidth=0, zorder=1.5)
        axes.stairs(
            base - tall,
            edges,
            baseline=base,
            fill=True,
            color=colours[site],
            alpha=0.82,
            linewidth=0,
            zorder=2,
            gid=f"density:{site}",
        )
        axes.plot(middle, base - normal, color=INK, linewidth=0.45, alpha=0.8, zorder=2.5)
    axes.set_ylim(where.at[-1] + 0.55, where.at[0] - 0.6)
    if x == "raw":
        axes.set_xscale("symlog", linthresh=table.attrs["linear"], linscale=0.6)
        axes.xaxis.set_major_locator(FixedLocator(asinh_ticks(low, high, table.attrs["linear"])))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel(
        "(activation − mean) / σ of the site" if x == "sigma" else "activation (symlog)"
    )
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    names = [Site.parse(site).label for site in s.sites]
    label_sites(axes.yaxis, where, row * MM * 72, size=TICK, across=False, labels=names)
    _sigmas(axes, where, moments["std"].to_numpy(np.float64), row * MM * 72)
    return figure


def _height(density: Floats, top: float) -> Floats:
    """Turn densities into heights in rows: `FILL` at the normal's peak, 0 `DECADES` below."""
    with np.errstate(divide="ignore"):
        decades = np.log10(density / top) / DECADES + 1
    return FILL * np.clip(decades, 0.0, 1.12)


def _sigmas(axes: Axes, where: Places, std: Floats, per_unit: float) -> None:
    """Write every site's σ to the right of its row, thinned like the labels."""
    step = next(n for n in (1, 2, 4, 5, 10, 20, 50) if n * per_unit >= 1.15 * TICK)
    across = axes.get_yaxis_transform()
    for i in where.shown(step):
        axes.text(
            1.02,
            where.at[i],
            f"σ {number(float(std[i]))}",
            transform=across,
            size=TICK,
            color=MUTED,
            va="center",
        )
