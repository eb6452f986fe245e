"""What is read of a corpus, one at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Document:
    """One text, or a part of one that is long, from whose start positions are counted.

    Attributes
    ----------
    text : str
        Of a chat: its messages (and tools, if any) as canonical JSON.
    name : str
        Where it came from, such as ``book.txt`` or ``rows.jsonl:12``.
    index : int
        Place in the corpus; parts of a text share it.
    start : int
        Of a part: the byte of the text where it starts. Its windows are numbered from there, so
        that all their numbers differ without a look at earlier parts.
    part : bool
        Whether the text is longer than this.
    begins : bool
        Whether nothing of the text is read before this.
    limit : int, optional
        How many of its tokens are read, at most.
    messages : tuple of dict, optional
        Of a chat.
    tools : tuple of dict, optional
        The tools that the model of a chat may call.
    """

    text: str
    name: str
    index: int = 0
    start: int = 0
    part: bool = False
    begins: bool = True
    limit: int | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None

    @cached_property
    def digest(self) -> int:
        """The first 64 bits of the SHA-256 of the text."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return int.from_bytes(digest[:8], "little")
