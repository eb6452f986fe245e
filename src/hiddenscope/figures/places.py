"""Where sites stand along an axis, and what is written there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SET_OFF = ("embed", "final_norm")
"""Sites that are no block: in colours of their own, set off with room beside them."""
STEPS = (1, 2, 4, 5, 10, 20, 25, 50, 100, 200, 500, 1000)
"""Which blocks get a label: every one, every second, …"""
READABLE = 16
"""With at most this number of sites, cells of a matrix have room for two digits."""


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
