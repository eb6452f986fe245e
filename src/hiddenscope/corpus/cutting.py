"""Long texts in pieces, cut by content alone, so that no text is ever whole in memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE_BYTES = 1 << 16
"""The largest piece that is drawn for a sample; pieces are at least half as long."""
PART_BYTES = 1 << 20
"""The longest run of pieces that is read as one text, whose windows run across its pieces."""

# Ends of paragraphs, else of lines, else of words.
_BORDERS = (re.compile(rb"\n[^\S\n]*\n"), re.compile(rb"\n"), re.compile(rb"\s"))

_BREAK = r"(?:\r\n|\n|\r(?!\n))"
SPLITS = {
    "document": None,
    "lines": re.compile(_BREAK),
    "paragraphs": re.compile(rf"{_BREAK}[^\S\r\n]*{_BREAK}\s*"),
}
"""What cuts a text; str.splitlines would cut at U+2028 and other marks inside of lines too."""


def pieces(chunks: Iterable[str], limit: int) -> Iterator[bytes]:
    """Cut a text into pieces of at most `limit` bytes of UTF-8.

    A text that is longer is cut at the last end of a paragraph that leaves more than half of
    `limit`; where there is none at the end of a line, else at white space, else between two
    characters. The white space at a border begins the next piece, as most tokenizers see words.
    How the text arrives in chunks changes nothing.

    Parameters
    ----------
    chunks : iterable of str
        The text, in any parts.
    limit : int
        At least 4, the bytes of the longest character.

    Yields
    ------
    bytes
        UTF-8. All of them together are the text.
    """
    data = b""
    for chunk in chunks:
        data += chunk.encode()
        start = 0
        while len(data) - start > limit:
            stop = _border(data, start, start + limit)
            yield data[start:stop]
            start = stop
        data = data[start:]
    yield data


def parts(chunks: Iterable[str], limit: int, piece: int) -> Iterator[tuple[int, str, bool]]:
    """Join the neighbouring pieces of a text into parts of at most `limit` bytes of UTF-8.

    Parameters
    ----------
    chunks : iterable of str
    limit : int
        A single piece may be longer.
    piece : int
        The limit of a piece.

    Yields
    ------
    start : int
        The byte of the text where the part starts.
    text : str
    last : bool
        Whether the text ends with it.
    """
    start, held = 0, b""
    for data in pieces(chunks, piece):
        if held and len(held) + len(data) > limit:
            yield start, held.decode(), False
            start, held = start + len(held), b""
        held += data
    yield start, held.decode(), True


def _border(data: bytes, start: int, stop: int) -> int:
    half = (start + stop) // 2
    for border in _BORDERS:
        found = [match.start() for match in border.finditer(data, half, stop)]
        # Back to where the white space begins.
        last = half + len(data[half : found[-1]].rstrip()) if found else half
        if last > half:
            return last
    # UTF-8 continues a character with 10xxxxxx.
    while stop > start + 1 and data[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop


def split_text(chunks: Iterable[str], split: str) -> Iterator[str]:
    """Cut a text into lines or paragraphs, of which the longest is in memory.

    Parameters
    ----------
    chunks : iterable of str
        The text, in any parts.
    split : {'lines', 'paragraphs'}

    Yields
    ------
    str
        Blank ones too.
    """
    border = SPLITS[split]
    assert border is not None
    held: list[str] = []
    space = ""
    for chunk in chunks:
        text = space + chunk
        # White space at the end may be the beginning of a border, or may end a longer one.
        solid = text.rstrip()
        space = text[len(solid) :]
        first, *more = border.split(solid)
        held.append(first)
        for following in more:
            yield "".join(held)
            held = [following]
    last = border.split(space)
    yield "".join([*held, last[0]])
    yield from last[1:]
