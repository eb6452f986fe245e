"""How a figure is to look: what the user may choose of every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.errors import FigureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.typing import ColorType

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the user may choose of every figure.

    Attributes
    ----------
    figsize : (float, float), optional
        Width and height in inches.
    ax : Axes, optional
        Where to draw a figure of one panel. Of its words only the title is written.
    fig : Figure, SubFigure or sequence of Axes, optional
        Where to draw; of axes as many as the figure has panels, without its words.
    title, caption : str or None
        By default the figure's own; None for none. Without a title there is no claim either.
    cmap : str or Colormap, optional
        Colours of the blocks, of the densities or of the matrix.
    highlight : colour or sequence of colours, optional
        Of the channels that stand out, in order; the first and the fourth are also those of
        ``embed`` and ``final_norm``.
    interactive : bool
        Return a figure of Plotly, to be zoomed and asked for values, instead of one of Matplotlib;
        without `ax` and `fig`.
    """

    figsize: tuple[float, float] | None = None
    ax: Axes | None = None
    fig: Any = None
    title: str | None = AUTO
    caption: str | None = AUTO
    cmap: str | Colormap | None = None
    highlight: Sequence[ColorType] | None = None
    interactive: bool = False

    def __post_init__(self) -> None:
        """Refuse what no library can draw."""
        if isinstance(self.highlight, str):
            object.__setattr__(self, "highlight", [self.highlight])
        if self.ax is not None and self.fig is not None:
            msg = "give either ax or fig, not both"
            raise FigureError(msg)
        for name in ("ax", "fig"):
            if self.interactive and getattr(self, name) is not None:
                msg = f"an interactive figure is one of Plotly: it cannot be drawn on {name}="
                raise FigureError(msg)
        if self.figsize is not None:
            if self.ax is not None or self.fig is not None:
                msg = "figsize is that of a new figure: it cannot go with ax or fig"
                raise FigureError(msg)
            sizes = np.asarray(self.figsize, object).ravel()
            if len(sizes) != 2 or not all(
                isinstance(x, int | float | np.number) and 0 < x < np.inf for x in sizes
            ):
                msg = f"figsize must be (width, height) in inches, got {self.figsize!r}"
                raise FigureError(msg)
        for name, text in (("title", self.title), ("caption", self.caption)):
            if text is not None and not isinstance(text, str):
                msg = f"{name} must be a text or None, got {text!r}"
                raise FigureError(msg)
