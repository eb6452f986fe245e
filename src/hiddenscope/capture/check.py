"""One thing that a run checked of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One thing that a run checked.

    Attributes
    ----------
    name : str
    passed : bool
    detail : str
        What was found, in words.
    level : {'check', 'warning', 'note'}
        A failed ``check`` means that the numbers cannot be trusted; a ``warning`` is a
        property of the data that a reader should know; a ``note`` is only told.
    value : float, optional
        The number behind the words, where there is one.
    """

    name: str
    passed: bool
    detail: str
    level: str = "check"
    value: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)
