"""Bytes to text, block by block: UTF-8, or what a byte order mark says."""

from __future__ import annotations

import codecs
from itertools import chain
from typing import TYPE_CHECKING

from hiddenscope.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UTF8 = "utf-8-sig"
_MARKS = {
    # The mark of UTF-16 begins that of UTF-32, which is therefore looked for first.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
MAX_NUL = 0.05
"""The share of NUL from which something is no text; UTF-16 read as UTF-8 is half of it."""


def decode(data: bytes, name: str) -> str:
    """Read UTF-8, or what a byte order mark says; `name` is for the error.

    Raises
    ------
    SourceError
        It is neither, or is full of NUL and so no text; the message says how to convert it.
    """
    return "".join(decoded([data], name))


def decoded(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Do the same block by block; a character may begin in one block and end in the next.

    Raises
    ------
    SourceError
        As `decode`, when the block that is at fault is reached.
    """
    blocks = iter(blocks)
    head = next(blocks, b"")
    codec = marked(head)
    decoder = codecs.getincrementaldecoder(codec)()
    read = characters = nul = 0
    for block in chain([head], blocks, [b""]):
        read += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            what = "UTF-8" if codec == UTF8 else f"whole {codec.upper()}, as its first bytes say"
            # The decoder holds what it was given last, and before it a character's first bytes.
            place = read - len(error.object) + error.start
            msg = (
                f"{name!r} is not {what}: byte {place} is 0x{error.object[error.start]:02X}; "
                f"{_conversion(head)}"
            )
            raise SourceError(msg) from error
        characters += len(text)
        nul += text.count("\0")
        if nul > MAX_NUL * characters:
            msg = f"{name!r} is full of NUL and so no UTF-8 text; {_conversion(head)}"
            raise SourceError(msg)
        yield text


def marked(data: bytes) -> str:
    """Return the encoding that the first bytes of a text say."""
    return next((codec for mark, codec in _MARKS.items() if data.startswith(mark)), UTF8)


def _conversion(data: bytes) -> str:
    """Say how to make UTF-8 of bytes that are not, as far as their form tells."""
    # Latin letters in UTF-16 have their NUL second (little endian) or first. Windows-1252 has
    # all that Latin-1 has, and quotation marks where that has none.
    data = data[: 1 << 16]
    nul = [data[start::2].count(0) for start in (0, 1)]
    wide = max(nul) > MAX_NUL * len(data)
    codec = ("utf-16le" if nul[1] > nul[0] else "utf-16be") if wide else "windows-1252"
    text = data.decode(codec, "replace")
    strange = sum(not (c.isprintable() or c.isspace()) or c == "\ufffd" for c in text)
    if strange > MAX_NUL * len(text):
        return "if it is text, find its encoding, for example with file -i, and convert it"
    return f"convert it, for example with iconv -f {codec} -t utf-8"
