"""A sample of a corpus: pieces drawn by hash over all of it, until they hold enough tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from hiddenscope.corpus.cutting import PIECE_BYTES
from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hiddenscope.corpus.document import Document


@dataclass(frozen=True)
class Drawn:
    """Which pieces of a corpus were drawn, and of how many.

    Attributes
    ----------
    tokens, seed : int
        What was asked for.
    limits : dict of (int, int) to int or None
        By document and first byte, how many tokens of a piece are read; None for all.
    read_tokens : int
        Tokens of the pieces drawn: fewer than `tokens` where the corpus holds no more.
    size : int
        Bytes of the pieces drawn.
    of_documents, of_pieces, of_bytes : int
        What the corpus holds.
    """

    tokens: int
    seed: int
    limits: dict[tuple[int, int], int | None]
    read_tokens: int
    size: int
    of_documents: int
    of_pieces: int
    of_bytes: int

    def select(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield the pieces drawn, in the order of the corpus.

        Parameters
        ----------
        documents : iterable of Document
            The pieces of the corpus from which they were drawn.

        Raises
        ------
        SourceError
            Some are not there any more.
        """
        found, last = 0, -1
        for document in documents:
            if found == len(self.limits):
                return
            place = document.index, document.start
            if place in self.limits:
                yield replace(document, limit=self.limits[place], begins=document.index != last)
                found, last = found + 1, document.index
        if found < len(self.limits):
            msg = (
                "the text is shorter than when pieces of it were drawn: run again when nothing "
                "writes to it"
            )
            raise SourceError(msg)

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the sample."""
        return {
            "tokens": self.tokens,
            "read_tokens": self.read_tokens,
            "seed": self.seed,
            "piece_bytes": PIECE_BYTES,
            "pieces": len(self.limits),
            "bytes": self.size,
            "of_documents": self.of_documents,
            "of_pieces": self.of_pieces,
            "of_bytes": self.of_bytes,
        }


def draw(
    documents: Iterable[Document],
    count: Callable[[Document], int],
    tokens: int,
    seed: int,
    tell: Callable[[int], None] = lambda _: None,
) -> Drawn:
    """Draw pieces of a corpus at random until they hold a number of tokens.

    Every piece has a random number: the hash of the seed, of its document's place in the corpus
    and of its own place in the document. Drawn are those with the smallest numbers, the fewest
    that hold the tokens; of the one with the largest number among them only the first tokens are
    read, as many as are missing. So pieces are drawn evenly over the corpus, whatever their
    order, and tokens are counted only in pieces that may be drawn: of n pieces that are equally
    long, about k (1 + log(n / k)) where k are drawn.

    Parameters
    ----------
    documents : iterable of Document
        All pieces of the corpus, in order; one is in memory at a time.
    count : callable
        Returns the tokens of a piece.
    tokens, seed : int
    tell : callable, optional
        Told how many bytes were read, about once a MiB.

    Returns
    -------
    Drawn
    """
    # Largest number first: that is the piece which one with a smaller number may replace.
    heap: list[tuple[int, tuple[int, int], int, int]] = []
    total = pieces = read = told = 0
    index = -1
    for document in documents:
        size = len(document.text.encode())
        index, pieces, read = document.index, pieces + 1, read + size
        if read - told >= 1 << 20:
            told = read
            tell(read)
        place = document.index, document.start
        number = _number(seed, *place)
        if total >= tokens and number > -heap[0][0]:
            continue
        held = count(document)
        if held:
            heappush(heap, (-number, place, held, size))
            total += held
        while heap and total - heap[0][2] >= tokens:
            total -= heappop(heap)[2]
    limits: dict[tuple[int, int], int | None] = {place: None for _, place, _, _ in heap}
    if total > tokens:
        _, place, held, _ = heap[0]
        limits[place] = held - (total - tokens)
    size = sum(size for *_, size in heap)
    return Drawn(tokens, seed, limits, min(total, tokens), size, index + 1, pieces, read)


def _number(seed: int, document: int, start: int) -> int:
    content = f"{seed}/{document}/{start}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
