"""Where a figure is drawn: a page of its own, or a figure or axes that the user gave."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from hiddenscope.errors import FigureError
from hiddenscope.figures.look import AUTO, Look
from hiddenscope.figures.matplotlib.style import (
    MM,
    NOTE,
    TICK,
    TITLE,
    Picture,
    families,
    legible,
    line_spacing,
    wrap,
)
from hiddenscope.figures.matplotlib.theme import Theme
from hiddenscope.words import tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.figures.prepared import Prepared

LEAST = 30.0
"""In mm: words that leave less height to the axes are left out."""
MARGIN = 1.5
"""In mm, around the page."""


class Page(Theme):
    """Words and axes of one figure.

    Parameters
    ----------
    look : Look
    width, body : float
        The usual size in mm: of the page, and of what lies between claim and caption.
    shown : Prepared
        Whose title, claim and caption are written.
    *notes : str
        What else the caption says; empty ones are left out.

    Attributes
    ----------
    figure : Figure or SubFigure
    across, down : float
        How many times as wide and as high as usual the axes are.
    """

    def __init__(self, look: Look, width: float, body: float, shown: Prepared, *notes: str) -> None:
        super().__init__(look)
        title, claim = shown.title, shown.claim
        caption = " · ".join(text for text in (shown.caption, *notes) if text)
        if look.title != AUTO:
            title, claim = look.title or "", claim if look.title else ""
        caption = caption if look.caption == AUTO else look.caption or ""
        self.across = self.down = 1.0
        self._width = width
        self._given: list[Axes] | None = None
        if look.ax is not None:
            self._given = [look.ax]
            self.figure: Any = look.ax.figure
            if title:
                # Above a key to the colours.
                look.ax.set_title(legible(title), pad=12)
        elif look.fig is None:
            self._open(width, body, title, claim, caption)
        elif isinstance(look.fig, FigureBase):
            self.figure = look.fig
            self._label(title, caption)
        else:
            self._take(look.fig)
        if self._given is not None:
            box = self._given[0].get_window_extent()
            across, down = (x / self.figure.dpi / MM for x in (box.width, box.height))
            self.across, self.down = across / (width * 0.85), down / body
        elif look.fig is not None:
            across, down = (x / self.figure.dpi / MM for x in self.figure.bbox.size)
            self.across, self.down = across / width, down / (body + 12)

    def _open(self, width: float, body: float, title: str, claim: str, caption: str) -> None:
        """Start a page: title and claim above, caption below, the body between for the axes."""
        usual = width
        if self.look.figsize is not None:
            width = self.look.figsize[0] / MM
        # A little less: at few dots an inch letters are wider.
        room = (width - 2 * MARGIN) * MM * 72 * 0.965
        head = [
            ("\n".join(wrap(legible(text), room, size, weight)), size, weight)
            for text, size, weight in ((title, TITLE, "bold"), (claim, TICK, "normal"))
            if text
        ]
        foot = "\n".join(wrap(legible(caption), room, NOTE)) if caption else ""
        leading = 1.3 / 72 / MM
        top = MARGIN + sum(_lines(text) * size for text, size, _ in head) * leading + 1.0
        bottom = MARGIN + _lines(foot) * NOTE * leading + 1.0
        height = top + body + bottom
        if self.look.figsize is not None:
            height = self.look.figsize[1] / MM
            if height - top - bottom < LEAST and (caption or claim):
                # Words give way on a small page: the caption first, then the claim.
                self._open(usual, body, title, claim if caption else "", "")
                return
            self.down = max(height - top - bottom, 5.0) / body
        self.across = width / usual
        pad = 0.6 * MM
        left, right, inner = MARGIN / 2 / width, 1 - MARGIN / width, body * self.down
        engine = ConstrainedLayoutEngine(
            rect=(left, bottom / height, right, inner / height),
            w_pad=pad,
            h_pad=pad,
            wspace=0.02,
            hspace=0.02,
        )
        self.figure = Picture(
            figsize=(width * MM, height * MM), layout=engine, facecolor=self.background
        )
        y = MARGIN
        for i, (text, size, weight) in enumerate(head):
            # The title is the figure's own, which `suptitle` replaces.
            write = self.figure.suptitle if title and not i else partial(_text, self.figure)
            write(
                text,
                **self._style(MARGIN / width, 1 - y / height, size),
                weight=weight,
                color=self.muted if i else self.ink,
            ).set_in_layout(False)
            y += _lines(text) * size * leading
        if foot:
            style = self._style(MARGIN / width, (bottom - 1.0) / height, NOTE)
            _text(self.figure, foot, **style, color=self.muted).set_in_layout(False)

    @staticmethod
    def _style(x: float, y: float, size: float) -> dict[str, Any]:
        place = {"x": x, "y": y, "ha": "left", "va": "top"}
        letters = {"fontsize": size, "linespacing": line_spacing(size), "family": list(families())}
        return place | letters

    def _label(self, title: str, caption: str) -> None:
        """Write the words of a figure that the user gave where it keeps its own."""
        room = self.figure.bbox.width / self.figure.dpi * 72 * 0.93
        style = {"ha": "left", "x": 0.01, "family": list(families())}
        if title:
            lines = wrap(legible(title), room, TITLE, "bold")
            self.figure.suptitle("\n".join(lines), fontsize=TITLE, weight="bold", **style)
        if caption:
            lines = wrap(legible(caption), room, NOTE)
            self.figure.supxlabel("\n".join(lines), fontsize=NOTE, color=self.muted, **style)

    def _take(self, given: Any) -> None:
        axes = list(np.asarray(given, object).ravel())
        if not axes or not all(isinstance(a, Axes) for a in axes):
            msg = f"fig must be a Figure, a SubFigure or Axes of Matplotlib, got {given!r}"
            raise FigureError(msg)
        self._given, self.figure = axes, axes[0].figure

    def axes(
        self,
        shape: tuple[int, int],
        cells: Sequence[tuple[Any, Any]] | None = None,
        *,
        sharey: bool = False,
        **ratios: Any,
    ) -> list[Axes]:
        """Return the panels of the figure.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.
        cells : sequence of (row, column), optional
            Where each panel stands; by default one in each cell, row by row. A slice spans.
        sharey : bool
            Whether all have the y axis of the first.
        **ratios : sequence of float
            ``height_ratios``, ``width_ratios``.

        Raises
        ------
        FigureError
            The user gave another number of axes.
        """
        wanted = list(cells) if cells is not None else list(np.ndindex(*shape))
        if self._given is not None:
            if len(self._given) != len(wanted):
                many = f"{len(wanted)} panels" if len(wanted) > 1 else "one panel"
                msg = (
                    f"this figure has {many}, got {len(self._given)} Axes: pass "
                    f"{'ax=' if len(wanted) == 1 else 'as many with fig='}, or a whole Figure"
                )
                raise FigureError(msg)
            return self._given
        grid = self.figure.add_gridspec(*shape, **ratios)
        made: list[Axes] = []
        for cell in wanted:
            shared = made[0] if sharey and made else None
            made.append(self.figure.add_subplot(grid[cell], sharey=shared))
            if shared is not None:
                made[-1].tick_params(which="both", labelleft=False)
        return made

    def room(self, axes: Axes, usual: float, columns: int = 1) -> float:
        """Return the width of a panel in points.

        Parameters
        ----------
        axes : Axes
        usual : float
            Its width in mm on a page of the usual width.
        columns : int
            Panels side by side: what a page lacks is theirs to lack, as labels need the same room.
        """
        if self._given is not None:
            wide: float = axes.get_window_extent().width / self.figure.dpi
            return wide * 72
        return max(usual - self._width * (1 - self.across) / columns, 8.0) * MM * 72

    def colorbar(
        self, mappable: Any, axes: Any, label: str = "", ticks: Any = None, **place: Any
    ) -> None:
        """Put a bar of colours beside axes, its numbers as at every axis.

        Parameters
        ----------
        mappable : ScalarMappable
        axes : Axes or list of Axes
        label : str
        ticks : sequence of float, optional
        **place
            As `Figure.colorbar` takes it.
        """
        bar = self.figure.colorbar(mappable, ax=axes, **place)
        bar.outline.set_visible(False)
        bar.ax.minorticks_off()
        if ticks is not None:
            bar.set_ticks(ticks)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(tick))
        bar.set_label(label)


def _text(figure: FigureBase, text: str, *, x: float, y: float, **style: Any) -> Any:
    return figure.text(x, y, text, **style)


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0
