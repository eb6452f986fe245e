"""The colours of a figure: the user's, or ours on the paper that the user's style has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex, to_rgb

from hiddenscope.figures import colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.typing import ColorType

    from hiddenscope.figures.look import Look

HIGHLIGHT = colours.HIGHLIGHT
BLOCKS = LinearSegmentedColormap.from_list("depth", colours.BLOCKS)
BLOCKS_ON_DARK = LinearSegmentedColormap.from_list("depth on dark", colours.BLOCKS_ON_DARK)
MATRIX = LinearSegmentedColormap.from_list("share", colours.MATRIX)
SIGNED = LinearSegmentedColormap.from_list("signed", colours.SIGNED)


class Theme:
    """Colours, read off Matplotlib's settings when they are asked for.

    Parameters
    ----------
    look : Look
    """

    def __init__(self, look: Look) -> None:
        self.look = look

    @property
    def background(self) -> ColorType:
        """The colour of the paper."""
        colour = mpl.rcParams["figure.facecolor"]
        return "white" if to_rgb(colour) == (1.0, 1.0, 1.0) else colour

    @property
    def paper(self) -> ColorType:
        """The colour behind the axes."""
        return to_hex(mpl.rcParams["axes.facecolor"])

    @property
    def dark(self) -> bool:
        """Whether that is dark."""
        return float(np.dot(to_rgb(self.paper), (0.3, 0.59, 0.11))) < 0.5

    @property
    def ink(self) -> ColorType:
        """The colour of text and of what matters most."""
        return to_hex(mpl.rcParams["text.color"])

    @property
    def muted(self) -> ColorType:
        """The colour of what is said beside."""
        return self.grey(0.275)

    def grey(self, share: float) -> ColorType:
        """Mix the ink with a share of the paper."""
        mixed = (1 - share) * np.array(to_rgb(self.ink)) + share * np.array(to_rgb(self.paper))
        return to_hex(tuple(mixed))

    def cmap(self, usual: Colormap | str) -> Colormap:
        """Return the colours that the user chose, or the usual ones."""
        chosen = self.look.cmap if self.look.cmap is not None else usual
        return mpl.colormaps[chosen] if isinstance(chosen, str) else chosen

    @property
    def blocks(self) -> Colormap:
        """The colours of blocks, first to last."""
        return self.cmap(BLOCKS_ON_DARK if self.dark else BLOCKS)

    @property
    def density(self) -> Colormap:
        """The colours of densities, from few to many."""
        usual = BLOCKS_ON_DARK if self.dark else BLOCKS.reversed()
        return self.cmap(usual)

    @property
    def points(self) -> ColorType:
        """The colour of single values."""
        return "#7fb2e5" if self.dark else "#2b5f94"

    @property
    def first(self) -> ColorType:
        """The colour of first tokens."""
        return self.ink if self.dark else "#000000"

    def highlight(self, rank: int) -> ColorType:
        """Return the colour of the channel, or the site, of this rank."""
        chosen = self.look.highlight or HIGHLIGHT
        return chosen[rank % len(chosen)]

    def channel_colours(self, outstanding: Sequence[int]) -> dict[int, ColorType]:
        """Give the channels that stand out most a colour, the same in every figure of a profile."""
        chosen = self.look.highlight or HIGHLIGHT
        return dict(zip(outstanding, chosen, strict=False))

    def site_colours(self, sites: Sequence[str]) -> dict[str, ColorType]:
        """Give blocks a colour by depth, and embeddings and final norm colours of their own."""
        fixed = {"embed": self.highlight(0), "final_norm": self.highlight(3)}
        blocks = [s for s in sites if s not in fixed]
        shade = {s: self.blocks(i / max(len(blocks) - 1, 1)) for i, s in enumerate(blocks)}
        return {s: fixed[s] if s in fixed else shade[s] for s in sites}
