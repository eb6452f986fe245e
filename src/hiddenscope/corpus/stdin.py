"""Standard input as a source of text."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN = "-"
STDIN_NAME = "standard input"
PIPE = "pipe a text into it, as in `hiddenscope profile demo - < book.txt`"


def standard_input() -> BinaryIO:
    """Return standard input; refuse one that is closed, or a terminal that would wait for words.

    Raises
    ------
    SourceError
        The message says how to pipe a text into it.
    """
    if sys.stdin is None or sys.stdin.closed:
        msg = f"standard input (-) is closed: {PIPE}"
        raise SourceError(msg)
    if sys.stdin.isatty():
        msg = f"nothing is piped into standard input (-): {PIPE}"
        raise SourceError(msg)
    return sys.stdin.buffer


@contextmanager
def spooled() -> Iterator[BinaryIO]:
    """Copy standard input into a temporary file, which can be read more than once.

    Raises
    ------
    SourceError
        It cannot be read, or there is no room for it.
    """
    with tempfile.TemporaryFile() as file:
        try:
            shutil.copyfileobj(standard_input(), file)
        except OSError as error:
            msg = (
                f"cannot copy standard input into {tempfile.gettempdir()!r} ({error.strerror}): "
                "make room there, or name another folder in TMPDIR"
            )
            raise SourceError(msg) from error
        yield file
