"""Windows: what the model sees at once."""

from __future__ import annotations

import hashlib
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.corpus.encoding import Encoder, opening_ids
from hiddenscope.errors import InputError
from hiddenscope.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from hiddenscope.corpus.document import Document
    from hiddenscope.corpus.encoding import Piece
    from hiddenscope.corpus.tally import Tally


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
        the first. A part of a long document is a text of its own here, as it is elsewhere.
    chat : bool
        Documents are conversations, which the tokenizer's chat template writes.

    Attributes
    ----------
    strata : Strata
        What the codes of base strata mean.

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
        self._opening = opening_ids(tokenizer)

    def __call__(self, documents: Iterable[Document], tally: Tally) -> Iterator[Tokens]:
        """Tokenize a shard's documents, in order, into windows.

        Parameters
        ----------
        documents : iterable of Document
        tally : Tally
            Counts documents and windows as they are taken: after an early stop, the rest is not
            counted.

        Yields
        ------
        Tokens[1, pos]
        """
        pack = self._pack
        made = (
            self._apart(documents, tally) if pack is None else self._packed(documents, tally, pack)
        )
        for window in made:
            tally.windows += 1
            tally.with_bos += int(window.ids[0, 0]) in self._opening
            yield window

    def _apart(self, documents: Iterable[Document], tally: Tally) -> Iterator[Tokens]:
        for document in documents:
            tally.begin(document)
            for number, (ids, strata) in enumerate(self.encoder.pieces(document, self.length)):
                # Of a document in parts this was counted with its first.
                tally.cut += number == 1 and not document.part
                yield Tokens.of_window(
                    ids,
                    strata,
                    starts=np.arange(len(ids)) == 0,
                    document=np.full(len(ids), document.index),
                    window=document.start + number,
                    digest=document.digest,
                )

    def _packed(self, documents: Iterable[Document], tally: Tally, length: int) -> Iterator[Tokens]:
        shard = list(documents)
        pieces = self._separated([self.encoder.whole(d) for d in shard])
        ids = np.concatenate([ids for ids, _ in pieces] or [np.zeros(0, np.int64)])
        strata = np.concatenate([strata for _, strata in pieces] or [np.zeros(0, np.int8)])
        lengths = [len(ids) for ids, _ in pieces]
        begins = np.cumsum([0, *lengths])
        of_token, part_start = (
            np.repeat(values, lengths)
            for values in ([d.index for d in shard], [d.start for d in shard])
        )
        starts = np.isin(np.arange(len(ids)), begins)
        waiting = list(zip(begins, shard, strict=False))[::-1]
        cut = {d.index for d in shard if d.part}
        for number, start in enumerate(range(0, len(ids), length)):
            here = slice(start, start + length)
            while waiting and waiting[-1][0] < start + length:
                tally.begin(waiting.pop()[1])
            first = int(of_token[start])
            if not starts[start] and first not in cut:
                tally.cut += 1
                cut.add(first)
            own = starts[here].copy()
            own[0] = True
            digest = hashlib.blake2b(ids[here].astype("<i8").tobytes(), digest_size=8).digest()
            yield Tokens.of_window(
                ids[here],
                strata[here],
                own,
                of_token[here],
                # Not the index within a document, but different for all windows of a document.
                window=int(part_start[start]) + number,
                digest=int.from_bytes(digest, "little"),
            )

    def _separated(self, pieces: list[Piece]) -> list[Piece]:
        """Put an EOS between documents where the next does not start with a BOS."""
        return [
            # Nothing follows the last piece: it is treated as if a piece like it followed.
            piece if self._opens(piece if after is None else after) else self.encoder.closed(piece)
            for piece, after in zip_longest(pieces, pieces[1:])
        ]

    def _opens(self, piece: Piece) -> bool:
        return len(piece[0]) > 0 and int(piece[0][0]) in self._opening


def limit_tokens(windows: Iterable[Tokens], tokens: int | None) -> Iterator[Tokens]:
    """Stop after a number of tokens; the last window is cut."""
    if tokens is None:
        yield from windows
        return
    left = tokens
    if left <= 0:
        return
    for window in windows:
        yield window if window.length <= left else window.cut(left)
        left -= window.length
        if left <= 0:
            return
