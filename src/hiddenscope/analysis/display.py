"""What outliers look like in a notebook and when they are printed."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from hiddenscope.analysis.outlier_sentences import channel_words, massive_words, outlier_words
from hiddenscope.errors import ProfileError
from hiddenscope.words import number, visible

if TYPE_CHECKING:
    from hiddenscope.analysis.outlying import Outliers


def safe(words: str) -> str:
    """Make a text fit for HTML: markup escaped, control characters shown."""
    return escape(visible(words))


def outliers_text(found: Outliers) -> str:
    """Name outliers in words."""
    return "\n".join(visible(words) for words in outlier_words(found))


def outliers_html(found: Outliers) -> str:
    """Show outliers as HTML: in words, then both tables."""
    parts = []
    for words, name in (
        (massive_words(found), "massive_channels"),
        (channel_words(found), "channels"),
    ):
        parts.append(f"<div>{safe(words)}</div>")
        try:
            table = getattr(found, name)
        except ProfileError:
            continue
        if len(table):
            texts = table.select_dtypes(exclude="number").columns
            plain = table.assign(**{c: table[c].map(lambda v: visible(str(v))) for c in texts})
            parts.append(plain.to_html(escape=True, float_format=number))
    return f"<div>{''.join(parts)}</div>"
