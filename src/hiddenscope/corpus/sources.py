"""Sources of text: samples, literal texts, files, folders, standard input, JSONL."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEFAULT_SOURCE = "sample:mixed"
STDIN = "-"
SPLITS = ("document", "lines", "paragraphs")

_HALVES = re.compile("[\ud800-\udfff]")
_TEXT_SUFFIXES = {".txt", ".text", ".md", ".rst", ".jsonl", ""}


@dataclass(frozen=True)
class Document:
    """One text, from whose start positions and windows are counted.

    Attributes
    ----------
    text : str
    name : str
        Where it came from, such as ``book.txt`` or ``rows.jsonl:12``.
    part : int
        Which part of a document that is longer than a shard; 0 for the first or only one.
    whole : int, optional
        The digest of the whole document that this is a part of.
    """

    text: str
    name: str
    part: int = 0
    whole: int | None = None

    @cached_property
    def digest(self) -> int:
        """The first 64 bits of the SHA-256 of the text."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return int.from_bytes(digest[:8], "little")


def check_sources(
    sources: Sequence[str], texts: Sequence[str] = (), split: str = "document"
) -> None:
    """Refuse what cannot be read, before anything costly is done.

    Raises
    ------
    SourceError
        A source does not exist, is empty or holds no text; `split` is unknown.
    """
    if split not in SPLITS:
        msg = f"unknown split {split!r}: choose one of {', '.join(SPLITS)}"
        raise SourceError(msg)
    if not sources and not texts:
        msg = f"no text to read: name a source such as {DEFAULT_SOURCE!r}, or give a text"
        raise SourceError(msg)
    if sources.count(STDIN) > 1:
        msg = "standard input (-) can be read only once"
        raise SourceError(msg)
    for source in sources:
        if source.startswith("sample:"):
            _sample(source)
        elif source != STDIN:
            _files(source)


def size(sources: Sequence[str], texts: Sequence[str] = ()) -> int:
    """Return about how many bytes of text the sources hold, or 0 where it cannot be known."""
    if STDIN in sources:
        return 0
    paths = [p for s in sources for p in ([_sample(s)] if s.startswith("sample:") else _files(s))]
    literal = sum(len(t.encode("utf-8", "surrogatepass")) for t in texts)
    return literal + sum(p.stat().st_size for p in paths)


def documents(
    sources: Sequence[str],
    texts: Sequence[str] = (),
    *,
    column: str = "text",
    split: str = "document",
) -> Iterator[Document]:
    """Read documents one by one: the literal texts first, then the sources in order.

    Parameters
    ----------
    sources : sequence of str
        ``sample:NAME``, a UTF-8 text file, a folder of them (read in sorted order), a
        ``.jsonl`` file, or ``-`` for standard input.
    texts : sequence of str
        Literal texts, a document each.
    column : str
        The key of a JSONL row that holds the text.
    split : {'document', 'lines', 'paragraphs'}
        Cut each text finer than a file or row.

    Yields
    ------
    Document
        Texts that are empty or white space are left out.

    Raises
    ------
    SourceError
        A source cannot be read; the message names the file and the place in it.
    """
    check_sources(sources, texts, split)
    for number, text in enumerate(texts, 1):
        yield from _cut(text, f"text {number}", split)
    for source in sources:
        for name, text in _read(source, column):
            yield from _cut(text, name, split)


def _read(source: str, column: str) -> Iterator[tuple[str, str]]:
    if source.startswith("sample:"):
        path = _sample(source)
        rows = (
            _rows(path, "text")
            if path.suffix == ".jsonl"
            else [(1, _decode(path.read_bytes(), source))]
        )
        for number, text in rows:
            yield f"{source}#{number}", text
        return
    if source == STDIN:
        if sys.stdin is None:
            msg = "standard input (-) is closed: pipe a text into it"
            raise SourceError(msg)
        yield "standard input", _decode(sys.stdin.buffer.read(), "standard input")
        return
    for path in _files(source):
        if path.suffix.lower() == ".jsonl":
            for number, text in _rows(path, column):
                yield f"{path}:{number}", text
        else:
            yield str(path), _decode(_bytes(path), str(path))


def _cut(text: str, name: str, split: str) -> Iterator[Document]:
    # Half a surrogate pair (from JSON escapes or a shell's raw bytes) is no character.
    text = _HALVES.sub("\ufffd", text)
    if split == "lines":
        pieces: Iterable[str] = text.splitlines()
    elif split == "paragraphs":
        pieces = re.split(r"\n[^\S\n]*\n\s*", text)
    else:
        pieces = [text]
    for number, piece in enumerate(pieces, 1):
        if piece.strip():
            yield Document(piece, name if split == "document" else f"{name}#{number}")


def _sample(source: str) -> Path:
    folder = Path(str(files("hiddenscope") / "assets" / "samples"))
    name = source.removeprefix("sample:")
    known = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix in {".txt", ".jsonl"}}
    if name not in known:
        msg = f"there is no sample {name!r}: choose {' or '.join(f'sample:{k}' for k in known)}"
        raise SourceError(msg)
    return known[name]


def _files(source: str) -> list[Path]:
    path = Path(source)
    try:
        path.stat()
    except FileNotFoundError:
        msg = f"there is no file or folder {source!r}: check the path, or use --text for a text"
        raise SourceError(msg) from None
    except (OSError, ValueError) as error:
        shown = source if len(source) <= 60 else source[:60] + "…"
        msg = f"cannot read {shown!r} ({_reason(error)}): check the path, or use --text for a text"
        raise SourceError(msg) from error
    if path.is_dir():
        found = [
            p
            for p in sorted(path.rglob("*"))
            if p.is_file()
            and p.suffix.lower() in _TEXT_SUFFIXES
            and p.stat().st_size
            and not any(part.startswith(".") for part in p.relative_to(path).parts)
        ]
        if not found:
            msg = f"the folder {source!r} holds no text files (.txt, .md, .rst, .jsonl)"
            raise SourceError(msg)
        return found
    if path.is_file() and not path.stat().st_size:
        msg = f"the file {source!r} is empty"
        raise SourceError(msg)
    return [path]


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {_reason(error)}"
        raise SourceError(msg) from error


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = (
            f"{name!r} is not UTF-8: byte {error.start} is 0x{data[error.start]:02X}; "
            "convert it, for example with iconv -f latin1 -t utf-8"
        )
        raise SourceError(msg) from error


def _rows(path: Path, column: str) -> Iterator[tuple[int, str]]:
    try:
        file = path.open("rb")
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {_reason(error)}"
        raise SourceError(msg) from error
    with file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            text = _decode(line, where)
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                msg = f"{where} is not JSON ({error}): expected one object a line"
                raise SourceError(msg) from error
            if not isinstance(row, dict) or column not in row:
                keys = ", ".join(map(repr, row)) if isinstance(row, dict) else "no keys"
                msg = f"{where} has no column {column!r} (it has {keys}): choose one with --column"
                raise SourceError(msg)
            if not isinstance(row[column], str):
                kind = type(row[column]).__name__
                msg = f"{where}: column {column!r} holds {kind}, expected a text"
                raise SourceError(msg)
            yield number, row[column]
