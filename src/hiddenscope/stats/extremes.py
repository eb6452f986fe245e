"""The largest magnitudes, with where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from hiddenscope import kernels
from hiddenscope.stats.base import Accumulator
from hiddenscope.stats.batch import CONTEXT
from hiddenscope.tokens import NO_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

RANKS = 64
PER_CHANNEL = 8

_INTEGERS = ("channel", "corpus", "document", "window", "position", "token_id")


class Extremes(Accumulator):
    """The `RANKS` largest finite magnitudes of each site and stratum, `PER_CHANNEL` per channel.

    Values of tokens that have a NaN or an infinity in another channel are included. Equal
    magnitudes are ordered by document, window, position and channel, the smaller first; where two
    corpora were merged and these are equal too, by token id, value and corpus. Merging is exact
    despite the limit per channel: a value that gets no rank within a part of the tokens gets none
    within all of them.
    """

    name = "extremes"

    def empty(self) -> State:
        """Return unfilled ranks: value NaN, channel −1."""
        shape = (len(self.layout.sites), len(self.layout.strata), RANKS)
        return {
            "value": np.full(shape, np.nan, np.float32),
            "median": np.full(shape, np.nan),
            **{key: np.full(shape, -1, np.int64) for key in _INTEGERS},
            "context": np.full((*shape, 2 * CONTEXT + 1), NO_TOKEN, np.int64),
        }

    def update(self, batch: Batch) -> None:
        """Take in the values of a batch that reach into the ranks."""

        def update(site: int) -> None:
            for k, tokens in batch.strata:
                self._update_one(site, k, tokens, batch)

        kernels.each(update, range(len(self.layout.sites)), batch.device)

    def _update_one(self, site: int, k: int, tokens: slice, batch: Batch) -> None:
        held = {key: array[site, k] for key, array in self.arrays.items()}
        held = {key: array[held["channel"] >= 0] for key, array in held.items()}
        scan = batch.scans[site]
        states = batch.states[self.layout.sites[site]][tokens]
        largest = np.maximum(-scan["minimum"][k], scan["maximum"][k])
        floor = self._floor(held)
        if self.layout.channels >= RANKS:
            # At least RANKS channels reach this magnitude, so no smaller value can get a rank.
            floor = np.maximum(floor, np.partition(largest, -RANKS)[-RANKS])
        # Most channels never come near the ranks: only the few that do are read again.
        channels = np.flatnonzero(largest >= floor)
        if not len(channels):
            return
        # Magnitudes of float32 states, so nothing is rounded.
        floors = floor[channels].astype(np.float32)
        to = states.device
        token, column, magnitude = (
            found.cpu().numpy()
            for found in kernels.largest(
                states,
                torch.from_numpy(channels).to(to),
                torch.from_numpy(floors).to(to),
                PER_CHANNEL,
            )
        )
        label: State = {key: values[tokens][token] for key, values in batch.labels.items()}
        found: State = {
            "value": magnitude,
            "channel": channels[column],
            "token": token,
            **{key: label[key] for key in _INTEGERS if key != "channel"},
        }
        best = _largest(found)
        found = {key: values[best] for key, values in found.items()}
        token = found.pop("token")
        vectors = states[torch.from_numpy(token).to(to)].float().cpu().numpy()
        found["value"] = vectors[np.arange(len(token)), found["channel"]]
        sizes = np.where(np.isfinite(vectors), np.abs(vectors), np.nan).astype(np.float64)
        # The plain median is several times as fast.
        median = np.nanmedian if np.isnan(sizes).any() else np.median
        found["median"] = median(sizes, axis=1)
        found["context"] = batch.context(tokens.start + token)
        self._store(self.arrays, site, k, [held, found])

    def _floor(self, held: State) -> NDArray[np.float64]:
        """Return the magnitude that a value of each channel must reach, ``[channel]``."""
        floor = np.zeros(self.layout.channels)
        magnitude = np.abs(held["value"])
        if len(magnitude) == RANKS:
            floor[:] = magnitude[-1]
        for channel in set(held["channel"].tolist()):
            own = magnitude[held["channel"] == channel]
            if len(own) == PER_CHANNEL:
                floor[channel] = own.min()
        return floor

    @staticmethod
    def _store(arrays: State, site: int, k: int, parts: list[State]) -> None:
        joined = {key: np.concatenate([p[key] for p in parts]) for key in arrays}
        best = _largest(joined)
        for key, array in arrays.items():
            array[site, k, : len(best)] = joined[key][best]

    def _merge(self, other: Self) -> Self:
        """Keep the largest of both."""
        arrays = self.empty()
        for site in range(len(self.layout.sites)):
            for k in range(len(self.layout.strata)):
                parts = [
                    {key: array[site, k][s.arrays["channel"][site, k] >= 0]
                     for key, array in s.arrays.items()}
                    for s in (self, other)
                ]  # fmt: skip
                self._store(arrays, site, k, parts)
        return self._new(arrays)

    def tables(self, decode: Decode) -> State:
        """Return the ranks ``[site, stratum, rank]``, and spell out the tokens around each."""
        context = self.arrays["context"]
        parts = {
            "piece": slice(CONTEXT, CONTEXT + 1),
            "before": slice(CONTEXT),
            "after": slice(CONTEXT + 1, None),
        }
        texts = {key: _spelled(context[..., part], decode) for key, part in parts.items()}
        return {key: array for key, array in self.arrays.items() if key != "context"} | texts


def _spelled(ids: NDArray[np.int64], decode: Decode) -> NDArray[np.object_]:
    """Turn token ids ``[…, token]`` into texts, empty where there is no token."""
    texts = np.full(ids.shape[:-1], "", dtype=object)
    known = ids != NO_TOKEN
    for place in zip(*np.nonzero(known.any(-1)), strict=True):
        texts[place] = decode(ids[place][known[place]].tolist())
    return texts


def _largest(found: State) -> NDArray[np.int64]:
    """Return the indices of the values to keep, in rank order."""
    magnitude = np.abs(found["value"]).astype(np.float64)
    order = np.lexsort(
        (
            found["corpus"],
            found["value"],
            found["token_id"],
            found["channel"],
            found["position"],
            found["window"],
            found["document"],
            -magnitude,
        )
    )
    channel = found["channel"][order]
    # The rank of each value within its channel: a stable sort by channel keeps the order.
    by_channel = np.argsort(channel, kind="stable")
    sorted_channel = channel[by_channel]
    first = np.searchsorted(sorted_channel, sorted_channel, "left")
    rank = np.empty(len(order), np.int64)
    rank[by_channel] = np.arange(len(order)) - first
    return order[rank < PER_CHANNEL][:RANKS]
