"""Moments of every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from hiddenscope.stats.base import Accumulator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

    Floats = NDArray[np.float64]

NOWHERE = np.int64(np.iinfo(np.int64).max)
"""The document index that is used where there is no non-finite value."""


class Moments(Accumulator):
    """Count, mean and centred power sums of each channel, over tokens that are finite there.

    `unit_mean` is the mean of the hidden states divided by their L2 norms, from which the share of
    each channel in the mean cosine of pairs of tokens follows (Timkey and van Schijndel 2021); a
    hidden state of zeros counts as zeros.

    Minimum and maximum are taken over all finite values, also those of tokens that are not finite.

    Merged as in Chan, Golub and LeVeque (1979) and, for m3 and m4, Pébay (2008).
    """

    name = "moments"

    def empty(self) -> State:
        """Return the state of no tokens."""
        rows = (len(self.layout.sites), len(self.layout.strata))
        full = (*rows, self.layout.channels)
        return {
            "count": np.zeros(rows, np.int64),
            **{key: np.zeros(full) for key in ("mean", "m2", "m3", "m4", "unit_mean")},
            "min": np.full(full, np.inf),
            "max": np.full(full, -np.inf),
            "over": np.zeros(full, np.int64),
            "over_rms": np.zeros(full, np.int64),
            "nonfinite": np.zeros(full, np.int64),
            "nonfinite_document": np.full(rows, NOWHERE),
        }

    def update(self, batch: Batch) -> None:
        """Merge the moments of a batch."""
        part = self.empty()
        for key in ("mean", "m2", "m3", "m4", "unit_mean", "over", "over_rms", "nonfinite"):
            part[key] = batch.stack(key)
        part["min"], part["max"] = batch.stack("minimum"), batch.stack("maximum")
        document = batch.labels["document"].astype(np.int64)
        where = np.where(batch.finite, NOWHERE, document)
        for k, tokens in batch.strata:
            part["count"][:, k] = batch.finite[:, tokens].sum(1)
            part["nonfinite_document"][:, k] = where[:, tokens].min(1)
        self.arrays = _join(self.arrays, part)

    def _merge(self, other: Self) -> Self:
        """Join the moments of disjoint sets of tokens."""
        return self._new(_join(self.arrays, other.arrays))

    def tables(self, decode: Decode) -> State:
        """Return the moments ``[site, stratum, channel]``."""
        document = self.arrays["nonfinite_document"]
        found = np.where(document == NOWHERE, -1, document)
        return self.arrays | {"nonfinite_document": found}


def _join(a: State, b: State) -> State:
    na, nb = (s["count"][..., None].astype(np.float64) for s in (a, b))
    n = np.maximum(na + nb, 1.0)
    # Where one side is empty, its mean is 0 and the result equals the other side without any
    # rounding: a fresh state is an exact identity.
    d = b["mean"] - a["mean"]
    weight = nb / n
    d2 = d * d
    ab = na * nb / n
    m2 = a["m2"] + b["m2"] + d2 * ab
    m3 = (
        a["m3"] + b["m3"] + d2 * d * ab * (na - nb) / n
        + 3.0 * d * (na * b["m2"] - nb * a["m2"]) / n
    )  # fmt: skip
    m4 = (
        a["m4"] + b["m4"] + d2 * d2 * ab * (na * na - na * nb + nb * nb) / (n * n)
        + 6.0 * d2 * (na * na * b["m2"] + nb * nb * a["m2"]) / (n * n)
        + 4.0 * d * (na * b["m3"] - nb * a["m3"]) / n
    )  # fmt: skip
    return {
        "count": a["count"] + b["count"],
        "mean": a["mean"] + d * weight,
        "unit_mean": a["unit_mean"] + (b["unit_mean"] - a["unit_mean"]) * weight,
        "m2": m2,
        "m3": m3,
        "m4": m4,
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "over": a["over"] + b["over"],
        "over_rms": a["over_rms"] + b["over_rms"],
        "nonfinite": a["nonfinite"] + b["nonfinite"],
        "nonfinite_document": np.minimum(a["nonfinite_document"], b["nonfinite_document"]),
    }
