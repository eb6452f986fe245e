"""Sites along an axis: where they stand, what is written there, labels kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from hiddenscope.figures.style import text_width, tick
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axis import Axis
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SET_OFF = ("embed", "final_norm")
"""Sites that are no block: in colours of their own, set off with room beside them."""
STEPS = (1, 2, 4, 5, 10, 20, 25, 50, 100, 200, 500, 1000)
"""Which blocks get a label: every one, every second, …"""


@dataclass(frozen=True)
class Places:
    """Sites along an axis, `embed` and `final_norm` set off from the blocks.

    Attributes
    ----------
    sites : list of str
    at : ndarray[site] of float64
        One unit from block to block.
    """

    sites: list[str]
    at: Floats

    @property
    def runs(self) -> list[list[int]]:
        """Indices of the sites between which a line may be drawn: the blocks, each other site."""
        runs: list[list[int]] = []
        for i, site in enumerate(self.sites):
            if i and site not in SET_OFF and self.sites[i - 1] not in SET_OFF:
                runs[-1].append(i)
            else:
                runs.append([i])
        return runs

    @property
    def span(self) -> float:
        """Length from the first to the last site, half a unit on either side included."""
        return float(self.at[-1] - self.at[0]) + 1.0

    def labels(self) -> list[str]:
        """Return a short label by site: the block's number, or words."""
        parsed = [Site.parse(s) for s in self.sites]
        points = {s.point for s in parsed if s.point}
        return [
            s.label if s.block is None else (str(s.block) if len(points) == 1 else s.label[6:])
            for s in parsed
        ]

    def title(self) -> str:
        """Return what an axis over these sites is called."""
        points = {p for p in (Site.parse(s).point for s in self.sites) if p}
        if not points:
            return ""
        if points == {"resid_post"}:
            return "after block"
        return f"block ({points.pop()})" if len(points) == 1 else "block and point"

    def shown(self, step: int) -> list[int]:
        """Return which sites get a label: those set off and every `step`-th block."""
        blocks = [i for i, s in enumerate(self.sites) if s not in SET_OFF]
        first = blocks[0] if blocks else 0
        kept = {i for i in blocks if (i - first) % step == 0}
        return [i for i, s in enumerate(self.sites) if s in SET_OFF or i in kept]


def places(sites: Sequence[str], gap: float) -> Places:
    """Set sites along an axis, with `gap` more units beside `embed` and `final_norm`."""
    at = [0.0]
    for before, site in pairwise(sites):
        apart = gap if before in SET_OFF or site in SET_OFF else 0.0
        at.append(at[-1] + 1.0 + apart)
    return Places(list(sites), np.array(at))


def label_sites(
    axis: Axis,
    where: Places,
    per_unit: float,
    *,
    size: float,
    across: bool = True,
    labels: Sequence[str] | None = None,
    upright: bool = True,
) -> None:
    """Write the sites at an axis, thinned so that no two labels touch.

    Parameters
    ----------
    axis : Axis
    where : Places
    per_unit : float
        Points from block to block, as printed.
    size : float
        Of the text, in points.
    across : bool
        Labels follow each other in reading direction (an x axis), not one below the other.
    labels : sequence of str, optional
        By site; by default the blocks' numbers, and words.
    upright : bool
        False turns the words of the sites that are set off, where there is no room for them.
    """
    texts = list(labels or where.labels())
    blocks = [
        text_width(t, size) for t, s in zip(texts, where.sites, strict=True) if s not in SET_OFF
    ]
    turned = across and max(blocks, default=0.0) > 4 * size
    need = 1.15 * size
    if across and not turned:
        need = max(blocks, default=0.0) + 0.45 * size
    step = next((n for n in STEPS if n * per_unit >= need), STEPS[-1])
    shown = where.shown(step)
    if across and upright and not turned:
        texts = [
            t.replace(" ", "\n") if s in SET_OFF else t
            for t, s in zip(texts, where.sites, strict=True)
        ]

    def stands(i: int) -> bool:
        return turned or (not upright and where.sites[i] in SET_OFF)

    def extent(i: int) -> float:
        if not across or stands(i):
            return size
        return max(text_width(line, size) for line in texts[i].split("\n"))

    def clear(i: int, j: int, room: float = 0.3) -> bool:
        apart = abs(float(where.at[i] - where.at[j])) * per_unit
        return apart >= (extent(i) + extent(j)) / 2 + room * size

    # The words and the last block come first; what stands too near to them gives way.
    words = [i for i in shown if where.sites[i] in SET_OFF]
    last = [i for i, s in enumerate(where.sites) if s not in SET_OFF][-1:]
    lower = across and not turned and not all(clear(i, j) for i in last for j in words)
    if lower:
        # One line lower the words are in nobody's way.
        others = [i for i in shown if i not in words and all(i == j or clear(i, j) for j in last)]
    else:
        last = [i for i in last if all(clear(i, j, 0.05) for j in words)]
        fixed = [*words, *last]
        others = [i for i in shown if i not in fixed and all(clear(i, j) for j in fixed)]
    shown = sorted({*words, *last, *others})
    axis.set_ticks([float(where.at[i]) for i in shown], [texts[i] for i in shown], fontsize=size)
    if not across:
        return
    for i, mark in zip(shown, axis.get_major_ticks(), strict=True):
        if stands(i):
            mark.label1.set_rotation(90)
        if lower and i in words:
            mark.set_pad(mpl.rcParams["xtick.major.pad"] + 1.3 * size)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> Floats:
    """Move labels as little as needed to stand `gap` apart between `low` and `high`.

    Returns positions in the order given; if there is no room for all, they touch.
    """
    order = np.argsort(np.asarray(wanted), kind="stable")
    if not len(order):
        return np.zeros(0)
    gap = min(gap, (high - low) / max(len(order) - 1, 1))
    placed = np.clip(np.asarray(wanted, np.float64)[order], low, high)
    # Neighbours that are too close form a group that is centred on where its members wish to be.
    groups: list[list[float]] = []
    for wish in placed:
        groups.append([wish])
        while len(groups) > 1 and _start(groups[-1], gap, low, high) < (
            _start(groups[-2], gap, low, high) + len(groups[-2]) * gap - 1e-12
        ):
            last = groups.pop()
            groups[-1] += last
    result = np.empty(len(order))
    found = [_start(g, gap, low, high) + gap * i for g in groups for i in range(len(g))]
    result[order] = found
    return result


def _start(group: list[float], gap: float, low: float, high: float) -> float:
    length = gap * (len(group) - 1)
    return min(max(sum(group) / len(group) - length / 2, low), high - length)


def value_axis(axis: Axis, scale: str, low: float, high: float, linear: float) -> None:
    """Set up an axis of activations from `low` to `high`, linear or asinh."""
    axes = axis.axes
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if axis is axes.xaxis else (axes.set_yscale, axes.set_ylim)
    )
    if scale == "asinh":
        set_scale("asinh", linear_width=linear)
        axis.set_major_locator(FixedLocator(asinh_ticks(low, high, linear)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(6))
    set_limits(low, high)
    axis.set_major_formatter(FuncFormatter(tick))


def asinh_ticks(low: float, high: float, linear: float) -> list[float]:
    """Ticks of a symmetric-logarithmic axis: 0 and few enough powers of ten on either side."""
    reach = max(abs(low), abs(high), 10 * linear)
    first, last = int(np.ceil(np.log10(linear))), int(np.floor(np.log10(reach)))
    step = max(1, -(-(last - first + 1) // 3))
    # Those next to zero would touch its label.
    room = 0.1 * (np.arcsinh(high / linear) - np.arcsinh(low / linear))
    powers = [10.0**e for e in range(last, first - 1, -step)]
    powers = [p for p in powers if np.arcsinh(p / linear) >= room]
    return [t for t in (*(-p for p in powers), 0.0, *reversed(powers)) if low <= t <= high]
