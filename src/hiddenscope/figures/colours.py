"""The colours of figures, whichever library draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    Colour = TypeVar("Colour")

HIGHLIGHT = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7b3fa0", "#8c6d31")
"""The first colours the channels that stand out most, in every figure of a profile alike; the
first and the fourth, orange tones of Okabe and Ito, also ``embed`` and ``final_norm``."""
BLOCKS = ("#0c1b4d", "#22569b", "#3a94c0", "#8fd3d2")
"""Blocks, first to last, on white paper."""
BLOCKS_ON_DARK = ("#2f66c9", "#3a94c0", "#8fd3d2", "#eafaf7")
BLOCKS_ON_ANY = ("#5a5fd6", "#2f7fd0", "#1f9cae", "#2fa37a")
"""The same where the background may be light or dark and may change."""
MATRIX = ("#f7f7f2", "#cfe3e2", "#8cc0cf", "#4a8fbd", "#265b99", "#0c1b4d")
"""Shares, from 0 to 1."""
SIGNED = (
    *("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7"),
    *("#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"),
)
"""From the most negative to the most positive: ColorBrewer's RdBu, reversed."""
FIRST_TOKENS = "#b8479b"
"""First tokens, where black and white may be that of the background."""
GREY = "#808080"
"""Readable on a light and on a dark background."""


def blend(colours: Sequence[str], share: float) -> str:
    """Return the colour at a share of the way from the first to the last."""
    parts = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], np.float64)
    at = np.linspace(0.0, 1.0, len(parts))
    return "#" + "".join(f"{round(np.interp(share, at, parts[:, i])):02x}" for i in range(3))


def clear(colour: str, opacity: float) -> str:
    """Return a colour through which what lies behind it is seen."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def of_channels(
    channels: Sequence[int], fixed: dict[int, Colour], rest: Colour
) -> dict[int, Colour]:
    """Return the fixed colours of channels; others get those left over, and then `rest`."""
    used = {fixed[c] for c in channels if c in fixed}
    free = iter([c for c in fixed.values() if c not in used])
    return {c: fixed[c] if c in fixed else next(free, rest) for c in channels}
