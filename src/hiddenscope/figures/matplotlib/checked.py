"""Whether a figure can look as the user wants."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes

from hiddenscope.errors import FigureError

if TYPE_CHECKING:
    from hiddenscope.figures.look import Look


def checked(look: Look) -> Look:
    """Return how a figure is to look, or refuse what cannot be drawn.

    Raises
    ------
    FigureError
        Says what was given and what is expected.
    """
    if look.ax is not None and not isinstance(look.ax, Axes):
        msg = f"ax must be Axes of Matplotlib, got {type(look.ax).__name__}"
        raise FigureError(msg)
    if look.ax is not None and look.ax.name != "rectilinear":
        msg = f"ax must have straight axes, got a {look.ax.name} projection"
        raise FigureError(msg)
    if look.cmap is not None and not isinstance(look.cmap, str | mpl.colors.Colormap):
        msg = f"cmap must be a colour map of Matplotlib or its name, got {look.cmap!r}"
        raise FigureError(msg)
    if isinstance(look.cmap, str) and look.cmap not in mpl.colormaps:
        msg = f"Matplotlib has no colour map {look.cmap!r}: try 'viridis' or 'Greys'"
        raise FigureError(msg)
    colours = [] if look.highlight is None else list(look.highlight)
    for colour in colours:
        if not mpl.colors.is_color_like(colour):
            msg = f"{colour!r} in highlight is no colour"
            raise FigureError(msg)
    return replace(look, highlight=colours or None)
