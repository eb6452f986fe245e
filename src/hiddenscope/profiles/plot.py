"""The figures of a profile, as methods."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from hiddenscope.profiles.profile import Profile


class Plot:
    """The figures of a profile, each a method that returns a Matplotlib figure.

    Printed, it lists them with their options; ``help(p.plot.histogram)`` explains those of one.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    @property
    def _figures(self) -> ModuleType:
        # Figures stand above profiles: this is the one place that reaches up.
        return importlib.import_module("hiddenscope.figures")

    def __getattr__(self, kind: str) -> Any:
        if kind.startswith("_"):
            raise AttributeError(kind)
        figures = self._figures
        if kind not in figures.KINDS:
            msg = f"there is no figure {kind!r}: choose one of {', '.join(figures.KINDS)}"
            raise AttributeError(msg)

        def draw(*views: str, **options: Any) -> Any:
            return figures.draw(kind, self._profile.stream, *views, **options)

        draw.__name__ = draw.__qualname__ = kind
        draw.__doc__ = figures.describe(kind)
        vars(draw)["__signature__"] = figures.signature(kind)
        return draw

    def __dir__(self) -> list[str]:
        return list(self._figures.KINDS)

    def __repr__(self) -> str:
        figures = self._figures
        lines = [
            f"{kind}: {figures.summary(kind)}\n    options: {', '.join(figures.options(kind))}"
            for kind in figures.KINDS
        ]
        return "\n".join(["Figures, such as p.plot.histogram(view='all'):", *lines])
