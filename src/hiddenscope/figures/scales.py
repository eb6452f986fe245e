"""Scales that are neither linear nor logarithmic: where values stand, which have ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
ROOM = 0.1
"""The share of an axis of activations that a label needs, where it is as long as usual."""


def symlog(values: Any, linear: float) -> NDArray[np.float64]:
    """Return places on a symmetric-logarithmic scale, in decades, as Matplotlib's ``SymLogNorm``.

    Parameters
    ----------
    values : array_like of float64
    linear : float
        Up to this magnitude the scale is linear.
    """
    found = np.asarray(values, np.float64)
    size = np.abs(found) / linear
    # The linear part takes as much room on either side as 1 ÷ 0.9 decades, so that slopes agree
    # with base 10.
    far = np.log10(np.maximum(size, 1.0)) + 1 / 0.9
    return np.sign(found) * np.where(size > 1, far, size / 0.9)


def asinh_ticks(low: float, high: float, linear: float, room: float = ROOM) -> list[float]:
    """Ticks of a symmetric-logarithmic axis: 0 and few enough powers of ten on either side."""
    reach = max(abs(low), abs(high), 10 * linear)
    first, last = int(np.ceil(np.log10(linear))), int(np.floor(np.log10(reach)))
    room = room * float(np.arcsinh(high / linear) - np.arcsinh(low / linear))
    step = max(1, -(-(last - first + 1) // 3), int(np.ceil(room / np.log(10))))
    # Those next to zero would touch its label.
    powers = [10.0**e for e in range(last, first - 1, -step)]
    powers = [p for p in powers if np.arcsinh(p / linear) >= room]
    return [t for t in (*(-p for p in powers), 0.0, *reversed(powers)) if low <= t <= high]
