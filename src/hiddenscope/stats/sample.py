"""A few hidden states kept whole: one passage, and single tokens chosen by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from hiddenscope.stats.base import Accumulator
from hiddenscope.tokens import NO_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

    Hashes = NDArray[np.uint64]

PASSAGE = 64
"""Tokens of the passage, at most."""
PER_STRATUM = 16
"""Tokens kept of every stratum that has them, whatever the budget."""

_LABELS = ("corpus", "document", "window", "position", "token_id")
_PLACE = ("position", "window", "document", "corpus")
"""The keys that tokens are sorted by, the last key first; windows of two corpora do not mix."""


class Sample(Accumulator):
    """States at every site for the first tokens of one window and for some single tokens.

    States are rounded to bfloat16, a difference that no figure can show. Their type is float32,
    whose two low bytes are then zero and take almost no space in a compressed file.

    The passage is the start of the window with the smallest hash, so that its tokens can be read
    as a text. The single tokens are those with the smallest hash of (document digest, place of
    the document in the corpus, window, position): a property of the corpus, not of the batches.
    """

    name = "sample"

    def empty(self) -> State:
        """Return no tokens."""
        return {
            "state": np.zeros((0, len(self.layout.sites), self.layout.channels), np.float32),
            "window_hash": np.zeros(0, np.uint64),
            "token_hash": np.zeros(0, np.uint64),
            "stratum": np.zeros(0, np.int64),
            **{key: np.zeros(0, np.int64) for key in _LABELS},
        }

    def update(self, batch: Batch) -> None:
        """Take in the tokens of a batch that the sample wants."""
        labels = batch.labels
        digest = labels["digest"].astype(np.uint64)
        # With the place of the document, so that copies of a text are drawn apart.
        document = _mix(digest ^ _mix(labels["document"].astype(np.uint64)))
        window_hash = _mix(document ^ labels["window"].astype(np.uint64))
        part: State = {
            "window_hash": window_hash,
            "token_hash": _mix(window_hash ^ _mix(labels["position"].astype(np.uint64))),
            "stratum": np.repeat(np.arange(len(self.layout.strata)), np.diff(batch.bounds)),
            **{key: labels[key] for key in _LABELS},
        }
        held = {key: array for key, array in self.arrays.items() if key != "state"}
        joined = {key: np.concatenate([held[key], part[key]]) for key in part}
        keep = self._wanted(joined)
        n_held = len(held["stratum"])
        old, new = keep[keep < n_held], keep[keep >= n_held] - n_held
        if not len(new):
            return
        index = torch.from_numpy(new)
        states = [batch.states[s] for s in self.layout.sites]
        picked = torch.stack([x[index.to(x.device)].bfloat16().float() for x in states], dim=1)
        self.arrays = {
            "state": np.concatenate([self.arrays["state"][old], picked.cpu().numpy()]),
            **{key: array[keep] for key, array in joined.items()},
        }

    def _merge(self, other: Self) -> Self:
        """Keep the smallest hashes of both."""
        joined = {
            key: np.concatenate([array, other.arrays[key]]) for key, array in self.arrays.items()
        }
        keep = self._wanted(joined)
        return self._new({key: array[keep] for key, array in joined.items()})

    def _wanted(self, tokens: State) -> NDArray[np.int64]:
        """Return the indices to keep: the passage, the single tokens and a few of every stratum."""
        passage = self._passage_tokens()
        ties = tuple(tokens[key] for key in _PLACE)
        by_window = np.lexsort((*ties, tokens["window_hash"]))[:passage]
        by_token = np.lexsort((*ties, tokens["token_hash"]))
        wanted = [by_window, by_token[: max(self.layout.sample_tokens - passage, 0)]]
        stratum = tokens["stratum"][by_token]
        wanted += [by_token[stratum == k][:PER_STRATUM] for k in range(len(self.layout.strata))]
        return np.unique(np.concatenate(wanted))

    def _passage_tokens(self) -> int:
        return min(PASSAGE, self.layout.sample_tokens // 2)

    def tables(self, decode: Decode) -> State:
        """Return the tokens ``[site, token, channel]``, by (document, window, position)."""
        a = self.arrays
        place = tuple(a[key] for key in _PLACE)
        order = np.lexsort(place)
        by_window = np.lexsort((*place, a["window_hash"]))
        by_window = by_window[: self._passage_tokens()]
        passage = np.zeros(len(order), np.int8)
        # The passage is one window: if it is short, tokens of the next one are not part of it.
        same = [a[key][by_window] == a[key][by_window[:1]] for key in _PLACE[1:]]
        passage[by_window[np.all(same, axis=0)]] = 1
        ids = a["token_id"][order]
        pieces = [decode([int(i)]) if i != NO_TOKEN else "" for i in ids]
        return {
            "state": np.ascontiguousarray(a["state"][order].transpose(1, 0, 2)),
            **{key: a[key][order] for key in _LABELS},
            "piece": np.array(pieces, dtype=object),
            "stratum": np.array(self.layout.strata.names, dtype=object)[a["stratum"][order]],
            "passage": passage[order],
        }


def _mix(x: Hashes) -> Hashes:
    """Mix 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
