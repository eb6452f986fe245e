"""What the drawings share: physical sizes, colours, fonts, and how a picture is saved."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextToPath

from hiddenscope.words import bare_token, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.typing import ColorType

    from hiddenscope.figures.prepared import Prepared

MM = 1 / 25.4
SINGLE, DOUBLE = 80.0, 175.0
"""Widths in mm as printed: one column, and two columns for several panels."""
TITLE, BASE, TICK, NOTE, CELL = 8.0, 7.0, 6.0, 5.5, 5.0
"""Sizes of text in points as printed; none is smaller than `CELL`."""

INK, MUTED, FAINT = "#1a1a1a", "#595959", "#b8b8b8"
EMBED, FINAL_NORM = "#d55e00", "#e69f00"
LOUD = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7b3fa0", "#8c6d31")
"""Of the channels that stand out most anywhere, in every figure of a profile the same."""
POINTS = "#2b5f94"
FIRST_TOKEN = "#000000"
DEPTH = LinearSegmentedColormap.from_list("depth", ["#0c1b4d", "#22569b", "#3a94c0", "#8fd3d2"])
"""Blocks, first to last; Okabe and Ito's orange tones set the two other sites off."""
MATRIX = LinearSegmentedColormap.from_list(
    "share", ["#f7f7f2", "#cfe3e2", "#8cc0cf", "#4a8fbd", "#265b99", "#0c1b4d"]
)

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
    "figure.dpi": 100,
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
    """Use the project's settings of Matplotlib, whatever the user's are, and put them back."""
    with _LOCK, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)  # type: ignore[arg-type]
        yield


class Picture(Figure):
    """A Matplotlib figure outside pyplot that shows itself in a notebook."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure, by default at 300 dpi, in the style that it was drawn in."""
        suffix = f".{options['format']}" if options.get("format") else ""
        if not suffix and isinstance(fname, str | Path):
            suffix = Path(fname).suffix.lower()
        with styled():
            options.setdefault("metadata", FORMATS.get(suffix))
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=200)
        return buffer.getvalue()


def sheet(width: float, body: float, shown: Prepared, *notes: str) -> Picture:
    """Start a picture: title and claim above, caption below, `body` mm between for the axes.

    Parameters
    ----------
    width, body : float
        In mm.
    shown : Prepared
        Its title, claim and caption are wrapped to the width.
    *notes : str
        What else the caption says; empty ones are left out.
    """
    margin = 1.5
    room = (width - 2 * margin) * MM * 72
    caption = " · ".join(text for text in (shown.caption, *notes) if text)
    blocks = [(shown.title, TITLE, "bold", INK), (shown.claim, TICK, "normal", MUTED)]
    head = [(wrap(legible(t), room, size, w), size, w, c) for t, size, w, c in blocks if t]
    foot = wrap(legible(caption), room, NOTE)
    point = 1 / 72 / MM
    leading = 1.3 * point
    top = margin + sum(len(lines) * size for lines, size, _, _ in head) * leading + 1.0
    bottom = margin + len(foot) * NOTE * leading + 1.0
    height = top + body + bottom
    pad = 0.6 * MM
    rect = (margin / 2 / width, bottom / height, 1 - margin / width, body / height)
    engine = ConstrainedLayoutEngine(rect=rect, w_pad=pad, h_pad=pad, wspace=0.02, hspace=0.02)
    figure = Picture(figsize=(width * MM, height * MM), layout=engine, facecolor="white")
    y = margin
    for lines, size, weight, colour in head:
        for line in lines:
            place = (margin / width, 1 - y / height)
            _line(figure, place, line, size=size, weight=weight, color=colour)
            y += size * leading
    y = top + body + 1.0
    for line in foot:
        _line(figure, (margin / width, 1 - y / height), line, size=NOTE, color=MUTED)
        y += NOTE * leading
    return figure


def _line(figure: Figure, place: tuple[float, float], text: str, **style: float | str) -> None:
    drawn = figure.text(*place, text, va="top", **style)  # type: ignore[arg-type]
    drawn.set_in_layout(False)


_MEASURE = TextToPath()


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of a text in points."""
    font = font_manager.FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return float(_MEASURE.get_text_width_height_descent(text, font, ismath=False)[0])


def wrap(text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """Break a text into lines no wider than `room` points."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, weight) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
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


_VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "↵", " ": "␣"}


def legible(text: str) -> str:
    """Write a text so that it can be drawn on one line: controls shown, unknown glyphs as □."""
    out = []
    for character in text:
        if character in "\n\t\r":
            out.append(_VISIBLE[character])
        elif not character.isprintable() and character != " ":
            out.append(f"\\x{ord(character):02x}")
        else:
            out.append(character if _drawable(character) else "□")
    return "".join(out)


def token_text(piece: str) -> str:
    """Write a token for a label."""
    return shorten(legible(bare_token(piece)), 12)


def channel_colours(loud: Sequence[int]) -> dict[int, ColorType]:
    """Give the channels that stand out most a colour, the same in every figure of a profile."""
    return dict(zip(loud, LOUD, strict=False))


def site_colours(sites: Sequence[str]) -> dict[str, ColorType]:
    """Give blocks a colour by depth, and embeddings and final norm colours of their own."""
    fixed: dict[str, ColorType] = {"embed": EMBED, "final_norm": FINAL_NORM}
    blocks = [s for s in sites if s not in fixed]
    shade = {s: DEPTH(i / max(len(blocks) - 1, 1)) for i, s in enumerate(blocks)}
    return {s: fixed[s] if s in fixed else shade[s] for s in sites}
