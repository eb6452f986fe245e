"""The figures of a page: what is drawn in each view, or why nothing is."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hiddenscope import figures
from hiddenscope.errors import InputError
from hiddenscope.figures.look import Look
from hiddenscope.report import encode
from hiddenscope.report.tables import table_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiddenscope.report.subject import Subject


@dataclass(frozen=True)
class Figure:
    """One figure of a page.

    Attributes
    ----------
    key : str
        What it is called in the page's addresses.
    build : str
        Which function of the page's script draws it.
    by_view : dict of str to dict
        What is shown in each view: ``title``, ``claim``, ``caption`` and what `build` needs; or
        ``missing``, the reason why nothing is.
    common : dict
        What does not depend on the view.
    """

    key: str
    build: str
    by_view: dict[str, dict[str, Any]]
    common: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """What the page's script unpacks."""
        held = {"build": self.build, "views": self.by_view, **self.common}
        return encode.packed(held)

    @property
    def first(self) -> dict[str, Any]:
        """What is shown first."""
        return next(iter(self.by_view.values()))


def each_view(
    subject: Subject, key: str, title: str, build: str, prepare: Callable[[str], dict[str, Any]]
) -> Figure:
    """Prepare a figure for each view; where one cannot be, the reason stands in its place.

    Parameters
    ----------
    subject : Subject
    key, title, build : str
    prepare : callable
        Takes a view and returns what is shown.
    """
    shown: dict[str, dict[str, Any]] = {}
    for view in subject.views:
        shown[view] = {"title": title, "claim": "", "caption": ""}
        try:
            shown[view] |= prepare(view)
        except InputError as error:
            shown[view]["missing"] = encode.text_of_reason(str(error))
    return Figure(key, build, shown)


def drawn(subject: Subject, kind: str, title: str, **chosen: Any) -> Figure:
    """Draw a figure of the package for each view.

    Parameters
    ----------
    subject : Subject
    kind : str
        One of `hiddenscope.figures.KINDS`.
    title : str
    **chosen
        Options of the figure.
    """
    draw = importlib.import_module(f"hiddenscope.figures.plotly.{kind}").draw
    look = Look(title=None, caption=None)

    def prepare(view: str) -> dict[str, Any]:
        prepared = figures.prepare(kind, subject.stream, view=view, **chosen)
        picture = draw(prepared, look)
        return {
            "claim": encode.sentence(prepared.claim),
            "caption": encode.text_of_reason(prepared.caption),
            "data": picture["data"],
            "layout": picture["layout"],
            "table": encode.table(table_of(kind, prepared)),
        }

    return each_view(subject, kind, title, "drawn", prepare)
