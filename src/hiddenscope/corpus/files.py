"""Files that hold a corpus: which there are, and what stands in them."""

from __future__ import annotations

import io
import json
import os
import shlex
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hiddenscope.corpus.decoding import UTF8, decode, decoded, marked
from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from io import BufferedReader

_READ_BY_PANDAS = {
    ".json": "pd.read_json({0})",
    ".csv": "pd.read_csv({0})",
    ".tsv": "pd.read_csv({0}, sep='\\t')",
    ".parquet": "pd.read_parquet({0})",
}
"""Rows in a form that is not prose, and what turns them into JSONL."""
BLOCK = 1 << 18
"""Bytes that are read at once."""


def has_rows(path: Path) -> bool:
    """Whether a file holds a JSON object a line."""
    return READERS.get(path.suffix.lower()) is as_rows


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
        found = [p for p, why in _sorted(path, chat=chat) if why is None]
        if not found:
            what = "chats (.jsonl)" if chat else "text files (.txt, .md, .rst, .jsonl)"
            left_out = skipped(source, chat=chat)
            msg = f"the folder {source!r} holds no {what}" + (f": {left_out}" if left_out else "")
            raise SourceError(msg)
        return found
    if chat and not has_rows(path):
        msg = f"{source!r} is not a .jsonl file: chats are read from rows with a list of messages"
        raise SourceError(msg)
    if path.suffix.lower() in _READ_BY_PANDAS:
        raise _not_prose(source, path)
    if path.is_file() and not path.stat().st_size:
        msg = f"the file {source!r} is empty"
        raise SourceError(msg)
    return [path]


def check_seekable(sources: Sequence[str]) -> None:
    """Refuse pipes among sources that are to be read twice.

    Raises
    ------
    SourceError
        The message says how to give the text instead.
    """
    for source in sources:
        path = Path(source)
        if path.exists() and not (path.is_file() or path.is_dir()):
            msg = (
                f"{source!r} is a pipe, which can be read only once, but a sample is drawn from a "
                "text that is read twice: name a file, or use - for standard input"
            )
            raise SourceError(msg)


def skipped(source: str, *, chat: bool = False) -> str:
    """Say which files of a folder are not read, by reason; nothing where all are, or of a file."""
    path = Path(source)
    reasons: dict[str, list[str]] = {}
    for file, why in _sorted(path, chat=chat) if path.is_dir() else ():
        if why is not None:
            reasons.setdefault(why, []).append(str(file.relative_to(path)))
    return "; ".join(
        f"{len(names)} left out as {why} ({', '.join(names[:3])}{', …' * (len(names) > 3)})"
        for why, names in reasons.items()
    )


def _sorted(folder: Path, *, chat: bool) -> Iterator[tuple[Path, str | None]]:
    """Yield what is in a folder, and why it is not read, None where it is."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            if path.is_symlink():
                yield path, "a linked folder"
            elif not os.access(path, os.R_OK | os.X_OK):
                yield path, "a folder that may not be read"
            continue
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path, "hidden"
        elif not path.is_file():
            yield path, "no file"
        elif not (has_rows(path) if chat else path.suffix.lower() in READERS):
            yield path, f"{path.suffix}, no {'chats' if chat else 'text'}"
        else:
            yield path, None if path.stat().st_size else "empty"


def _not_prose(source: str, path: Path) -> SourceError:
    reading = _READ_BY_PANDAS[path.suffix.lower()].format(repr(str(path)))
    target = str(path.with_suffix(".jsonl"))
    code = f"import pandas as pd; {reading}.to_json({target!r}, orient='records', lines=True)"
    return SourceError(
        f"{source!r} holds rows, which are not read as prose: name it .jsonl if each line is a "
        f"JSON object, else convert it with python -c {shlex.quote(code)} and choose the column "
        "of the text with --column"
    )


def read(path: Path) -> bytes:
    """Return a file's bytes."""
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {_reason(error)}"
        raise SourceError(msg) from error


def blocks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield what is left of an open file, block by block; `name` is for the error."""
    try:
        while block := file.read(BLOCK):
            yield block
    except OSError as error:
        msg = f"cannot read {name!r}: {_reason(error)}"
        raise SourceError(msg) from error


def as_prose(path: Path, column: str) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield a file of prose as one text, which is read block by block."""
    with _open(path) as file:
        yield str(path), decoded(blocks(file, str(path)), str(path))


def as_rows(path: Path, column: str) -> Iterator[tuple[str, str]]:
    """Yield the text of each row of a JSONL file."""
    for number, text in texts_of(path, column):
        yield f"{path}:{number}", text


READERS: dict[str, Callable[[Path, str], Iterator[tuple[str, str | Iterable[str]]]]] = {
    **dict.fromkeys((".txt", ".text", ".md", ".rst", ""), as_prose),
    **dict.fromkeys((".jsonl", ".ndjson"), as_rows),
}
"""By suffix: what yields the name and the text of each document of a file.

They are called with the path and the column of the text. A text that may be larger than memory is
an iterator of its parts, which is read before the next text is asked for. A folder is searched for
these suffixes; a file of any other that is named by itself is read as prose.
"""


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
    for number, text in _lines(path):
        where = f"{path}:{number}"
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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, one in memory at a time."""
    with _open(path) as file:
        codec = marked(file.peek(4)[:4])
        if codec == UTF8:
            for number, line in enumerate(file, 1):
                yield number, decode(line, f"{path}:{number}")
            return
        number = 0
        try:
            with io.TextIOWrapper(file, codec, newline="\n") as wide:
                for number, text in enumerate(wide, 1):
                    yield number, text
        except UnicodeError as error:
            msg = f"{path}:{number + 1} is not whole {codec.upper()}: {error}"
            raise SourceError(msg) from error


@contextmanager
def _open(path: Path) -> Iterator[BufferedReader]:
    try:
        file = path.open("rb")
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {_reason(error)}"
        raise SourceError(msg) from error
    with file:
        yield file


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
