"""How a figure is to look: what the user may choose of every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    highlight : sequence of colours, optional
        Of the channels that stand out, in order; the first and the fourth are also those of
        ``embed`` and ``final_norm``.
    """

    figsize: tuple[float, float] | None = None
    ax: Axes | None = None
    fig: Any = None
    title: str | None = AUTO
    caption: str | None = AUTO
    cmap: str | Colormap | None = None
    highlight: Sequence[ColorType] | None = None
