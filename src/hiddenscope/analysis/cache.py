"""Tables that several answers need are made once for each stream of an open profile."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

P = ParamSpec("P")
T = TypeVar("T")


@xr.register_datatree_accessor(  # type: ignore[no-untyped-call]
    "_hiddenscope_tables"
)
class _Tables:
    """What was computed from a tree; xarray keeps it as long as the tree itself."""

    def __init__(self, tree: xr.DataTree | None) -> None:
        del tree
        self.held: dict[Hashable, Any] = {}
        self._arrays: list[xr.Variable] = []

    def of(self, stream: xr.DataTree) -> dict[Hashable, Any]:
        """Return what was computed from the arrays that the stream has now."""
        arrays = [v for node in stream.children.values() for v in node.variables.values()]
        if list(map(id, arrays)) != list(map(id, self._arrays)):
            # A group was replaced. The arrays are kept, or another could get the same id.
            self.held, self._arrays = {}, arrays
        return self.held

    def __reduce__(self) -> tuple[type[_Tables], tuple[None]]:
        # Another process, or a copy, computes its own.
        return type(self), (None,)


def cached(
    function: Callable[Concatenate[xr.DataTree, P], T],
) -> Callable[Concatenate[xr.DataTree, P], T]:
    """Make a function of a stream compute its answer once for each set of arguments.

    Parameters
    ----------
    function : callable
        Takes a stream, whose arrays are replaced but not written to, and arguments that can be
        hashed.

    Returns
    -------
    callable
        Returns a copy of a table at each call, so that a caller may change it; arrays cannot be
        written to.
    """

    @functools.wraps(function)
    def answer(stream: xr.DataTree, /, *args: P.args, **kwargs: P.kwargs) -> T:
        held: dict[Hashable, T] = stream._hiddenscope_tables.of(stream)
        # True is not 1 here.
        kinds = tuple(map(type, (*args, *kwargs.values())))
        key = (function, args, tuple(sorted(kwargs.items())), kinds)
        try:
            found = held.get(key)
        except TypeError:
            # An argument of a wrong kind: the function refuses it in its own words.
            return function(stream, *args, **kwargs)
        if found is None:
            found = held[key] = _locked(function(stream, *args, **kwargs))
        copied: T = _copied(found)
        return copied

    return answer


def _locked(value: Any) -> Any:
    parts = value.values() if isinstance(value, dict) else value
    for part in parts if isinstance(value, dict | tuple) else [value]:
        if isinstance(part, np.ndarray):
            part.setflags(write=False)
    return value


def _copied(value: Any) -> Any:
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.copy()
    return value.copy() if isinstance(value, dict) else value
