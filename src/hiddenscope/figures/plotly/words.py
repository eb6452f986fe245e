"""The words of an interactive figure, broken into lines."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope.figures.look import AUTO
from hiddenscope.figures.plotly.values import escaped, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.prepared import Prepared

TITLE, CLAIM, CAPTION = 15, 12, 11
"""Sizes of text in pixels."""
LETTER = {TITLE: 8.6, CLAIM: 6.4, CAPTION: 5.6}
"""Widths of a letter of each size."""


@dataclass(frozen=True)
class Words:
    """Title with claim, escaped, their height in pixels, and the lines of the caption."""

    title: str
    high: float
    caption: list[str]


def worded(shown: Prepared, look: Look, notes: Sequence[str], width: float) -> Words:
    """Write title, claim and caption for a figure `width` pixels wide."""
    title, claim = shown.title, shown.claim
    if look.title != AUTO:
        title, claim = look.title or "", claim if look.title else ""
    caption = " · ".join(text for text in (shown.caption, *notes) if text)
    caption = caption if look.caption == AUTO else look.caption or ""

    def broken(text: str, size: int) -> list[str]:
        most = max(int((width - 30) / LETTER[size]), 8)
        return [escaped(line) for line in textwrap.wrap(text, most)]

    first, second = broken(title, TITLE), broken(claim, CLAIM)
    text = lines([f"<b>{line}</b>" for line in first])
    if second:
        text += f'<br><span style="font-size:{CLAIM}px">{lines(second)}</span>'
    # Plotly sets all lines as far apart as those of the first size.
    high = 1.3 * TITLE * (len(first) + len(second)) + 10 * bool(first)
    return Words(text, high, broken(caption, CAPTION))
