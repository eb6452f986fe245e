"""Strata, the disjoint classes of tokens, and views, unions of them.

A token is counted in exactly one stratum when it is measured. A view is chosen when a number
or a figure is read, so "without the first token" is never a re-run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.errors import ViewError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST, SPECIAL, REGULAR = "first", "special", "regular"
STRATA = (FIRST, SPECIAL, REGULAR)
PADDING = -1
"""The stratum code of padding, which belongs to no stratum and is never counted."""

LEFT_OUT_OF_REST = frozenset({FIRST, SPECIAL, "template"})
DEFAULT_VIEW = "rest"


def select(view: str, available: Sequence[str] = STRATA) -> tuple[str, ...]:
    """Resolve a view to the strata that it holds.

    Parameters
    ----------
    view : str
        ``rest`` (all but ``first``, ``special`` and ``template``), ``all``, one stratum, or
        several joined by ``+``, such as ``first+special``.
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
    """
    chosen: set[str] = set()
    for part in view.split("+"):
        if part == "all":
            chosen.update(available)
        elif part == DEFAULT_VIEW:
            chosen.update(s for s in available if s not in LEFT_OUT_OF_REST)
        elif part in available:
            chosen.add(part)
        else:
            msg = (
                f"unknown view {part!r}: choose 'rest', 'all', one of the strata "
                f"{', '.join(available)}, or several joined by '+'"
            )
            raise ViewError(msg)
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
