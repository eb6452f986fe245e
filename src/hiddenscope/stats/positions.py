"""How hidden states depend on the position in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from hiddenscope.stats.base import Accumulator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

SINGLE = 64
"""Positions below this have a bucket each."""
PER_OCTAVE = 8
"""Buckets for each doubling of the position beyond that."""
OCTAVES = 18
"""Doublings that are told apart: up to 64 · 2¹⁸ = 16,777,216; the last bucket holds the rest."""

STARTS: NDArray[np.int64] = np.concatenate(
    [
        np.arange(SINGLE),
        np.floor(SINGLE * 2.0 ** (np.arange(OCTAVES * PER_OCTAVE) / PER_OCTAVE)),
    ]
).astype(np.int64)
"""The first position of every bucket."""


class Positions(Accumulator):
    """Count, mean, centred squares and largest magnitude by bucket of positions.

    Over tokens × channels, of the tokens that are finite at every site.
    """

    name = "positions"

    def empty(self) -> State:
        """Return the state of no tokens."""
        full = (len(self.layout.sites), len(self.layout.strata), len(STARTS))
        return {
            "count": np.zeros(full[1:], np.int64),
            "mean": np.zeros(full),
            "m2": np.zeros(full),
            "absmax": np.zeros(full),
        }

    def update(self, batch: Batch) -> None:
        """Merge the profile of a batch over positions."""
        part = self.empty()
        channels = self.layout.channels
        position = batch.labels["position"]
        everywhere = np.all(batch.finite, axis=0)
        for k, tokens in batch.strata:
            keep = everywhere[tokens]
            bucket = STARTS.searchsorted(position[tokens][keep], "right") - 1
            count = np.bincount(bucket, minlength=len(STARTS))
            part["count"][k] = count
            sums, squares, absmax = (
                batch.stack(key)[:, tokens][:, keep]
                for key in ("row_sum", "row_sumsq", "row_absmax")
            )
            for site in range(len(self.layout.sites)):
                # Squares within a token are taken about its own mean, and those of the token
                # means about the bucket's mean, so that no large numbers cancel.
                means = sums[site] / channels
                within = np.maximum(squares[site] - sums[site] * means, 0.0)
                total = np.bincount(bucket, means, len(STARTS))
                mean = total / np.maximum(count, 1)
                between = channels * (means - mean[bucket]) ** 2
                part["mean"][site, k] = mean
                part["m2"][site, k] = np.bincount(bucket, within + between, len(STARTS))
                np.maximum.at(part["absmax"][site, k], bucket, absmax[site])
        self.arrays = _join(self.arrays, part, channels)

    def _merge(self, other: Self) -> Self:
        """Join the profiles of disjoint sets of tokens."""
        return self._new(_join(self.arrays, other.arrays, self.layout.channels))

    def tables(self, decode: Decode) -> State:
        """Return the buckets up to the last that holds tokens, ``[site, stratum, position]``."""
        filled = np.flatnonzero(self.arrays["count"].any(0))
        stop = int(filled[-1]) + 1 if len(filled) else 0
        return {key: array[..., :stop] for key, array in self.arrays.items()} | {
            "position_start": STARTS[:stop],
            "position_stop": np.append(STARTS[1:], np.iinfo(np.int64).max)[:stop],
        }


def _join(a: State, b: State, channels: int) -> State:
    na, nb = (s["count"].astype(np.float64) for s in (a, b))
    n = np.maximum(na + nb, 1.0)
    d = b["mean"] - a["mean"]
    return {
        "count": a["count"] + b["count"],
        "mean": a["mean"] + d * (nb / n),
        "m2": a["m2"] + b["m2"] + d * d * (na * nb / n * channels),
        "absmax": np.maximum(a["absmax"], b["absmax"]),
    }
