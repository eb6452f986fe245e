"""Arguments of the wrong kind, refused by name before anything costly is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Kind(NamedTuple):
    """What an argument may be, in words and as a test."""

    expected: str
    fits: Callable[[Any], bool]


def _of(expected: str, *types: type) -> Kind:
    # True is an int in Python, and no number here.
    return Kind(
        expected,
        lambda value: (
            isinstance(value, types) and (bool in types or not isinstance(value, bool | np.bool_))
        ),
    )


def optional(kind: Kind) -> Kind:
    """Return a kind that may also be None."""
    return Kind(f"{kind.expected}, or None", lambda value: value is None or kind.fits(value))


TEXT = _of("a text", str)
FLAG = _of("True or False", bool, np.bool_)
WHOLE = _of("a whole number", int, np.integer)
NUMBER = _of("a number", int, float, np.integer, np.floating)
FLAG_OR_FUNCTION = Kind(
    "True, False or a function", lambda value: FLAG.fits(value) or callable(value)
)
DEVICE_MAP = _of("a name such as 'auto' or a dictionary", str, dict)


def _torch(expected: str, name: str) -> Kind:
    """Return a kind that is a text or an object of torch, which is not imported for that."""
    return Kind(
        expected,
        lambda value: (
            isinstance(value, str)
            or (type(value).__module__, type(value).__name__) == ("torch", name)
        ),
    )


DTYPE = _torch("a name such as 'float32'", "dtype")
DEVICE = _torch("a name such as 'cpu'", "device")


def check(kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> None:
    """Refuse arguments that are not of their kind.

    Raises
    ------
    InputError
        The message says which, what was expected and what came.
    """
    for name, kind in kinds.items():
        if not kind.fits(given[name]):
            msg = f"{name} must be {kind.expected}, got {shown(given[name])}"
            raise InputError(msg)


def texts(name: str, value: Any, *, paths: bool = False, none: bool = True) -> list[str]:
    """Return one text, or several, as a list.

    Parameters
    ----------
    name : str
    value : str or iterable of str
        None stands for none where `none` allows it.
    paths : bool
        Whether a Path stands for its text.
    none : bool

    Raises
    ------
    InputError
        It is, or holds, something else.
    """
    types = (str, os.PathLike) if paths else (str,)
    kind = f"a text{' or Path' * paths}"
    if value is None and none:
        return []
    several = [value] if isinstance(value, types) else value
    if isinstance(several, bytes | bytearray | Mapping) or not _holds_several(several):
        msg = f"{name} must be {kind} or a list of them, got {shown(value)}"
        raise InputError(msg)
    held = list(several)
    for number, item in enumerate(held, 1):
        if not isinstance(item, types):
            msg = f"{name} must hold {kind} each, but number {number} is {shown(item)}"
            raise InputError(msg)
    return [os.fsdecode(item) if isinstance(item, os.PathLike) else str(item) for item in held]


def numbers(name: str, value: Any, *, whole: bool = False) -> NDArray[Any]:
    """Return one number, or several, as an array of one axis.

    Raises
    ------
    InputError
        It is, or holds, something else.
    """
    kind = WHOLE if whole else NUMBER
    held = list(value) if _holds_several(value) and not isinstance(value, str) else [value]
    for item in held:
        if not kind.fits(item):
            msg = f"{name} must be {kind.expected} or several, got {shown(value)}"
            raise InputError(msg)
    return np.array(held, np.int64 if whole else np.float64)


def probabilities(name: str, value: Any) -> NDArray[np.float64]:
    """Return one probability, or several, as an array of one axis.

    Raises
    ------
    InputError
        It is, or holds, something else.
    """
    levels = numbers(name, value)
    if not ((levels >= 0) & (levels <= 1)).all():
        msg = f"quantiles are probabilities between 0 and 1, got {levels.tolist()}"
        raise InputError(msg)
    return levels


def limits(name: str, value: Any) -> tuple[float, float]:
    """Return two finite numbers, the smaller first.

    Raises
    ------
    InputError
        It is something else.
    """
    ends = numbers(name, value)
    if len(ends) != 2 or not (np.isfinite(ends).all() and ends[0] < ends[1]):
        msg = f"the {name} must be two finite numbers, the smaller first, got {value}"
        raise InputError(msg)
    return float(ends[0]), float(ends[1])


def channels(name: str, value: Any, count: int) -> list[int]:
    """Return channels by number, in order and each once.

    Raises
    ------
    InputError
        One of them does not exist.
    """
    chosen = sorted(set(numbers(name, value, whole=True).tolist()))
    wrong = [c for c in chosen if not 0 <= c < count]
    if wrong:
        msg = f"{name} names channel {wrong[0]}: channels run from 0 to {count - 1}"
        raise InputError(msg)
    return chosen


def _holds_several(value: Any) -> bool:
    # An array without axes calls itself iterable and is not.
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def shown(value: Any) -> str:
    """Say what came, in a few words."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, bytes | bytearray):
        return f"bytes ({bytes(value[:20])!r}): decode them first"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, os.PathLike):
        return f"the path {os.fsdecode(value)!r}"
    return f"a {type(value).__name__}"
