"""Files that hold a corpus: which there are, and what stands in them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".jsonl", "")
CHAT_SUFFIXES = (".jsonl",)


def sample(source: str) -> Path:
    """Return the file of a ``sample:NAME``."""
    folder = Path(str(files("hiddenscope") / "assets" / "samples"))
    name = source.removeprefix("sample:")
    known = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix in {".txt", ".jsonl"}}
    if name not in known:
        msg = f"there is no sample {name!r}: choose {' or '.join(f'sample:{k}' for k in known)}"
        raise SourceError(msg)
    return known[name]


def find(source: str, *, chat: bool = False) -> list[Path]:
    """Return the file, or the files of the folder, in sorted order; for chats JSONL alone."""
    path = Path(source)
    suffixes = CHAT_SUFFIXES if chat else TEXT_SUFFIXES
    advice = "check the path" if chat else "check the path, or use --text for a text"
    try:
        path.stat()
    except FileNotFoundError:
        msg = f"there is no file or folder {source!r}: {advice}"
        raise SourceError(msg) from None
    except (OSError, ValueError) as error:
        shown = source if len(source) <= 60 else source[:60] + "…"
        msg = f"cannot read {shown!r} ({_reason(error)}): {advice}"
        raise SourceError(msg) from error
    if path.is_dir():
        found = [
            p
            for p in sorted(path.rglob("*"))
            if p.is_file()
            and p.suffix.lower() in suffixes
            and p.stat().st_size
            and not any(part.startswith(".") for part in p.relative_to(path).parts)
        ]
        if not found:
            what = "chats (.jsonl)" if chat else "text files (.txt, .md, .rst, .jsonl)"
            msg = f"the folder {source!r} holds no {what}"
            raise SourceError(msg)
        return found
    if chat and path.suffix.lower() not in suffixes:
        msg = f"{source!r} is not a .jsonl file: chats are read from rows with a list of messages"
        raise SourceError(msg)
    if path.is_file() and not path.stat().st_size:
        msg = f"the file {source!r} is empty"
        raise SourceError(msg)
    return [path]


def read(path: Path) -> bytes:
    """Return a file's bytes."""
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {_reason(error)}"
        raise SourceError(msg) from error


def decode(data: bytes, name: str) -> str:
    """Read UTF-8, with or without a byte order mark; `name` is for the error."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = (
            f"{name!r} is not UTF-8: byte {error.start} is 0x{data[error.start]:02X}; "
            "convert it, for example with iconv -f latin1 -t utf-8"
        )
        raise SourceError(msg) from error


def texts_of(path: Path, column: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each row of a JSONL file."""
    for number, row in rows(path, column):
        if not isinstance(row[column], str):
            kind = type(row[column]).__name__
            msg = f"{path}:{number}: column {column!r} holds {kind}, expected a text"
            raise SourceError(msg)
        yield number, row[column]


def rows(path: Path, column: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the object of each row of a JSONL file; each has the column."""
    try:
        file = path.open("rb")
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {_reason(error)}"
        raise SourceError(msg) from error
    with file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            text = decode(line, where)
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
            yield number, row


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
