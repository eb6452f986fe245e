"""Matrices over sites: the article's covariance and R²."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from hiddenscope import analysis
from hiddenscope.errors import FigureError
from hiddenscope.figures.axis import asinh_ticks, label_sites, places
from hiddenscope.figures.style import (
    CELL,
    DOUBLE,
    INK,
    MATRIX,
    MM,
    SINGLE,
    number,
    sheet,
    subject,
    text_width,
    tick,
)
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

READABLE = 16
"""Up to so many sites, every cell of R² bears its value."""
NEAR_ONE = 0.4
"""Where no R² is below this, the colours begin at the smallest one."""


def lowest_drawn(lowest: float) -> float:
    """Return where a scale of R² begins: at 0, or just below the smallest value near 1."""
    return float(np.floor(lowest * 20) / 20) if lowest > NEAR_ONE else 0.0


def _gap(sites: Sequence[str]) -> float:
    """Set `embed` and `final_norm` off so that their labels have room beside the last block's."""
    return 0.35 + 0.035 * max(len(sites) - READABLE, 0)


LOUDEST = 3
"""So many of the loudest channels are left out in R²'s third panel, unless told otherwise."""


def draw_covariance(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    without: Sequence[int] = (),
) -> Figure:
    """Draw the pooled covariance of every pair of sites.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    without : sequence of int
        Channels to leave out.
    """
    s = subject(tree, view, sites, "cross")
    table = _chosen(analysis.covariance(s.stream, view, without=without), s.sites)
    values = table.values
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(sizes):
        msg = f"the states in the view {view!r} do not vary: there is no covariance to draw"
        raise FigureError(msg)
    reach = float(sizes.max())
    linear = max(float(sizes.min()), reach * 1e-5)
    variances = np.diagonal(values)
    most = int(np.nanargmax(variances))
    claim = (
        f"variance from {number(float(np.nanmin(variances)))} "
        f"({Site.parse(s.sites[int(np.nanargmin(variances))]).label}) to "
        f"{number(float(variances[most]))} ({Site.parse(s.sites[most]).label})"
    )
    cell = 66 * MM * 72 / places(s.sites, _gap(s.sites)).span
    widest = max(text_width(_short(v), CELL) for v in values[np.isfinite(values)])
    written = widest + 1.5 <= cell
    caption = s.caption(
        f"colour symmetric-logarithmic, linear within ±{number(linear)}",
        _left_out(without),
        "diagonal: variance",
        "k: thousands, M: millions" if written and reach >= 9950 else "",
    )
    figure = sheet(SINGLE, 72, f"Covariance between sites, {s.model}", claim, caption)
    axes = figure.subplots()
    norm = SymLogNorm(linear, vmin=-reach, vmax=reach, base=10)
    mesh = _matrix(
        axes,
        s.sites,
        values,
        wide=66 if written else 60,
        norm=norm,
        colours="RdBu_r",
        written=_short if written else None,
    )
    if not written:
        bar = figure.colorbar(mesh, ax=axes, aspect=30, pad=0.02)
        bar.set_ticks(asinh_ticks(-reach, reach, linear))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(tick))
        bar.ax.minorticks_off()
        bar.outline.set_visible(False)
    return figure


def draw_r2(
    tree: xr.DataTree,
    *,
    view: str = "rest",
    sites: str | list[str] | None = None,
    without: Sequence[int] | None = None,
) -> Figure:
    """Draw R² of every pair of sites: pooled, within channels, without the loudest channels.

    Parameters
    ----------
    tree : DataTree
    view : str
        Which tokens.
    sites : str or list of str, optional
    without : sequence of int, optional
        Channels that the third panel leaves out; by default the three loudest.
    """
    s = subject(tree, view, sites, "cross")
    few = min(LOUDEST, s.channels - 1)
    held = analysis.loudest(s.stream, view, by="pooled")
    left = list(without) if without else [int(c) for c in held.index[:few]]
    panels = {
        "pooled (the article's)": analysis.r2(s.stream, "pooled", view),
        "within channels": analysis.r2(s.stream, "within", view),
        f"without {_channels(left)}": analysis.r2(s.stream, "pooled", view, without=left),
    }
    tables = {name: _chosen(table, s.sites).values for name, table in panels.items()}
    if not any(np.isfinite(v).any() for v in tables.values()):
        msg = f"the states in the view {view!r} do not vary: there is no R² to draw"
        raise FigureError(msg)
    pooled, offset = (float(held[key].loc[left].sum()) for key in ("pooled", "offset"))
    claim = (
        f"{_channels(left)} hold{'s' * (len(left) == 1)} {pooled:.0%} of the pooled variance of "
        f"the blocks ({offset:.0%} as constant offsets)"
    )
    note = "hatched: no variance" if any(np.isnan(v).any() for v in tables.values()) else ""
    title = f"R² between sites, {s.model}"
    figure = sheet(DOUBLE, 64, title, claim, s.caption("R² of the flattened states", note))
    axes = figure.subplots(1, 3)
    lowest = min(float(np.nanmin(v)) for v in tables.values() if np.isfinite(v).any())
    norm = Normalize(lowest_drawn(lowest), 1.0)
    written = _share if len(s.sites) <= READABLE else None
    for panel, (name, values) in zip(axes, tables.items(), strict=True):
        mesh = _matrix(panel, s.sites, values, wide=47, norm=norm, colours=MATRIX, written=written)
        panel.set_title(name)
    if written is None or norm.vmin:
        bar = figure.colorbar(mesh, ax=axes, aspect=30, pad=0.01, shrink=0.8)
        bar.outline.set_visible(False)
        bar.set_label("R²")
    return figure


def _channels(channels: Sequence[int]) -> str:
    some = ", ".join(str(c) for c in channels[:4])
    more = f" and {len(channels) - 4} more" if len(channels) > 4 else ""
    return f"channel{'s' if len(channels) > 1 else ''} {some}{more}"


def _left_out(without: Sequence[int]) -> str:
    return f"without {_channels(list(without))}" if len(without) else ""


def _chosen(table: xr.DataArray, sites: list[str]) -> xr.DataArray:
    held = [str(s) for s in table["site_a"].values]
    missing = [s for s in sites if s not in held]
    if missing:
        msg = f"R² and covariance are kept for {', '.join(held)}, not for {missing[0]}"
        raise FigureError(msg)
    return table.sel(site_a=sites, site_b=sites)


def _matrix(
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
    where = places(sites, _gap(sites))
    n = len(sites)
    per_unit = wide * MM * 72 / where.span
    axes.set_facecolor("white")
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
                edgecolors="white",
                linewidth=0.3 if n <= READABLE else 0.0,
            )
    for i, j in zip(*np.nonzero(np.isnan(values)), strict=True):
        corner = (float(where.at[j]) - 0.5, float(where.at[i]) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, hatch="////", fc="white", ec="#999999", lw=0))
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


def _share(value: float) -> str:
    """Write R² in hundredths without the zero before the point."""
    text = f"{value:.2f}"
    return "1" if text == "1.00" else text[1:] if value >= 0.005 else "0"


def _short(value: float) -> str:
    """Write a covariance with its sign and two digits."""
    size = abs(value)
    if size < 0.005:
        return "0"
    unit, scale = ("M", 1e6) if size >= 9.95e5 else ("k", 1e3) if size >= 995 else ("", 1.0)
    size /= scale
    digits = 0 if size >= 9.95 else 1 if size >= 0.995 else 2
    return ("−" if value < 0 else "") + f"{size:.{digits}f}".removeprefix("0") + unit
