"""Where the panels of an interactive figure stand, and what a layout is changed by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hiddenscope.figures.plotly.axes import LETTER
from hiddenscope.figures.plotly.values import lines

if TYPE_CHECKING:
    from hiddenscope.figures.plotly.words import Words

BREAK = 640
"""In pixels: on a narrower screen panels stand one below another."""
BAR = 420.0
"""Length of a bar of colours in pixels, at most."""


@dataclass(frozen=True)
class Panels:
    """A grid of panels.

    Attributes
    ----------
    count : int
    high : float
        Of a panel in pixels.
    head, foot : float
        Room above and below each.
    key : list of str
        The names of colours above all of them.
    bar : tuple of int
        The panels that the bar of colours stands beside, if there is one.
    whole : float, optional
        Height of the figure, in place of that of the panels.
    """

    count: int
    high: float
    head: float
    foot: float
    key: list[str]
    bar: tuple[int, ...] = ()
    whole: float | None = None

    def arranged(self, words: Words, columns: int, width: float, share: float) -> dict[str, Any]:
        """Return sizes and places, as ``Plotly.relayout`` takes them, for a width in pixels."""
        rows = -(-self.count // columns)
        top = 12 + words.high + self._key_height(width) + self.head
        bottom = self.foot + 14 * len(words.caption) + 4
        gap = self.foot + self.head
        high = self.high
        if self.whole is not None:
            high = max((self.whole - top - bottom - (rows - 1) * gap) / rows, 40.0)
        body = rows * high + (rows - 1) * gap
        apart = 0.09 if columns > 1 else 0.0
        wide = (share - apart * (columns - 1)) / columns
        sizes: dict[str, Any] = {
            "height": round(top + body + bottom),
            "margin.t": round(top),
            "margin.b": round(bottom),
            "legend.y": 1 + self.head / body,
            "title.text": words.title,
            "annotations[0].text": lines(words.caption),
        }
        for i in range(self.count):
            row, column = divmod(i, columns)
            left, low = column * (wide + apart), 1 - (row * (high + gap) + high) / body
            sizes[f"xaxis{number(i)}.domain"] = [left, min(left + wide, 1.0)]
            sizes[f"yaxis{number(i)}.domain"] = [max(low, 0.0), min(low + high / body, 1.0)]
        if self.bar:
            domains = [sizes[f"yaxis{number(i)}.domain"] for i in self.bar]
            high_end = max(high for _, high in domains)
            length = min(high_end - min(low for low, _ in domains), BAR / body)
            sizes |= {
                "coloraxis.colorbar.x": share + 0.02,
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
