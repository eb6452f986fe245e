"""Shards: fixed, ordered pieces of the corpus, cut by content alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hiddenscope.corpus.document import Document

SHARD_BYTES = 1 << 20


def shards(
    documents: Iterable[Document], shard_bytes: int = SHARD_BYTES
) -> Iterator[list[Document]]:
    """Group documents, in order, into shards of at most `shard_bytes` of UTF-8.

    A document that is longer, or a part of one, is a shard of its own.

    Yields
    ------
    list of Document
    """
    shard: list[Document] = []
    size = 0
    for document in documents:
        length = len(document.text.encode())
        if shard and size + length > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(document)
        size += length
    if shard:
        yield shard
