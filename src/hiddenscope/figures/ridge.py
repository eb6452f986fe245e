"""A row a site: the density of its values, logarithmic, with a normal behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis
from hiddenscope.analysis import drawn
from hiddenscope.errors import FigureError
from hiddenscope.figures.axis import label_sites, places, value_axis
from hiddenscope.figures.histogram import no_density
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
)
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType

    from hiddenscope.figures.axis import Floats, Places
    from hiddenscope.figures.style import Subject

NORMAL = 0.1
"""An excess kurtosis up to this is not called heavy tails: samples of a normal reach it."""
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
        Over the common range, which leaves out at most 1 in 10,000 of a site's values on either
        side.
    x : {'sigma', 'linear', 'asinh'}
        In standard deviations from the site's mean (where one value makes most of a σ, in a
        scale read off quantiles), or activations on a linear or an asinh axis.
    """
    s = subject(tree, view, sites)
    table = drawn.densities(s.stream, x, bins, view, s.sites)
    if table.empty:
        raise FigureError(no_density(view))
    scales = table.attrs["sites"]
    row = float(np.clip(150 / len(s.sites), 2.3, 6.4))
    where = places(s.sites, 0.25)
    robust = x == "sigma" and bool((scales["dominated"] >= drawn.DOMINATED).any())
    caption = s.caption(
        "blue and orange: density, grey: a normal "
        + (
            "with the same quantiles of 15.9 and 84.1 %"
            if robust
            else "of the same mean and standard deviation"
        ),
        f"each row reaches {DECADES} decades below a normal's peak, dotted line: 1/1,000 of it",
        _dominated_words(scales) if robust else "",
        _outside_words(scales),
    )
    title = f"Density of activations by site, {s.model}"
    figure = sheet(SINGLE, row * where.span + 12, title, _claim(s), caption)
    axes = figure.subplots()
    colours = site_colours(s.sites)
    for i, site in enumerate(s.sites):
        base = float(where.at[i]) + 0.5
        line: dict[str, Any] = {"color": "#9a9a9a", "linewidth": 0.4}
        axes.axhline(base, zorder=1, gid=f"base:{site}", **line)
        axes.axhline(
            base - FILL / 2, zorder=3, linestyle=(0, (1, 2)), gid=f"thousandth:{site}", **line
        )
        part = table[table["site"] == site]
        if not part.empty:
            _row(axes, part, base, float(scales.loc[site, "peak"]), colours[site])
    axes.set_ylim(where.at[-1] + 0.55, where.at[0] - 0.6)
    value_axis(axes.xaxis, x, table.attrs["low"], table.attrs["high"], table.attrs["linear"])
    unit, centre = ("s", "median") if robust else ("σ", "mean")
    raw = "activation (asinh scale)" if x == "asinh" else "activation"
    axes.set_xlabel(f"(activation − {centre}) / {unit} of the site" if x == "sigma" else raw)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    names = [Site.parse(site).label for site in s.sites]
    label_sites(axes.yaxis, where, row * MM * 72, size=TICK, across=False, labels=names)
    widths = scales["unit" if robust else "std"].to_numpy(np.float64)
    _widths(axes, where, widths, unit, row * MM * 72)
    return figure


def _row(axes: Axes, part: pd.DataFrame, base: float, top: float, colour: ColorType) -> None:
    site = part["site"].iloc[0]
    edges = np.append(part["left"].to_numpy(), part["right"].to_numpy()[-1])
    tall = _height(part["density"].to_numpy(), top)
    normal = _height(part["normal"].to_numpy(), top)
    middle = (edges[:-1] + edges[1:]) / 2
    axes.fill_between(
        middle,
        base,
        base - normal,
        color="#dcdcdc",
        linewidth=0,
        zorder=1.5,
        gid=f"grey:{site}",
    )
    axes.stairs(
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
        color=INK,
        linewidth=0.45,
        alpha=0.8,
        zorder=2.5,
        gid=f"normal:{site}",
    )


def _claim(s: Subject) -> str:
    """Say which site has the heaviest tails, if any has heavier ones than a normal."""
    kurtosis = analysis.moments(s.stream, s.view).loc[s.sites, "excess_kurtosis"].dropna()
    if kurtosis.empty:
        return ""
    site, most = Site.parse(str(kurtosis.idxmax())).label, float(kurtosis.max())
    if most <= NORMAL:
        return (
            "no site has clearly heavier tails than a normal: excess kurtosis at most "
            f"{number(most)} ({site}; a normal has 0)"
        )
    return f"heaviest tails: {site}, excess kurtosis {number(most)} (a normal has 0)"


def _dominated_words(scales: pd.DataFrame) -> str:
    site = str(scales["dominated"].idxmax())
    many = int((scales["dominated"] >= drawn.DOMINATED).sum())
    return (
        f"one value holds {float(scales['dominated'].max()):.0%} of the variance of "
        f"{Site.parse(site).label} ({many} site{'s' * (many > 1)} of this kind), so σ says little: "
        "s is half the distance of the quantiles of 15.9 and 84.1 %"
    )


def _outside_words(scales: pd.DataFrame) -> str:
    count = int(scales[["below", "above"]].to_numpy().sum())
    if not count:
        return ""
    low, high = number(float(scales["min"].min())), number(float(scales["max"].max()))
    return (
        f"beyond the x axis: {count:,} value{'s' * (count != 1)}, about 1 in 10,000 of a site at "
        f"most on either side, as far as {low} and {high}"
    )


def _height(density: Floats, top: float) -> Floats:
    """Turn densities into heights in rows: `FILL` at the normal's peak, 0 `DECADES` below."""
    with np.errstate(divide="ignore"):
        decades = np.log10(density / top) / DECADES + 1
    return FILL * np.clip(decades, 0.0, 1.12)


def _widths(axes: Axes, where: Places, widths: Floats, unit: str, per_unit: float) -> None:
    """Write every site's scale to the right of its row, thinned like the labels."""
    step = next(n for n in (1, 2, 4, 5, 10, 20, 50) if n * per_unit >= 1.15 * TICK)
    across = axes.get_yaxis_transform()
    for i in where.shown(step):
        axes.text(
            1.02,
            where.at[i],
            f"{unit} {number(float(widths[i]))}",
            transform=across,
            size=TICK,
            color=MUTED,
            va="center",
        )
