"""Sources of text: samples, literal texts, files, folders, standard input, JSONL, chats."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hiddenscope.corpus.conversations import conversation, whole_characters
from hiddenscope.corpus.files import (
    READERS,
    as_prose,
    decode,
    find,
    rows,
    sample,
    skipped,
    texts_of,
)
from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_SOURCE = "sample:mixed"
STDIN = "-"
SPLITS = ("document", "lines", "paragraphs")

_BREAK = r"(?:\r\n|\n|\r(?!\n))"
_BORDERS = {"lines": _BREAK, "paragraphs": rf"{_BREAK}[^\S\r\n]*{_BREAK}\s*"}
"""What cuts a text; str.splitlines would cut at U+2028 and other marks inside of lines too."""

TEXT_COLUMN, CHAT_COLUMN = "text", "messages"


@dataclass(frozen=True)
class Document:
    """One text, from whose start positions and windows are counted.

    Attributes
    ----------
    text : str
        Of a chat: its messages (and tools, if any) as canonical JSON.
    name : str
        Where it came from, such as ``book.txt`` or ``rows.jsonl:12``.
    index : int
        Place in the corpus.
    start : int
        Of a part of a document that is longer than a shard: the byte of the document where it
        starts.
    whole : int, optional
        Of such a part: the digest of the whole document.
    messages : tuple of dict, optional
        Of a chat.
    tools : tuple of dict, optional
        The tools that the model of a chat may call.
    """

    text: str
    name: str
    index: int = 0
    start: int = 0
    whole: int | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None

    @cached_property
    def digest(self) -> int:
        """The first 64 bits of the SHA-256 of the text."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return int.from_bytes(digest[:8], "little")


def check_sources(
    sources: Sequence[str],
    texts: Sequence[str] = (),
    split: str = "document",
    *,
    chat: bool = False,
) -> None:
    """Refuse what cannot be read, before anything costly is done.

    Raises
    ------
    SourceError
        A source does not exist, is empty or holds no text; `split` is unknown; for chats, a
        source is not JSONL.
    """
    if split not in SPLITS:
        msg = f"unknown split {split!r}: choose one of {', '.join(SPLITS)}"
        raise SourceError(msg)
    if chat:
        _check_chat(sources, texts, split)
    if not sources and not texts:
        msg = f"no text to read: name a source such as {DEFAULT_SOURCE!r}, or give a text"
        raise SourceError(msg)
    if sources.count(STDIN) > 1:
        msg = "standard input (-) can be read only once"
        raise SourceError(msg)
    for source in sources:
        if source.startswith("sample:"):
            sample(source)
        elif source != STDIN:
            find(source, chat=chat)


def _check_chat(sources: Sequence[str], texts: Sequence[str], split: str) -> None:
    expected = f"chats are read from .jsonl files, a list of messages a row ({CHAT_COLUMN!r})"
    if texts or not sources:
        msg = f"{expected}, not from {'literal texts' if texts else 'nothing'}: name a file"
        raise SourceError(msg)
    if split != "document":
        msg = f"a chat is not cut by {split}: leave split at 'document'"
        raise SourceError(msg)
    for source in sources:
        if source == STDIN or source.startswith("sample:"):
            msg = f"{expected}, not from {source!r}: name a file or a folder of them"
            raise SourceError(msg)


def size(sources: Sequence[str], texts: Sequence[str] = (), *, chat: bool = False) -> int:
    """Return about how many bytes of text the sources hold, or 0 where it cannot be known."""
    if STDIN in sources:
        return 0
    paths = [
        p for s in sources for p in ([sample(s)] if s.startswith("sample:") else find(s, chat=chat))
    ]
    literal = sum(len(t.encode("utf-8", "surrogatepass")) for t in texts)
    return literal + sum(p.stat().st_size for p in paths)


def unread_files(sources: Sequence[str], *, chat: bool = False) -> dict[str, str]:
    """Say by folder which of its files are not read, and why; empty where all are."""
    named = {s: skipped(s, chat=chat) for s in sources if s != STDIN}
    return {source: what for source, what in named.items() if what}


def documents(
    sources: Sequence[str],
    texts: Sequence[str] = (),
    *,
    column: str | None = None,
    split: str = "document",
    chat: bool = False,
) -> Iterator[Document]:
    """Read documents one by one: the literal texts first, then the sources in order.

    Parameters
    ----------
    sources : sequence of str
        ``sample:NAME``, a text file (UTF-8, or as its byte order mark says), a folder of them
        (read in sorted order), a ``.jsonl`` or ``.ndjson`` file, or ``-`` for standard input.
        For chats: files and folders of such rows.
    texts : sequence of str
        Literal texts, a document each.
    column : str, optional
        The key of a JSONL row that holds the text, by default ``text``; of a chat the list of
        messages, by default ``messages``.
    split : {'document', 'lines', 'paragraphs'}
        Cut each text finer than a file or row.
    chat : bool
        Each row is a conversation.

    Yields
    ------
    Document
        Texts that are empty or white space are left out.

    Raises
    ------
    SourceError
        A source cannot be read; the message names the file and the place in it.
    """
    check_sources(sources, texts, split, chat=chat)
    if chat:
        yield from _chats(sources, CHAT_COLUMN if column is None else column)
        return
    for number, text in enumerate(texts, 1):
        yield from _cut(text, f"text {number}", split)
    for source in sources:
        for name, text in _read(source, TEXT_COLUMN if column is None else column):
            yield from _cut(text, name, split)


def _chats(sources: Sequence[str], column: str) -> Iterator[Document]:
    for path in (path for source in sources for path in find(source, chat=True)):
        for number, row in rows(path, column):
            name = f"{path}:{number}"
            text, messages, tools = conversation(row, column, name)
            yield Document(text, name, messages=messages, tools=tools)


def _read(source: str, column: str) -> Iterator[tuple[str, str]]:
    if source.startswith("sample:"):
        path = sample(source)
        found = (
            texts_of(path, TEXT_COLUMN)
            if path.suffix == ".jsonl"
            else [(1, decode(path.read_bytes(), source))]
        )
        for number, text in found:
            yield f"{source}#{number}", text
        return
    if source == STDIN:
        if sys.stdin is None:
            msg = "standard input (-) is closed: pipe a text into it"
            raise SourceError(msg)
        yield "standard input", decode(sys.stdin.buffer.read(), "standard input")
        return
    for path in find(source):
        yield from READERS.get(path.suffix.lower(), as_prose)(path, column)


def _cut(text: str, name: str, split: str) -> Iterator[Document]:
    text = whole_characters(text)
    pieces = re.split(_BORDERS[split], text) if split in _BORDERS else [text]
    for number, piece in enumerate(pieces, 1):
        if piece.strip():
            yield Document(piece, name if split == "document" else f"{name}#{number}")
