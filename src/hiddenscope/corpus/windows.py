"""Windows: what the model sees at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.corpus.encoding import Encoder, opening_ids
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.corpus.encoding import Piece
    from hiddenscope.corpus.sources import Document


@dataclass(frozen=True)
class Window:
    """A sequence of its own; its positions start at 0.

    Attributes
    ----------
    document : int
        Index, in the corpus, of the document at its start.
    digest : int
        The document's; where documents are packed, one of the window's ids.
    window : int
        Index of the window in the document; 0 where documents are packed.
    ids : ndarray[pos] of int64
    strata : ndarray[pos] of int8
        Base strata, indices into the `Windower`'s: of each token as if it were neither first
        nor special, which `hiddenscope.strata.stratify` decides for a stream.
    starts : ndarray[pos] of bool
        Whether nothing comes before the token in its text.
    documents : ndarray[pos] of int64
        The document of each token.
    """

    document: int
    digest: int
    window: int
    ids: NDArray[np.int64]
    strata: NDArray[np.int8]
    starts: NDArray[np.bool_]
    documents: NDArray[np.int64]


class Windower:
    """Cuts documents into windows with a tokenizer.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    length : int or None
        Tokens of a window, special tokens included; None for no limit.
    bos : {'auto', 'add', 'never'}
        As the tokenizer (or the chat template) does; every window starts with the BOS, put there
        where none stands; the BOS that the tokenizer (or the chat template) puts first is taken
        away. Where documents are packed it is each document that starts so.
    pack : bool
        Join the documents of a shard, as in GPT-2's training, and cut them into full windows.
        Where no BOS stands between two documents the tokenizer's EOS, if it has one, is put after
        the first. A part of a document that is longer than a shard is a text of its own here, as
        it is elsewhere.
    chat : bool
        Documents are conversations, which the tokenizer's chat template writes.

    Attributes
    ----------
    documents, cut, windows, with_bos : int
        Documents begun, documents that go on in another window, windows taken, and those of
        them that start with the tokenizer's BOS or CLS.
    digest : hashlib object
        SHA-256 over the digests of the documents begun.
    strata : tuple of str
        What the codes of base strata mean: `hiddenscope.strata.PLAIN` or ``CHAT``.

    Raises
    ------
    InputError
        An option is unknown or cannot be followed with this tokenizer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        length: int | None,
        *,
        bos: str = "auto",
        pack: bool = False,
        chat: bool = False,
    ) -> None:
        if pack and length is None:
            msg = "packed documents are cut into full windows: give the length of a window"
            raise InputError(msg)
        self.encoder = Encoder(tokenizer, bos, chat=chat)
        self.strata = self.encoder.strata
        self.length = length
        self._pack = length if pack else None
        self.documents = self.cut = self.windows = self.with_bos = 0
        self.digest = hashlib.sha256()
        self._opening = opening_ids(tokenizer)
        self._number = 0
        self._last_cut = -1

    def __call__(self, documents: Iterable[Document]) -> Iterator[Window]:
        """Tokenize a shard's documents, in order, into windows.

        What is counted is what is taken: whoever stops early has not seen the rest.
        """
        made = self._apart(documents) if self._pack is None else self._packed(documents, self._pack)
        for window in made:
            self.windows += 1
            self.with_bos += int(window.ids[0]) in self._opening
            yield window

    def _apart(self, documents: Iterable[Document]) -> Iterator[Window]:
        for document in documents:
            self._begin(document)
            for ids, strata in self.encoder.pieces(document, self.length):
                self.cut += self._number == 1
                starts = np.zeros(len(ids), np.bool_)
                starts[0] = True
                number = self.documents - 1
                numbers = np.full(len(ids), number)
                yield Window(number, document.digest, self._number, ids, strata, starts, numbers)
                self._number += 1

    def _packed(self, documents: Iterable[Document], length: int) -> Iterator[Window]:
        shard = list(documents)
        pieces = self._separated([self.encoder.whole(d) for d in shard])
        ids = np.concatenate([ids for ids, _ in pieces] or [np.zeros(0, np.int64)])
        strata = np.concatenate([strata for _, strata in pieces] or [np.zeros(0, np.int8)])
        lengths = [len(ids) for ids, _ in pieces]
        begins = np.cumsum([0, *lengths])
        numbers = self.documents - 1 + np.cumsum([not d.part for d in shard])
        of_token = np.repeat(numbers, lengths)
        starts = np.isin(np.arange(len(ids)), begins)
        waiting = list(zip(begins, shard, strict=False))[::-1]
        for start in range(0, len(ids), length):
            here = slice(start, start + length)
            while waiting and waiting[-1][0] < start + length:
                self._begin(waiting.pop()[1])
            first = int(of_token[start])
            if not starts[start] and first != self._last_cut:
                self.cut += 1
                self._last_cut = first
            own = starts[here].copy()
            own[0] = True
            digest = hashlib.blake2b(ids[here].astype("<i8").tobytes(), digest_size=8).digest()
            yield Window(
                first,
                int.from_bytes(digest, "little"),
                0,
                ids[here],
                strata[here],
                own,
                of_token[here],
            )

    def _separated(self, pieces: list[Piece]) -> list[Piece]:
        """Put an EOS between documents where the next does not start with a BOS."""
        return [
            # Nothing follows the last one: it is as if one like it did.
            piece if self._opens(piece if after is None else after) else self.encoder.closed(piece)
            for piece, after in zip_longest(pieces, pieces[1:])
        ]

    def _opens(self, piece: Piece) -> bool:
        return len(piece[0]) > 0 and int(piece[0][0]) in self._opening

    def _begin(self, document: Document) -> None:
        """Count a document; a part that goes on is none of its own."""
        if document.part:
            return
        self.documents += 1
        self._number = 0
        whole = document.digest if document.whole is None else document.whole
        self.digest.update(whole.to_bytes(8, "little"))


def limit_tokens(windows: Iterable[Window], tokens: int | None) -> Iterator[Window]:
    """Stop after a number of tokens; the last window is cut."""
    if tokens is None:
        yield from windows
        return
    left = tokens
    if left <= 0:
        return
    for window in windows:
        kept = slice(left)
        yield (
            window
            if len(window.ids) <= left
            else replace(
                window,
                ids=window.ids[kept],
                strata=window.strata[kept],
                starts=window.starts[kept],
                documents=window.documents[kept],
            )
        )
        left -= len(window.ids)
        if left <= 0:
            return
