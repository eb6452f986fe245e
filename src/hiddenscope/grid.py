"""The grid: the cells in which values are counted, known before any data.

The cell of a value is the top 16 bits of its float32 pattern: sign, 8 exponent bits, 7 mantissa
bits. A bfloat16 value is a cell of its own. Everything here is pure NumPy and works on counts
along the last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

CELLS = 1 << 16
_SIGN = 1 << 15
_INFINITY = 0x7F80
"""The first code that is not finite: +Inf; NaN follow."""
_NAN = 0x7FC0

FINITE: NDArray[np.int64] = np.concatenate(
    [np.arange(_SIGN + _INFINITY - 1, _SIGN - 1, -1), np.arange(_INFINITY)]
)
"""Codes of the finite cells in ascending order of value; −0 before +0."""


def _smallest(codes: NDArray[np.int64]) -> Floats:
    """Return the values of the smallest magnitude in cells, by code."""
    return (codes.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


VALUES: Floats = _smallest(FINITE)
"""The value of each finite cell that has the smallest magnitude: bfloat16's only one."""


def _edges() -> Floats:
    positive = (np.arange(_INFINITY, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
    top = 2.0**128
    upper = np.append(positive[1:], top)
    # A negative cell holds (−hi, −lo]: in the half-open convention [a, b) of histograms it ends
    # at the next float32 after −lo. The cells of −0 and +0 are one, so that −0 == 0 holds.
    negative = np.nextafter(-positive[1:].astype(np.float32), np.float32(0)).astype(np.float64)
    first = np.nextafter(np.float32(-np.inf), np.float32(0)).astype(np.float64)
    return np.concatenate([[first], negative[::-1], upper])


EDGES: Floats = _edges()
"""Boundaries of the finite cells, zero's two cells merged: a float32 x lies in
``[EDGES[i], EDGES[i + 1])`` for exactly one i."""


def _lower_edges() -> Floats:
    start = np.append(0.0, EDGES[_INFINITY:-1])
    ends = np.full(_SIGN - _INFINITY, np.nan)
    ends[0] = np.inf
    # Towards minus infinity a cell reaches to where the next one starts; the last to 2¹²⁸.
    stop = EDGES[_INFINITY:]
    return np.concatenate([start, ends, -stop, -ends])


LOWER: Floats = _lower_edges()
"""The lower edge of each cell, by its code: its smallest value where that is not negative, the
value that it comes close to where it is; ±∞ and NaN for the cells of these."""

OCTAVES = 32
LOWEST_OCTAVE = -14
"""The binary exponent of the first octave of magnitude that is told from zero."""
OCTAVE_STARTS: Floats = np.append(0.0, 2.0 ** (LOWEST_OCTAVE + np.arange(OCTAVES - 1)))
"""The smallest magnitude of each octave: below 2⁻¹⁴, from 2⁻¹⁴, from 2⁻¹³, … from 2¹⁶."""


def halfway(at: NDArray[np.int64]) -> Floats:
    """Return what is rounded to either side of some of the `EDGES`, by index, in bfloat16.

    A bfloat16 value stands for the interval halfway to its neighbours.
    """
    values = np.delete(VALUES, _INFINITY - 1)  # of the cells between the edges, one of them zero
    ends = np.concatenate([EDGES[:1], (values[:-1] + values[1:]) / 2, EDGES[-1:]])
    return np.asarray(ends[at])


def cells_of(values: ArrayLike) -> NDArray[np.uint16]:
    """Return the code of each value's cell.

    Parameters
    ----------
    values : array_like
        Rounded to float32 first, if they are not.

    Returns
    -------
    ndarray of uint16
        Every NaN has one code, whatever its bits.
    """
    x = np.asarray(values, np.float32)
    code = (x.view(np.uint32) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(_NAN), code)


def ascending(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put counts ``[…, cell]`` of the finite cells in ascending order of value."""
    return counts[..., FINITE]


def merged(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put counts ``[…, cell]`` between `EDGES`: ascending, zero's two cells as one."""
    ordered = ascending(counts)
    minus_zero = _INFINITY - 1
    joined = np.delete(ordered, minus_zero, axis=-1)
    joined[..., minus_zero] += ordered[..., minus_zero]
    return joined


def nonfinite(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count what lies in the cells of NaN and ±Inf, ``[…, cell]`` → ``[…]``."""
    total = counts[..., _INFINITY:_SIGN].sum(-1) + counts[..., _SIGN + _INFINITY :].sum(-1)
    return np.asarray(total, np.int64)


def quantiles(
    counts: NDArray[np.int64],
    q: ArrayLike,
    minimum: float,
    maximum: float,
    *,
    lossless: bool = False,
) -> Floats:
    """Read quantiles off the counts of one distribution.

    Parameters
    ----------
    counts : ndarray[cell] of int64
    q : array_like
        Probabilities in [0, 1].
    minimum, maximum : float
        The smallest and largest value, to which the result is clamped; infinite where they
        are not known.
    lossless : bool
        Every cell holds one value (bfloat16): return the one at or below the rank.

    Returns
    -------
    ndarray of float64, of the shape of `q`
        NaN where there are no counts. Within one cell of ``numpy.quantile``, whose rank
        ``q (n − 1)`` is used.
    """
    probability = np.asarray(q, np.float64)
    filled = _filled(counts)
    if not len(filled):
        return np.full(probability.shape, np.nan)
    held = counts[filled]
    cumulative = np.cumsum(held)
    rank = probability * (cumulative[-1] - 1)

    def value(whole_rank: Floats) -> Floats:
        index = np.searchsorted(cumulative, whole_rank, "right")
        code = filled[index]
        near = _smallest(code)
        if lossless:
            return np.clip(near, minimum, maximum)
        # The values of a cell are taken to be spread evenly over it. It reaches towards larger
        # magnitude: upwards where positive, downwards where negative.
        inside = (whole_rank - cumulative[index] + held[index] + 0.5) / held[index]
        width = _width(code)
        low = np.where(code >= _SIGN, near - width, near)
        return np.clip(low + inside * width, minimum, maximum)

    low = value(np.floor(rank))
    if lossless:
        return low
    between = low + (rank - np.floor(rank)) * (value(np.ceil(rank)) - low)
    ends = np.where(probability == 0, minimum, maximum)
    known = ((probability == 0) | (probability == 1)) & np.isfinite(ends)
    result: Floats = np.where(known, ends, between)
    return result


def _filled(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the codes of the finite cells that hold something, in ascending order of value."""
    codes = np.flatnonzero(counts)
    codes = codes[(codes & (_SIGN - 1)) < _INFINITY]
    negative = np.searchsorted(codes, _SIGN)
    return np.concatenate([codes[negative:][::-1], codes[:negative]])


def _width(code: NDArray[np.int64]) -> Floats:
    """Return how wide cells are: 0 for those of zero, which hold zeros and hardly anything else."""
    exponent = np.maximum((code & (_SIGN - 1)) >> 7, 1)
    zero = (code & (_SIGN - 1)) == 0
    return np.where(zero, 0.0, np.ldexp(1.0, exponent - 127 - 7))


def fold_sign(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count finite values by magnitude, ``[…, cell]`` → ``[…, magnitude]`` of half the cells."""
    folded = counts[..., :_SIGN] + counts[..., _SIGN:]
    folded[..., _INFINITY:] = 0
    return folded


def magnitude_quantiles(counts: NDArray[np.int64], q: ArrayLike) -> Floats:
    """Read quantiles off counts of the non-negative cells, ``[magnitude]``."""
    return quantiles(counts, q, -np.inf, np.inf)


def snap(edges: ArrayLike) -> Floats:
    """Move bin edges to the nearest cell boundaries; those that coincide become one."""
    wanted = np.asarray(edges, np.float64)
    right = np.clip(np.searchsorted(EDGES, wanted), 1, len(EDGES) - 1)
    left = right - 1
    nearer = np.where(wanted - EDGES[left] <= EDGES[right] - wanted, left, right)
    return np.asarray(EDGES[np.unique(nearer)], np.float64)


def around(low: float, high: float) -> tuple[float, float]:
    """Return the boundaries of the cells of two values: the last at or below, the first above."""
    first = int(np.searchsorted(EDGES, low, "right")) - 1
    last = int(np.searchsorted(EDGES, high, "right"))
    return float(EDGES[max(first, 0)]), float(EDGES[min(last, len(EDGES) - 1)])


def rebin(counts: NDArray[np.int64], edges: Floats) -> NDArray[np.int64]:
    """Count values between cell boundaries, exactly.

    Parameters
    ----------
    counts : ndarray[…, cell] of int64
    edges : ndarray[bin + 1] of float64
        Cell boundaries, as `snap` returns them.

    Returns
    -------
    ndarray[…, bin] of int64
        Values x with ``edges[i] <= x < edges[i + 1]``, what ``numpy.histogram`` counts.

    Raises
    ------
    ValueError
        An edge is not a cell boundary.
    """
    at = np.searchsorted(EDGES, edges)
    if not np.array_equal(EDGES[np.minimum(at, len(EDGES) - 1)], edges):
        msg = "bin edges must be cell boundaries: pass them through snap() first"
        raise ValueError(msg)
    total = np.cumsum(merged(counts), axis=-1)
    total = np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
    result: NDArray[np.int64] = np.diff(total[..., at], axis=-1)
    return result
