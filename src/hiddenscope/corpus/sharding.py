"""Shards: fixed, ordered pieces of the corpus, cut by content alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hiddenscope.corpus.sources import Document

SHARD_BYTES = 1 << 20


def shards(
    documents: Iterable[Document], shard_bytes: int = SHARD_BYTES
) -> Iterator[list[Document]]:
    """Group documents, in order, into shards of at most `shard_bytes` of UTF-8.

    A document longer than a shard is cut at white space into parts, so that the tokenizer never
    holds more than a shard. It stays one document. Its windows start anew with each part and are
    numbered from the byte where the part starts, so that all their numbers differ without a look
    at earlier parts. A chat is never cut, because its messages belong together.

    Yields
    ------
    list of Document
    """
    shard: list[Document] = []
    size = 0
    for index, document in enumerate(documents):
        for part in _fit(replace(document, index=index), shard_bytes):
            length = len(part.text.encode())
            if shard and size + length > shard_bytes:
                yield shard
                shard, size = [], 0
            shard.append(part)
            size += length
    if shard:
        yield shard


def _fit(document: Document, limit: int) -> Iterator[Document]:
    data = document.text.encode()
    if len(data) <= limit or document.messages is not None:
        yield document
        return
    start, begun = 0, False
    while start < len(data):
        stop = min(start + limit, len(data))
        if stop < len(data):
            stop = _cut_before(data, start, stop)
        text = data[start:stop].decode()
        if text.strip():
            # What is blank before the first part is no part.
            yield replace(document, text=text, start=start * begun, whole=document.digest)
            begun = True
        start = stop


def _cut_before(data: bytes, start: int, stop: int) -> int:
    # The white space stays with what follows it, as most tokenizers see words.
    spaces = [m.start() for m in re.finditer(rb"\s", data[max(start + 1, stop - 4096) : stop])]
    if spaces:
        return max(start + 1, stop - 4096) + spaces[-1]
    # No white space near: at least not inside a character (UTF-8 continues with 10xxxxxx).
    while stop > start + 1 and data[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop
