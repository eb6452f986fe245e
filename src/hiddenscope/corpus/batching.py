"""Batches: windows of like length side by side, padded on the right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
        Base strata, as in `Window`; `hiddenscope.strata.PADDING` for padding.
    starts : ndarray[batch, pos] of bool
        Whether nothing comes before the token in its text.
    document : ndarray[batch, pos] of int64
        The document of each token, 0 for padding.
    window : ndarray[batch] of int64
    digest : ndarray[batch] of uint64
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    strata: NDArray[np.int8]
    starts: NDArray[np.bool_]
    document: NDArray[np.int64]
    window: NDArray[np.int64]
    digest: NDArray[np.uint64]

    def shift_right(self, start: NDArray[np.int64]) -> TokenBatch:
        """Return what a decoder reads that is to say this text: a start token, then the text.

        Parameters
        ----------
        start : ndarray[batch] of int64

        Returns
        -------
        TokenBatch
            Each token in the stratum and document that it has in the text, but for the last,
            which falls away; the start token is where the text starts.
        """
        real = self.attention_mask != 0

        def behind(values: NDArray[Any], first: Any, padding: Any) -> NDArray[Any]:
            moved = np.concatenate([values[:, :1], values[:, :-1]], 1)
            moved[:, 0] = first
            return np.where(real, moved, padding).astype(values.dtype)

        starts = behind(self.starts, first=True, padding=False)
        # The text's own first token has the start token before it now.
        starts[:, 1:2] = False
        # As many tokens as the text has, so that padding stays where it was.
        return replace(
            self,
            input_ids=behind(self.input_ids, start, self.input_ids),
            strata=behind(self.strata, self.strata[:, 0], PADDING),
            starts=starts,
            document=behind(self.document, self.document[:, 0], 0),
        )

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.attention_mask.sum())


def batches(
    windows: Sequence[Window], batch_tokens: int, pad_id: int, *, padded: bool = True
) -> Iterator[TokenBatch]:
    """Sort windows by length, stably, and pack them into batches.

    Parameters
    ----------
    windows : sequence of Window
        Those of one shard.
    batch_tokens : int
        Bound on rows × longest row; a single longer window is a batch of its own.
    pad_id : int
        Any id that the model knows; the mask decides what is padding.
    padded : bool
        Whether rows of several lengths may share a batch, padded to the longest.

    Yields
    ------
    TokenBatch
    """
    rows: list[Window] = []
    # Longest first: the batch that needs the most memory comes when least is at stake.
    for window in sorted(windows, key=lambda w: -len(w.ids)):
        full = (len(rows) + 1) * len(rows[0].ids) > batch_tokens if rows else False
        if rows and (full or not (padded or len(window.ids) == len(rows[0].ids))):
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
    starts = np.zeros(shape, np.bool_)
    document = np.zeros(shape, np.int64)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n], mask[i, :n], strata[i, :n] = row.ids, 1, row.strata
        starts[i, :n], document[i, :n] = row.starts, row.documents
    return TokenBatch(
        ids,
        mask,
        strata,
        starts,
        document,
        window=np.array([w.window for w in rows], np.int64),
        digest=np.array([w.digest for w in rows], np.uint64),
    )
