"""The one sufficient statistic behind every covariance and R² between sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from hiddenscope import kernels
from hiddenscope.stats.base import Accumulator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch, Layout

    Floats = NDArray[np.float64]

LOUD = 64
"""Channels of which the compact form keeps every pair of sites."""
COMPACT_BYTES = 128 << 20
"""A co-moment of more bytes than this is kept in the compact form."""


class Cross(Accumulator):
    """Centred co-moment of every pair of sites of the trunk, by channel.

    Only tokens that are finite at every site of the trunk are counted.

    In the compact form (where ``layout.loud`` names channels), every pair of sites is kept as a
    sum over all channels, and separately for the channels in ``loud``. Every single channel is
    kept only for each site with itself and with the next site.
    """

    name = "cross"

    def empty(self) -> State:
        """Return the state of no tokens."""
        layout = self.layout
        strata, sites, channels = len(layout.strata), len(layout.trunk), layout.channels
        state: State = {
            "count": np.zeros(strata, np.int64),
            "mean": np.zeros((strata, sites, channels)),
        }
        if layout.loud is None:
            return state | {"comoment": np.zeros((strata, sites, sites, channels))}
        return state | {
            "sum": np.zeros((strata, sites, sites)),
            "self": np.zeros((strata, sites, channels)),
            "next": np.zeros((strata, sites, channels)),
            "loud": np.zeros((strata, sites, sites, len(layout.loud))),
        }

    def settle(self, layout: Layout) -> None:
        """Set the loud channels from a layout, before anything finite is counted."""
        super().settle(layout)
        self.arrays = self.empty()

    def update(self, batch: Batch) -> None:
        """Merge the co-moments of a batch."""
        sites = self.layout.trunk
        if not sites:
            return
        at = [self.layout.sites.index(site) for site in sites]
        part = self.empty()
        everywhere: NDArray[np.bool_] = np.all(batch.finite[at], axis=0)
        for k, tokens in batch.strata:
            keep = everywhere[tokens]
            part["count"][k] = n = int(keep.sum())
            if not n:
                continue
            states = [batch.states[s][tokens] for s in sites]
            if n == len(keep):
                mean = np.stack([batch.scans[i]["mean"][k] for i in at])
                means = torch.from_numpy(mean).to(states[0].device)
            else:
                mask = torch.from_numpy(keep).to(states[0].device)
                states = [x[mask] for x in states]
                means = torch.stack([x.double().mean(0) for x in states])
            part["mean"][k] = means.cpu().numpy()
            for key, value in self._products(states, means).items():
                part[key][k] = value.cpu().numpy()
        self.arrays = self._join(self.arrays, part)

    def _merge(self, other: Self) -> Self:
        """Join the co-moments of disjoint sets of tokens."""
        return self._new(self._join(self.arrays, other.arrays))

    def _products(self, states: list[torch.Tensor], means: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.layout.loud is None:
            return {"comoment": kernels.comoment(states, means)}
        loud = torch.tensor(self.layout.loud, dtype=torch.int64, device=means.device)
        return kernels.comoment_parts(states, means, loud)

    def _join(self, a: State, b: State) -> State:
        na, nb = (s["count"].astype(np.float64)[:, None, None] for s in (a, b))
        n = np.maximum(na + nb, 1.0)
        d = b["mean"] - a["mean"]
        weighted = d * (na * nb / n)
        joined: State = {
            "count": a["count"] + b["count"],
            "mean": a["mean"] + d * (nb / n),
        }
        if self.layout.loud is None:
            return joined | {
                "comoment": a["comoment"] + b["comoment"] + weighted[:, :, None] * d[:, None]
            }
        shifted = np.zeros_like(d)
        shifted[:, :-1] = d[:, 1:]
        loud = list(self.layout.loud)
        dl, wl = d[..., loud], weighted[..., loud]
        return joined | {
            "sum": a["sum"] + b["sum"] + weighted @ d.transpose(0, 2, 1),
            "self": a["self"] + b["self"] + weighted * d,
            "next": a["next"] + b["next"] + weighted * shifted,
            "loud": a["loud"] + b["loud"] + wl[:, :, None] * dl[:, None],
        }

    def tables(self, decode: Decode) -> State:
        """Return the co-moments ``[stratum, site_a, site_b, channel]``."""
        a = self.arrays
        trunk = np.array(self.layout.trunk, dtype=np.str_)
        shared: State = {"count": a["count"], "mean": a["mean"], "site_a": trunk, "site_b": trunk}
        if self.layout.loud is None:
            return shared | {"comoment": a["comoment"]}
        parts = {f"comoment_{key}": a[key] for key in ("sum", "self", "next", "loud")}
        return shared | parts | {"loud": np.array(self.layout.loud, np.int64)}


def loudest(layout: Layout, batch: Batch) -> tuple[int, ...]:
    """Return the channels with the largest shares of a batch's variance, added over the trunk.

    At each site the variance is taken about the site's mean over all channels, so a channel whose
    own mean is far from it counts as loud. Empty where no token of the batch is finite.
    """
    share, finite = np.zeros(layout.channels), False
    at = [layout.sites.index(site) for site in layout.trunk]
    for k, tokens in batch.strata:
        n = batch.finite[at, tokens].sum(1)[:, None]
        mean, m2 = batch.stack("mean")[at, k], batch.stack("m2")[at, k]
        squares = m2 + n * (mean - mean.mean(1, keepdims=True)) ** 2
        share += (squares / np.maximum(squares.sum(1, keepdims=True), 1e-300)).sum(0)
        finite |= bool(n.any())
    if not finite:
        return ()
    ranked = np.argsort(-share, kind="stable")[: min(LOUD, layout.channels)]
    return tuple(np.sort(ranked).tolist())
