"""Strata, the disjoint classes of tokens, and views, unions of them.

A token is counted in exactly one stratum when it is measured. A view is chosen when a number
or a figure is read, so "without the first token" is never a re-run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from hiddenscope import arguments
from hiddenscope.errors import ViewError
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

FIRST, SPECIAL, REGULAR, MASSIVE = "first", "special", "regular", "massive"
TEMPLATE, ROLES = "template", ("system", "user", "assistant", "tool")
PROMPT, GENERATED = "prompt", "generated"

PADDING = -1
"""The stratum code of padding, which belongs to no stratum and is never counted."""

DEFAULT_VIEW = "rest"
LEFT_OUT_OF_REST = frozenset({FIRST, SPECIAL, TEMPLATE})
"""Which strata the view `rest` leaves out, where a run or a file does not say otherwise."""


@dataclass(frozen=True)
class Strata(Sequence[str]):
    """The strata of a run; a sequence of their names in the order of their codes.

    Attributes
    ----------
    names : tuple of str
    left_out : frozenset of str
        Those that the view ``rest`` leaves out.
    """

    names: tuple[str, ...]
    left_out: frozenset[str]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.names[index]

    def __len__(self) -> int:
        return len(self.names)

    def select(self, view: str) -> tuple[str, ...]:
        """Resolve a view to the strata that it holds.

        Parameters
        ----------
        view : str
            ``rest`` (all but ``first``, ``special`` and ``template``), ``all``, one stratum, or
            several joined by ``+`` and taken away by ``-``, from left to right:
            ``first+special``, ``rest-massive``.

        Returns
        -------
        tuple of str
            In the order of the codes.

        Raises
        ------
        ViewError
            A part of the view is neither a stratum nor a named view.
        InputError
            The view is no text.
        """
        arguments.check({"view": arguments.TEXT}, {"view": view})
        named = {
            "all": set(self.names),
            DEFAULT_VIEW: set(self.names) - self.left_out,
            **{stratum: {stratum} for stratum in self.names},
        }
        chosen: set[str] = set()
        for sign, part in re.findall(r"(^|[+-])([^+-]*)", view):
            if part not in named:
                msg = (
                    f"unknown view {part!r}: choose 'rest', 'all', one of the strata "
                    f"{', '.join(self.names)}, or several with '+' and '-' between, as in "
                    "'first+special' or 'rest-massive'"
                )
                raise ViewError(msg)
            chosen = chosen - named[part] if sign == "-" else chosen | named[part]
        return tuple(s for s in self.names if s in chosen)

    def words(self, view: str, tokens: Mapping[str, int]) -> str:
        """Say in words which tokens a view holds.

        Parameters
        ----------
        view : str
            A view, as in `select`.
        tokens : mapping of str to int
            Tokens of each stratum.

        Returns
        -------
        str
            For example ``first tokens left out: 8,128 of 8,192 tokens``.
        """
        chosen = self.select(view)
        total = sum(tokens.values())
        held = sum(tokens[s] for s in chosen)
        filled = [s for s, n in tokens.items() if n]
        missing = [s for s in filled if s not in chosen]
        if not missing:
            return f"all {counted(total, 'token')}"
        if len(missing) < len(filled) - len(missing) or view == DEFAULT_VIEW:
            what = f"{_join(missing)} tokens left out"
        else:
            what = f"{_join([s for s in filled if s in chosen]) or 'no'} tokens only"
        return f"{what}: {held:,} of {counted(total, 'token')}"

    def assign(
        self,
        ids: NDArray[np.int64],
        starts: NDArray[np.bool_],
        special: Iterable[int],
        base: NDArray[np.int8],
        *,
        causal: bool,
    ) -> NDArray[np.int8]:
        """Assign each token its stratum, but for `massive`, which the states decide.

        Parameters
        ----------
        ids : ndarray of int64
        starts : ndarray of bool
            Whether nothing comes before a token in its text: the first of a window, or of a
            document inside of one.
        special : iterable of int
            Ids of special tokens.
        base : ndarray of int8
            The code of each token that is neither first nor special; `PADDING` stays.
        causal : bool
            In a causal stream the tokens marked in `starts` are ``first``, even special ones; in
            a bidirectional stream no token is ``first``.

        Returns
        -------
        ndarray of int8
            Codes: indices into the run's strata.
        """
        strata = base.copy()
        counted = base != PADDING
        strata[counted & np.isin(ids, list(special))] = self.index(SPECIAL)
        if causal:
            strata[counted & starts] = self.index(FIRST)
        return strata


def _table(*between: str) -> Strata:
    """Make the strata of a run: `between` goes between the strata that every run has."""
    names = (FIRST, SPECIAL, *between, MASSIVE)
    return Strata(names, LEFT_OUT_OF_REST & set(names))


PLAIN = _table(REGULAR)
CHAT = _table(TEMPLATE, *ROLES)
RECORDED = _table(REGULAR, PROMPT, GENERATED)


def _join(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
