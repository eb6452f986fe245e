"""Where the panels of an interactive figure stand, and what a layout is changed by."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hiddenscope.figures.plotly.axes import BOLD, LETTER, LINE
from hiddenscope.figures.plotly.values import escaped, lines

if TYPE_CHECKING:
    from hiddenscope.figures.plotly.words import Words

SCREENS = (320, 640, 900, 1300)
"""Widths in pixels that a figure is laid out for: as the one before up to the next. On the first
one, panels stand one below another."""
LONGEST_BAR = 420.0
"""Length of a bar of colours in pixels, at most."""
MARGINS, BAR, APART = 80.0, 90.0, 84.0
"""Pixels beside all panels, for a bar of colours with its numbers, and between two panels for
labels."""


def screen(width: float) -> int:
    """Return which of the `SCREENS` a figure is laid out for that is so wide."""
    return max((s for s in SCREENS if s <= width), default=SCREENS[0])


@dataclass(frozen=True)
class Across:
    """How panels stand side by side.

    Attributes
    ----------
    width : float
        Of the figure in pixels.
    columns : int
    share : float
        Of what is left beside margins and a bar of colours, that the panels take.
    """

    width: float
    columns: int
    share: float

    @property
    def _room(self) -> float:
        return max(self.width - MARGINS - BAR, 100.0)

    @property
    def apart(self) -> float:
        """Return what lies between two panels, as a share of the room."""
        return min(APART / self._room, 0.3) if self.columns > 1 else 0.0

    @property
    def wide(self) -> float:
        """Return how wide a panel is, as a share of the room."""
        return (self.share - self.apart * (self.columns - 1)) / self.columns

    @property
    def axis(self) -> float:
        """Return how long the x axis of a panel is in pixels, at least."""
        return self.wide * self._room

    def broken(self, title: str) -> list[str]:
        """Break the title of a panel: it may reach over what stands beside the axis."""
        most = int((self.axis + (60.0 if self.columns > 1 else BAR)) / BOLD)
        return textwrap.wrap(title, max(most, 8))


@dataclass(frozen=True)
class Panels:
    """A grid of panels.

    Attributes
    ----------
    titles : list of str
        One for each.
    high : float
        Of a panel in pixels.
    over, foot : float
        Room between a panel and its title, and below it.
    key : list of str
        The names of colours above all of them.
    bar : tuple of int
        The panels that the bar of colours stands beside, if there is one.
    whole : float, optional
        Height of the figure, in place of that of the panels.
    """

    titles: list[str]
    high: float
    over: float
    foot: float
    key: list[str]
    bar: tuple[int, ...] = ()
    whole: float | None = None

    def arranged(self, words: Words, across: Across) -> dict[str, Any]:
        """Return sizes and places, as ``Plotly.relayout`` takes them."""
        rows = -(-len(self.titles) // across.columns)
        titles = [across.broken(title) for title in self.titles]
        head = self.over + 4 + LINE * max(map(len, titles)) + any(self.titles)
        top = 12 + words.high + self._key_height(across.width) + head
        bottom = self.foot + 14 * len(words.caption) + 4
        gap = self.foot + head
        high = self.high
        if self.whole is not None:
            high = max((self.whole - top - bottom - (rows - 1) * gap) / rows, 40.0)
        body = rows * high + (rows - 1) * gap
        sizes: dict[str, Any] = {
            "height": round(top + body + bottom),
            "margin.t": round(top),
            "margin.b": round(bottom),
            "legend.y": 1 + head / body,
            "title.text": words.title,
            "annotations[0].text": lines(words.caption),
        }
        for i, title in enumerate(titles):
            row, column = divmod(i, across.columns)
            left = column * (across.wide + across.apart)
            low = 1 - (row * (high + gap) + high) / body
            if any(self.titles):
                sizes[f"annotations[{i + 1}].text"] = (
                    f"<b>{lines([escaped(line) for line in title])}</b>"
                )
            sizes[f"xaxis{number(i)}.domain"] = [left, min(left + across.wide, 1.0)]
            sizes[f"yaxis{number(i)}.domain"] = [max(low, 0.0), min(low + high / body, 1.0)]
        if self.bar:
            domains = [sizes[f"yaxis{number(i)}.domain"] for i in self.bar]
            high_end = max(high for _, high in domains)
            length = min(high_end - min(low for low, _ in domains), LONGEST_BAR / body)
            sizes |= {
                "coloraxis.colorbar.x": across.share + 0.02,
                "coloraxis.colorbar.y": high_end,
                "coloraxis.colorbar.len": length,
            }
        return sizes

    def _key_height(self, width: float) -> float:
        """Return the room for the names of colours; where they need several lines, in columns."""
        if not self.key:
            return 0.0
        entries = [LETTER * len(name) + 45 for name in self.key]
        room = width - 150
        a_line = len(entries) if sum(entries) <= room else max(int(room / max(entries)), 1)
        return 4 + 20.0 * -(-len(entries) // a_line)


def number(index: int) -> str:
    """Write the number of an axis as Plotly does: none for the first."""
    return str(index + 1) if index else ""


def changed(layout: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change a layout in place, as ``Plotly.relayout`` does."""
    for path, value in changes.items():
        *outer, last = path.replace("[", ".").replace("]", "").split(".")
        place: Any = layout
        for key in outer:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[last] = value
