"""Text of any length for benchmarks: the words of the sample corpus in random order."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from hiddenscope import corpus

if TYPE_CHECKING:
    from collections.abc import Iterator


def words(seed: int) -> Iterator[str]:
    """Yield the sample's words in random order, for ever."""
    known = [w for d in corpus.documents([corpus.DEFAULT_SOURCE]) for w in d.text.split()]
    random = Random(seed)
    while True:
        random.shuffle(known)
        yield from known


def text(n_words: int, seed: int = 0) -> str:
    """Return a text of so many words, a hundred to a line."""
    stream = words(seed)
    lines = (" ".join(islice(stream, 100)) for _ in range(-(-n_words // 100)))
    return "\n".join(lines)
