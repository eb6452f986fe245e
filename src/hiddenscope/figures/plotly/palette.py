"""The colours of an interactive figure, on a background that may be light or dark."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.figures import colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.figures.look import Look

STOPS = 17
"""Of a colour map of Matplotlib."""


class Palette:
    """Colours: the user's, or ours.

    Parameters
    ----------
    look : Look
        Matplotlib is imported where this names its colours or its colour maps.
    """

    def __init__(self, look: Look) -> None:
        self.look = look
        self._ranked: Sequence[str] = colours.HIGHLIGHT
        self._chosen: Sequence[str] | None = None
        if look.cmap is not None or look.highlight is not None:
            self._read()

    def _read(self) -> None:
        checked = importlib.import_module("hiddenscope.figures.matplotlib.checked")
        mpl = importlib.import_module("matplotlib")
        look = checked.checked(self.look)
        if look.highlight is not None:
            self._ranked = [mpl.colors.to_hex(c) for c in look.highlight]
        if look.cmap is not None:
            cmap = mpl.colormaps[look.cmap] if isinstance(look.cmap, str) else look.cmap
            self._chosen = [mpl.colors.to_hex(cmap(x)) for x in np.linspace(0.0, 1.0, STOPS)]

    def colours(self, usual: Sequence[str]) -> Sequence[str]:
        """Return the colours that the user chose, or the usual ones, from low to high."""
        return usual if self._chosen is None else self._chosen

    def scale(self, usual: Sequence[str]) -> list[list[float | str]]:
        """Return the same as a scale of colours of Plotly."""
        found = self.colours(usual)
        return [[i / (len(found) - 1), colour] for i, colour in enumerate(found)]

    def steps(self, names: Sequence[str]) -> list[list[float | str]]:
        """Return a scale of one even patch for each colour."""
        n = len(names)
        return [[j / n, c] for i, c in enumerate(names) for j in (i, i + 1)]

    def highlight(self, rank: int) -> str:
        """Return the colour of the channel, or the site, of this rank."""
        return self._ranked[rank % len(self._ranked)]

    def channel_colours(self, outstanding: Sequence[int]) -> dict[int, str]:
        """Give the channels that stand out most a colour, the same in every figure of a profile."""
        return dict(zip(outstanding, self._ranked, strict=False))

    def site_colours(self, sites: Sequence[str]) -> dict[str, str]:
        """Give blocks a colour by depth, and embeddings and final norm colours of their own."""
        fixed = {"embed": self.highlight(0), "final_norm": self.highlight(3)}
        blocks = [s for s in sites if s not in fixed]
        found = self.colours(colours.BLOCKS_ON_ANY)
        shade = {s: colours.blend(found, i / max(len(blocks) - 1, 1)) for i, s in enumerate(blocks)}
        return fixed | shade
