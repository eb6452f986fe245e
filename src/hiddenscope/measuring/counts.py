"""What forward passes showed beside their states, in numbers that add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Counts:
    """Tokens, rows and dtypes of one stream, over any number of forward passes.

    Attributes
    ----------
    tokens : mapping of str to int
        By stratum.
    padding : int
    rows : int
        Rows whose place was read off the call; each counts as a document.
    attended : int
        Tokens that the attention masks let through.
    padded : frozenset of {'left', 'right'}
        Sides on which there was padding; a side is left out where the caller gave positions.
    starts, starts_with_bos : int
        Rows that start a text, and those of them that start with a BOS.
    mixed : bool
        Whether states were computed with a rotary table that a longer text had set.
    dtypes : mapping of str to str
        Of the states, by site.
    """

    tokens: Mapping[str, int] = field(default_factory=dict)
    padding: int = 0
    rows: int = 0
    attended: int = 0
    padded: frozenset[str] = frozenset()
    starts: int = 0
    starts_with_bos: int = 0
    mixed: bool = False
    dtypes: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Tokens of all strata."""
        return sum(self.tokens.values())

    def merge(self, other: Counts) -> Counts:
        """Join the counts of other forward passes; neither is changed."""
        strata = dict.fromkeys([*self.tokens, *other.tokens])
        return Counts(
            tokens={s: self.tokens.get(s, 0) + other.tokens.get(s, 0) for s in strata},
            padding=self.padding + other.padding,
            rows=self.rows + other.rows,
            attended=self.attended + other.attended,
            padded=self.padded | other.padded,
            starts=self.starts + other.starts,
            starts_with_bos=self.starts_with_bos + other.starts_with_bos,
            mixed=self.mixed or other.mixed,
            dtypes={**self.dtypes, **other.dtypes},
        )
