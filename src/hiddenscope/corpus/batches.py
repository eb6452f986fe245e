"""Batches: windows of like length side by side, padded on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.strata import PADDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hiddenscope.corpus.windows import Window


@dataclass(frozen=True)
class TokenBatch:
    """What goes into one forward pass.

    Attributes
    ----------
    input_ids, attention_mask : ndarray[batch, pos] of int64
    strata : ndarray[batch, pos] of int8
        `hiddenscope.strata.PADDING` for padding.
    document, window : ndarray[batch] of int64
    digest : ndarray[batch] of uint64
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    strata: NDArray[np.int8]
    document: NDArray[np.int64]
    window: NDArray[np.int64]
    digest: NDArray[np.uint64]

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.attention_mask.sum())


def batches(windows: Sequence[Window], batch_tokens: int, pad_id: int) -> Iterator[TokenBatch]:
    """Sort windows by length, stably, and pack them into batches.

    Parameters
    ----------
    windows : sequence of Window
        Those of one shard.
    batch_tokens : int
        Bound on rows × longest row; a single longer window is a batch of its own.
    pad_id : int
        Any id that the model knows; the mask decides what is padding.

    Yields
    ------
    TokenBatch
    """
    rows: list[Window] = []
    # Longest first: the batch that needs the most memory comes when least is at stake.
    for window in sorted(windows, key=lambda w: -len(w.ids)):
        if rows and (len(rows) + 1) * len(rows[0].ids) > batch_tokens:
            yield _pack(rows, pad_id)
            rows = []
        rows.append(window)
    if rows:
        yield _pack(rows, pad_id)


def _pack(rows: list[Window], pad_id: int) -> TokenBatch:
    shape = (len(rows), len(rows[0].ids))
    ids = np.full(shape, pad_id, np.int64)
    mask = np.zeros(shape, np.int64)
    strata = np.full(shape, PADDING, np.int8)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n], mask[i, :n], strata[i, :n] = row.ids, 1, row.strata
    return TokenBatch(
        ids,
        mask,
        strata,
        document=np.array([w.document for w in rows], np.int64),
        window=np.array([w.window for w in rows], np.int64),
        digest=np.array([w.digest for w in rows], np.uint64),
    )
