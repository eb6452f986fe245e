"""Artists that Matplotlib makes slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import StepPatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def stairs(axes: Axes, values: Any, edges: Any, **style: Any) -> None:
    """Draw a step for each bin, as `Axes.stairs` does for axes whose limits are set by hand.

    The axes' own method looks at every corner of the path to find limits, which takes longer than
    all the rest of a histogram.
    """
    filled = style.get("fill", False)
    style = {
        "baseline": None,
        "fill": filled,
        ("facecolor" if filled else "edgecolor"): style.pop("color"),
    } | style
    axes.add_artist(StepPatch(np.asarray(values), np.asarray(edges), **style))
