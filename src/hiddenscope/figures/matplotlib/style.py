"""What the drawings share: sizes, settings, fonts, and how a picture is saved."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.textpath import TextToPath

from hiddenscope.words import bare_token, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.backend_bases import RendererBase
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

MM = 1 / 25.4
SINGLE, DOUBLE = 80.0, 175.0
"""Widths in mm as printed: one column, and two columns for several panels."""
TITLE, BASE, TICK, NOTE, CELL = 8.0, 7.0, 6.0, 5.5, 5.0
"""Sizes of text in points as printed; none is smaller than `CELL`."""

INK = "#1a1a1a"
"""Of text on white paper."""

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": BASE,
    "text.color": INK,
    # Model names and tokens may hold a dollar sign: nothing here is meant as TeX.
    "text.parse_math": False,
    "axes.titlesize": BASE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "axes.labelsize": BASE,
    "axes.labelpad": 2.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": TICK,
    "ytick.labelsize": TICK,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.fontsize": TICK,
    "legend.frameon": False,
    "lines.linewidth": 0.8,
    "hatch.linewidth": 0.4,
    # Of notebooks, where a figure of one column would be 300 pixels wide at Matplotlib's 100.
    "figure.dpi": 200,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "svg.hashsalt": "hiddenscope",
    "pdf.fonttype": 42,
}
_LOCK = threading.RLock()
FORMATS = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None, "ModDate": None}}
"""File suffixes and the metadata that make the same picture the same bytes."""


@contextmanager
def styled() -> Iterator[None]:
    """Use the project's settings of Matplotlib where the user has set nothing else."""
    with _LOCK, mpl.rc_context():
        # No other settings are looked at: who asks for the backend has pyplot choose one.
        own: Mapping[Any, Any] = mpl.rcParams
        usual: Mapping[Any, Any] = mpl.rcParamsDefault
        untouched = {key: value for key, value in RC.items() if own[key] == usual[key]}
        mpl.rcParams.update(untouched)  # type: ignore[arg-type]
        yield


class Picture(Figure):
    """A Matplotlib figure outside pyplot that shows itself in a notebook."""

    _titled: Mapping[str, Any] = MappingProxyType({})

    def suptitle(self, t: str, **style: Any) -> Text:
        """Write the title; another one later takes its place, in its letters or smaller ones."""
        self._titled = {**self._titled, **style}
        size = float(self._titled.get("fontsize", TITLE))
        widest = max(text_width(line, size, "bold") for line in t.split("\n"))
        room = self.get_figwidth() * 72 * (0.99 - self._titled.get("x", 0.0))
        if widest > room and "fontsize" not in style:
            size *= room / widest
        return super().suptitle(t, **{**self._titled, "fontsize": size})

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure.

        Saving calls this twice: the first time with a layout engine, and only for the layout.
        """
        engine = self.get_layout_engine()
        if (
            engine is None
            or isinstance(engine, PlaceHolderLayoutEngine)
            or not (self.axes and self.canvas.is_saving())
        ):
            super().draw(renderer)
        else:
            engine.execute(self)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure, by default at 300 dpi, in the style that it was drawn in."""
        suffix = f".{options['format']}" if options.get("format") else ""
        if not suffix and isinstance(fname, str | Path):
            suffix = Path(fname).suffix.lower()
        with styled():
            options.setdefault("metadata", FORMATS.get(suffix))
            super().savefig(fname, **options)

    def get_tightbbox(self, *_: Any, **__: Any) -> Bbox:
        """Return the whole page: who asks for less, as notebooks do, would cut off its words."""
        return self.bbox_inches

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi="figure")
        return buffer.getvalue()


_MEASURE = TextToPath()


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of a text in points."""
    return _text_width(text, size, weight, tuple(mpl.rcParams["font.family"]))


@lru_cache(4096)
def _text_width(text: str, size: float, weight: str, family: tuple[str, ...]) -> float:
    font = font_manager.FontProperties(family=list(family), size=size, weight=weight)
    return float(_MEASURE.get_text_width_height_descent(text, font, ismath=False)[0])


def line_spacing(size: float) -> float:
    """Return the line spacing that puts baselines 1.3 times the size of the letters apart.

    What a spacing of 1 means differs between versions of Matplotlib: it is measured.
    """
    family = tuple(mpl.rcParams["font.family"])
    return _line_spacing(size, family)


@cache
def _line_spacing(size: float, family: tuple[str, ...]) -> float:
    figure = Figure(dpi=72)

    def height(lines: int, spacing: float) -> float:
        text = figure.text(0, 0, "\n".join(["lp"] * lines), linespacing=spacing)
        text.set(fontsize=size, family=list(family))
        return float(text.get_window_extent().height)

    # From one line to two, with spacings of 1 and of 2: the way between baselines is linear in it.
    one, two = (height(3, spacing) - height(2, spacing) for spacing in (1.0, 2.0))
    return 1.0 + (1.3 * size - one) / (two - one)


def wrap(text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """Break a text into lines no wider than `room` points."""
    lines: list[str] = []
    used, space = 0.0, text_width("a b", size, weight) - text_width("ab", size, weight)
    for word in text.split(" "):
        wide = text_width(word, size, weight)
        if lines and used + space + wide <= room:
            lines[-1] += f" {word}"
            used += space + wide
        else:
            lines.append(word)
            used = wide
    return lines


@cache
def families() -> tuple[str, ...]:
    """Return the fonts for a text in any script: Matplotlib's own, then what is installed."""
    wanted = (
        *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "Microsoft YaHei"),
        *("PingFang SC", "Hiragino Sans", "Arial Unicode MS", "Noto Sans Devanagari"),
    )
    installed = {f.name for f in font_manager.fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in wanted if name in installed))


@cache
def _drawable(character: str) -> bool:
    code = ord(character)
    for family in families():
        path = font_manager.findfont(family)
        if font_manager.get_font(path).get_char_index(code):
            return True
    return False


def legible(text: str) -> str:
    """Write a text so that it can be drawn on one line: controls shown, unknown glyphs as □."""
    return "".join(c if _drawable(c) else "□" for c in visible(text))


def token_text(piece: str) -> str:
    """Write a token for a label."""
    return shorten(legible(bare_token(piece)), 12)
