"""Strata, the disjoint classes of tokens, and views, unions of them.

A token is counted in exactly one stratum when it is measured. A view is chosen when a number
or a figure is read, so "without the first token" is never a re-run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import arguments
from hiddenscope.errors import ViewError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

FIRST, SPECIAL, REGULAR, MASSIVE = "first", "special", "regular", "massive"
TEMPLATE, ROLES = "template", ("system", "user", "assistant", "tool")
PROMPT, GENERATED = "prompt", "generated"

# The strata of a run, in the order of their codes. `first` and `special` lead each of them and
# `massive` ends it; what lies between depends on what is known of the tokens.
PLAIN = (FIRST, SPECIAL, REGULAR, MASSIVE)
CHAT = (FIRST, SPECIAL, TEMPLATE, *ROLES, MASSIVE)
RECORDED = (FIRST, SPECIAL, REGULAR, PROMPT, GENERATED, MASSIVE)
ALL_STRATA = tuple(dict.fromkeys((*PLAIN[:-1], *CHAT[2:-1], *RECORDED[3:])))
"""Every stratum that there is, to check a view before anything is measured."""

PADDING = -1
"""The stratum code of padding, which belongs to no stratum and is never counted."""

LEFT_OUT_OF_REST = frozenset({FIRST, SPECIAL, TEMPLATE})
DEFAULT_VIEW = "rest"


def stratify(
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
        In a causal stream such tokens are ``first``, special or not; in a bidirectional one
        nothing is first merely by position.

    Returns
    -------
    ndarray of int8
        Codes: indices into the run's strata.
    """
    strata = base.copy()
    counted = base != PADDING
    strata[counted & np.isin(ids, list(special))] = PLAIN.index(SPECIAL)
    if causal:
        strata[counted & starts] = PLAIN.index(FIRST)
    return strata


def select(view: str, available: Sequence[str] = ALL_STRATA) -> tuple[str, ...]:
    """Resolve a view to the strata that it holds.

    Parameters
    ----------
    view : str
        ``rest`` (all but ``first``, ``special`` and ``template``), ``all``, one stratum, or
        several joined by ``+`` and taken away by ``-``, from left to right: ``first+special``,
        ``rest-massive``.
    available : sequence of str
        The strata of the profile.

    Returns
    -------
    tuple of str
        Strata in the order of `available`.

    Raises
    ------
    ViewError
        A part of the view is neither a stratum nor a named view.
    InputError
        The view is no text.
    """
    arguments.check({"view": arguments.TEXT}, {"view": view})
    named = {
        "all": set(available),
        DEFAULT_VIEW: set(available) - LEFT_OUT_OF_REST,
        **{stratum: {stratum} for stratum in available},
    }
    chosen: set[str] = set()
    for sign, part in re.findall(r"(^|[+-])([^+-]*)", view):
        if part not in named:
            msg = (
                f"unknown view {part!r}: choose 'rest', 'all', one of the strata "
                f"{', '.join(available)}, or several with '+' and '-' between, as in "
                "'first+special' or 'rest-massive'"
            )
            raise ViewError(msg)
        chosen = chosen - named[part] if sign == "-" else chosen | named[part]
    return tuple(s for s in available if s in chosen)


def words(view: str, tokens: Mapping[str, int]) -> str:
    """Say in words which tokens a view holds.

    Parameters
    ----------
    view : str
        A view, as in `select`.
    tokens : mapping of str to int
        Tokens of each stratum of the profile.

    Returns
    -------
    str
        For example ``first tokens left out: 8,128 of 8,192 tokens``.
    """
    chosen = select(view, tuple(tokens))
    total = sum(tokens.values())
    held = sum(tokens[s] for s in chosen)
    filled = [s for s, n in tokens.items() if n]
    missing = [s for s in filled if s not in chosen]
    if not missing:
        return f"all {total:,} tokens"
    if len(missing) < len(filled) - len(missing) or view == DEFAULT_VIEW:
        what = f"{_join(missing)} tokens left out"
    else:
        what = f"{_join([s for s in filled if s in chosen]) or 'no'} tokens only"
    return f"{what}: {held:,} of {total:,} tokens"


def _join(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
