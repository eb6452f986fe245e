"""Tokens: what the tokens of a forward pass are and where each stands in its text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hiddenscope.strata import PADDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from hiddenscope.strata import Strata

NO_TOKEN = -1
"""The id of a token that is padding or not known."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one forward pass, or one row of it, before or after it is padded.

    The corpus makes them, `record` reads them off a call, the statistics count them.

    Attributes
    ----------
    ids : ndarray[batch, pos] of int64
        `NO_TOKEN` for padding, and where ids are not known.
    strata : ndarray[batch, pos] of int8
        Stratum codes, `hiddenscope.strata.PADDING` for padding. Before `stratified` is called,
        first and special tokens have the codes that they would have as ordinary tokens.
    starts : ndarray[batch, pos] of bool
        Whether nothing comes before the token in its text.
    positions, document : ndarray[batch, pos] of int64
        Of padding 0. A document is counted from the start of the corpus.
    window : ndarray[batch] of int64
        Index of the row's window in its document; in its shard where documents are packed.
    digest : ndarray[batch] of uint64
        Of the document that the row was cut from; where documents are packed, of its ids.
    """

    ids: NDArray[np.int64]
    strata: NDArray[np.int8]
    starts: NDArray[np.bool_]
    positions: NDArray[np.int64]
    document: NDArray[np.int64]
    window: NDArray[np.int64]
    digest: NDArray[np.uint64]

    @classmethod
    def of_window(
        cls,
        ids: NDArray[np.int64],
        strata: NDArray[np.int8],
        starts: NDArray[np.bool_],
        document: NDArray[np.int64],
        *,
        window: int,
        digest: int,
    ) -> Self:
        """Make one row, ``[pos]`` → ``[1, pos]``, whose positions start at 0."""
        return cls(
            ids[None],
            strata[None],
            starts[None],
            np.arange(len(ids))[None],
            document[None],
            np.array([window], np.int64),
            np.array([digest], np.uint64),
        )

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Put rows side by side, padded on the right to the longest."""
        width = max(part.length for part in parts)

        def padded(name: str, filler: int) -> NDArray[Any]:
            rows = [getattr(part, name) for part in parts]
            room = [((0, 0), (0, width - row.shape[1])) for row in rows]
            return np.concatenate(
                [np.pad(r, w, constant_values=filler) for r, w in zip(rows, room, strict=True)]
            )

        return cls(
            padded("ids", NO_TOKEN),
            padded("strata", PADDING),
            padded("starts", 0),
            padded("positions", 0),
            padded("document", 0),
            np.concatenate([part.window for part in parts]),
            np.concatenate([part.digest for part in parts]),
        )

    @property
    def length(self) -> int:
        """Columns, those of padding included."""
        return int(self.ids.shape[1])

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """Whether each token is no padding, ``[batch, pos]``."""
        kept: NDArray[np.bool_] = self.strata != PADDING
        return kept

    @property
    def attention_mask(self) -> NDArray[np.int64]:
        """What a model is called with beside `input_ids`: 1 for each token, 0 for padding."""
        return self.real.astype(np.int64)

    def input_ids(self, pad_id: int) -> NDArray[np.int64]:
        """Return what a model is called with: the ids, and `pad_id` for padding."""
        return np.where(self.real, self.ids, pad_id)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Flat indices of the counted tokens, grouped by stratum, in order within each."""
        flat = self.strata.ravel()
        order = np.argsort(flat, kind="stable")
        return order[np.count_nonzero(flat < 0) :]

    def count(self, strata: int) -> NDArray[np.int64]:
        """Count the tokens of each stratum, by code, for this number of strata."""
        return np.bincount(self.strata.ravel()[self.order], minlength=strata)

    def cut(self, length: int) -> Self:
        """Return the first columns."""
        kept = (slice(None), slice(length))
        names = ("ids", "strata", "starts", "positions", "document")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def stratified(self, strata: Strata, special: Iterable[int], *, causal: bool) -> Self:
        """Return the tokens of a stream with the first and the special ones in their strata.

        Parameters
        ----------
        strata : Strata
            What the codes mean.
        special : iterable of int
            Ids of special tokens.
        causal : bool
            Whether the stream has first tokens.
        """
        codes = strata.assign(self.ids, self.starts, special, self.strata, causal=causal)
        return replace(self, strata=codes)

    def shift_right(self, start: NDArray[np.int64]) -> Self:
        """Return what a decoder reads to produce this text: a start token, then the text.

        The text is on the left of each row; padding is on the right and stays there.

        Parameters
        ----------
        start : ndarray[batch] of int64

        Returns
        -------
        Tokens
            Each token keeps the stratum and document that it has in the text. The last token is
            dropped. The start token is where the text starts.
        """

        def behind(values: NDArray[Any], first: Any, filler: Any) -> NDArray[Any]:
            moved = np.concatenate([values[:, :1], values[:, :-1]], 1)
            moved[:, 0] = first
            return np.where(self.real, moved, filler).astype(values.dtype)

        starts = behind(self.starts, first=True, filler=False)
        # The text's own first token has the start token before it now.
        starts[:, 1:2] = False
        return replace(
            self,
            ids=behind(self.ids, start, NO_TOKEN),
            strata=behind(self.strata, self.strata[:, 0], PADDING),
            starts=starts,
            document=behind(self.document, self.document[:, 0], 0),
        )
