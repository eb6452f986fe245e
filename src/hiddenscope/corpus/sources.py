"""Sources of text: samples, literal texts, files, folders, standard input, JSONL, chats."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from hiddenscope.corpus import cutting
from hiddenscope.corpus.conversations import conversation, whole_characters
from hiddenscope.corpus.decoding import decode, decoded
from hiddenscope.corpus.document import Document
from hiddenscope.corpus.files import (
    READERS,
    as_prose,
    blocks,
    find,
    rows,
    sample,
    skipped,
    texts_of,
)
from hiddenscope.corpus.stdin import PIPE, STDIN, STDIN_NAME, standard_input
from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEFAULT_SOURCE = "sample:mixed"
TEXT_COLUMN, CHAT_COLUMN = "text", "messages"


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
    if split not in cutting.SPLITS:
        msg = f"unknown split {split!r}: choose one of {', '.join(cutting.SPLITS)}"
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
        elif source == STDIN:
            standard_input()
        else:
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
    pieces: bool = False,
    stdin: BinaryIO | None = None,
) -> Iterator[Document]:
    """Read documents one by one: the literal texts first, then the sources in order.

    A text of more than 1 MiB comes in parts, each some of its pieces (`cutting.pieces`); no more
    than one of them is in memory. A chat is never cut, because its messages belong together.

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
    pieces : bool
        Each piece of a text is a part of its own.
    stdin : file, optional
        What stands for standard input.

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
    limit = cutting.PIECE_BYTES if pieces else cutting.PART_BYTES
    index = 0
    for name, chunks in _texts(sources, texts, TEXT_COLUMN if column is None else column, stdin):
        for text_name, text in _split(name, map(whole_characters, chunks), split):
            begins = True
            for start, part, last in cutting.parts(text, limit, cutting.PIECE_BYTES):
                if part.strip():
                    cut = start > 0 or not last
                    yield Document(part, text_name, index, start, part=cut, begins=begins)
                    begins = False
            index += not begins


def _chats(sources: Sequence[str], column: str) -> Iterator[Document]:
    found = (
        (f"{path}:{number}", row)
        for source in sources
        for path in find(source, chat=True)
        for number, row in rows(path, column)
    )
    for index, (name, row) in enumerate(found):
        text, messages, tools = conversation(row, column, name)
        yield Document(text, name, index, messages=messages, tools=tools)


def _texts(
    sources: Sequence[str], texts: Sequence[str], column: str, stdin: BinaryIO | None
) -> Iterator[tuple[str, Iterable[str]]]:
    for number, text in enumerate(texts, 1):
        yield f"text {number}", [text]
    for source in sources:
        for name, found in _read(source, column, stdin):
            yield name, [found] if isinstance(found, str) else found


def _read(
    source: str, column: str, stdin: BinaryIO | None
) -> Iterator[tuple[str, str | Iterable[str]]]:
    if source.startswith("sample:"):
        path = sample(source)
        numbered = (
            texts_of(path, TEXT_COLUMN)
            if path.suffix == ".jsonl"
            else [(1, decode(path.read_bytes(), source))]
        )
        for number, text in numbered:
            yield f"{source}#{number}", text
        return
    if source == STDIN:
        found = blocks(standard_input() if stdin is None else stdin, STDIN_NAME)
        first = next(found, None)
        if first is None:
            msg = f"standard input (-) is empty: {PIPE}"
            raise SourceError(msg)
        yield STDIN_NAME, decoded(chain([first], found), STDIN_NAME)
        return
    for path in find(source):
        yield from READERS.get(path.suffix.lower(), as_prose)(path, column)


def _split(name: str, chunks: Iterable[str], split: str) -> Iterator[tuple[str, Iterable[str]]]:
    if split == "document":
        yield name, chunks
        return
    for number, text in enumerate(cutting.split_text(chunks, split), 1):
        yield f"{name}#{number}", [text]
