"""Standard output and error: printing may fail or lack characters without loss of a result."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

PLAIN = {
    **{"✓": "ok", "✗": "FAIL", "·": "-", "…": "...", "≤": "<=", "≥": ">=", "→": "->"},
    **dict.fromkeys("–−—─━╸╺", "-"),
    **dict.fromkeys("╭╮╰╯", "+"),
    **{"│": "|", "•": "*", "×": "x", "σ": "sigma", "²": "^2", "’": "'"},
}
"""What stands for our own marks where the terminal's encoding lacks them."""
_HANDLER = "hiddenscope.plain"
ENDLESS = 10_000
"""Columns of a pipe or a file, where no line is wrapped."""


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    # Token text may hold any character; what a terminal cannot show is replaced, never fatal.
    return "".join(PLAIN.get(character, "?") for character in missing), error.end


codecs.register_error(_HANDLER, _in_plain)


def can_show(text: str) -> bool:
    """Whether the encoding of standard output has all the characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(mark: str) -> str:
    """Return a mark, or what stands for it where standard output lacks it."""
    return mark if can_show(mark) else PLAIN.get(mark, "?")


class _Sink(io.RawIOBase):
    """Passes bytes on until that fails, as it does with ``| head -1``; then drops the rest."""

    def __init__(self, stream: Any) -> None:
        # Past its buffer, which would keep what failed and try again when Python ends.
        self._file = getattr(stream.buffer, "raw", stream.buffer)
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return int(self._file.write(data))
            except OSError as error:
                self.error = error
        return len(data)

    def isatty(self) -> bool:
        return bool(self._file.isatty())

    def fileno(self) -> int:
        return int(self._file.fileno())


class Guard:
    """What became of standard output."""

    def __init__(self) -> None:
        self.sinks: dict[str, _Sink] = {}

    def failure(self) -> str | None:
        """Say why standard output was lost; a reader that has seen enough is no failure."""
        for name in self.sinks:
            getattr(sys, name).flush()
        error = self.sinks["stdout"].error if "stdout" in self.sinks else None
        if error is None or isinstance(error, BrokenPipeError):
            return None
        return error.strerror or str(error)


def console() -> Console:
    """Return a console for standard output.

    Without any styling where NO_COLOR is set; and where nobody says how wide it is, as in a pipe,
    nothing is wrapped.
    """
    from rich.console import Console

    given: dict[str, Any] = {"highlight": False}
    if os.environ.get("NO_COLOR"):
        # By itself rich leaves out the colours then, and keeps bold and dim letters.
        given["color_system"] = None
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        given["width"] = ENDLESS
    return Console(**given)


@contextmanager
def guarded() -> Iterator[Guard]:
    """Keep a command going when nobody reads, or nothing can hold, what it prints."""
    guard = Guard()
    kept = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for name, stream in kept.items():
        if stream is None:  # it was closed before Python began
            setattr(sys, name, io.StringIO())
        # A notebook's has no bytes under it and cannot fail.
        elif hasattr(stream, "buffer"):
            stream.flush()
            sink = guard.sinks[name] = _Sink(stream)
            wrapped = io.TextIOWrapper(
                io.BufferedWriter(sink),
                encoding=stream.encoding,
                errors=_HANDLER,
                line_buffering=name == "stderr" or sink.isatty(),
            )
            setattr(sys, name, wrapped)
    try:
        yield guard
    finally:
        for name, stream in kept.items():
            if name in guard.sinks:
                getattr(sys, name).flush()
            setattr(sys, name, stream)
