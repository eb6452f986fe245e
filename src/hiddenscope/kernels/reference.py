"""The plain kernels, in torch: float64 sums, whatever the dtype of the states.

Every loop walks over chunks of tokens small enough for the processor's cache; the size changes
the speed and the order of additions, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from hiddenscope.grid import CELLS
from hiddenscope.kernels.counting import Kind, at_once, count_cells

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the states of a site yields, for each stratum of its tokens.

    Attributes
    ----------
    cells : Tensor[stratum, cell] of int64
        Values in each cell of the grid, by the top 16 bits of the float32 pattern.
    finite : Tensor[token] of bool
        Whether every channel of the token is finite.
    mean, m2, m3, m4 : Tensor[stratum, channel] of float64
        Mean and centred power sums, not divided, of the finite tokens.
    unit_mean : Tensor[stratum, channel] of float64
        Mean of the finite tokens' states divided by their L2 norms; a state of zeros stays zeros.
    minimum, maximum : Tensor[stratum, channel] of float64
        Of all finite values, those of tokens that are not finite elsewhere included; infinite
        where there are none.
    over, over_rms, nonfinite : Tensor[stratum, channel] of int64
        Finite tokens with a magnitude of at least the threshold, and of at least the factor
        times the root mean square of their hidden state; values that are NaN or ±Inf.
    row_sum, row_sumsq, row_absmax : Tensor[token] of float64
        Sum, sum of squares and largest magnitude over the channels of each token.
    """

    cells: torch.Tensor
    finite: torch.Tensor
    mean: torch.Tensor
    m2: torch.Tensor
    m3: torch.Tensor
    m4: torch.Tensor
    unit_mean: torch.Tensor
    minimum: torch.Tensor
    maximum: torch.Tensor
    over: torch.Tensor
    over_rms: torch.Tensor
    nonfinite: torch.Tensor
    row_sum: torch.Tensor
    row_sumsq: torch.Tensor
    row_absmax: torch.Tensor


def scan(states: torch.Tensor, bounds: Sequence[int], threshold: float, factor: float) -> Scan:
    """Read every value of a site's states and reduce it to counts, sums and extremes.

    Parameters
    ----------
    states : Tensor[token, channel] of float32, bfloat16 or float16
    bounds : sequence of int
        Where the tokens of each stratum start, and the number of tokens. Additions start anew
        at each, so that the sums of a stratum do not depend on the tokens of another.
    threshold : float
        Magnitude from which a value counts as an outlier.
    factor : float
        The same, in root mean squares of the value's own hidden state.

    Returns
    -------
    Scan
    """
    n_tokens, n_channels = states.shape
    strata = len(bounds) - 1
    wide: Kind = {"dtype": torch.float64, "device": states.device}
    whole: Kind = {"dtype": torch.int64, "device": states.device}
    mean, m2, m3, m4, unit_mean = torch.zeros(5, strata, n_channels, **wide).unbind()
    over, over_rms, nonfinite = torch.zeros(3, strata, n_channels, **whole).unbind()
    row_sum, row_sumsq, row_absmax = torch.empty(3, n_tokens, **wide).unbind()
    made = Scan(
        cells=torch.zeros(strata, CELLS, **whole),
        finite=torch.empty(n_tokens, dtype=torch.bool, device=states.device),
        mean=mean,
        m2=m2,
        m3=m3,
        m4=m4,
        unit_mean=unit_mean,
        minimum=torch.full((strata, n_channels), torch.inf, **wide),
        maximum=torch.full((strata, n_channels), -torch.inf, **wide),
        over=over,
        over_rms=over_rms,
        nonfinite=nonfinite,
        row_sum=row_sum,
        row_sumsq=row_sumsq,
        row_absmax=row_absmax,
    )
    for k, (start, stop) in enumerate(pairwise(bounds)):
        if start < stop:
            tokens = slice(start, stop)
            part = _part(made, k, tokens)
            _read(states[tokens], part)
            _reduce(states[tokens], part, threshold, factor)
    return made


def _part(made: Scan, k: int, tokens: slice) -> Scan:
    """Return views of what a scan holds of one stratum, and of its tokens."""
    by_token = {"finite", "row_sum", "row_sumsq", "row_absmax"}
    return Scan(
        **{f.name: getattr(made, f.name)[tokens if f.name in by_token else k] for f in fields(made)}
    )


def _read(states: torch.Tensor, part: Scan) -> None:
    """Count cells and what is not finite, and reduce each token."""
    step = at_once(states)
    for start in range(0, len(states), step):
        rows = slice(start, start + step)
        chunk = states[rows].float()
        absmax = chunk.abs().amax(1)
        if not bool(torch.isfinite(absmax).all()):
            part.nonfinite.add_((~torch.isfinite(chunk)).sum(0))
            # One cell for every NaN: it must not fall into that of Inf, and whether conversion
            # keeps its sign depends on where in memory it lies.
            chunk = torch.where(torch.isnan(chunk), torch.nan, chunk)
        part.cells.add_(count_cells(chunk))
        part.row_absmax[rows] = absmax
        chunk = chunk.double()
        part.row_sum[rows] = chunk.sum(1)
        part.row_sumsq[rows] = torch.linalg.vecdot(chunk, chunk)
    part.finite.copy_(torch.isfinite(part.row_absmax))


def _reduce(states: torch.Tensor, part: Scan, threshold: float, factor: float) -> None:
    """Reduce the channels over the finite tokens."""
    kept = states if bool(part.finite.all()) else states[part.finite]
    if len(kept):
        part.minimum.copy_(kept.amin(0))
        part.maximum.copy_(kept.amax(0))
        _add_moments(kept, part)
        _add_units(kept, part.row_sumsq[part.finite], part.unit_mean)
    if len(kept) < len(states):
        others = states[~part.finite].double()
        known = torch.isfinite(others)
        low, high = torch.where(known, others, torch.inf), torch.where(known, others, -torch.inf)
        part.minimum.copy_(torch.minimum(part.minimum, low.amin(0)))
        part.maximum.copy_(torch.maximum(part.maximum, high.amax(0)))
    farthest = torch.maximum(-part.minimum, part.maximum)
    part.over.copy_(_count_over(kept, threshold, farthest))
    part.over_rms.copy_(_count_over_rms(kept, factor, farthest, part.row_sumsq[part.finite]))


def _add_moments(states: torch.Tensor, part: Scan) -> None:
    """Add mean and centred power sums of some finite tokens to zeros."""
    mean, m2, m3, m4 = part.mean, part.m2, part.m3, part.m4
    step = at_once(states)
    for chunk in states.split(step):  # type: ignore[no-untyped-call]
        mean += chunk.double().sum(0)
    mean /= len(states)
    for chunk in states.split(step):  # type: ignore[no-untyped-call]
        d = chunk.double().sub_(mean)
        d2 = d * d
        m2 += d2.sum(0)
        m3 += d.mul_(d2).sum(0)
        m4 += d2.mul_(d2).sum(0)


def _add_units(states: torch.Tensor, sumsq: torch.Tensor, mean: torch.Tensor) -> None:
    """Add the mean of some finite tokens' states, each divided by its norm, to zeros."""
    scale = torch.where(sumsq > 0, sumsq.rsqrt(), 0.0)
    step = at_once(states)
    for start in range(0, len(states), step):
        rows = slice(start, start + step)
        mean += (states[rows].double() * scale[rows, None]).sum(0)
    mean /= len(states)


def _count_over(states: torch.Tensor, threshold: float, largest: torch.Tensor) -> torch.Tensor:
    over = torch.zeros(states.shape[1], dtype=torch.int64, device=states.device)
    # Few channels ever reach the threshold: only these are read again.
    loud = torch.nonzero(largest >= threshold).squeeze(1)
    if len(loud):
        over[loud] = (states[:, loud].float().abs() >= threshold).sum(0)
    return over


def _count_over_rms(
    states: torch.Tensor, factor: float, largest: torch.Tensor, sumsq: torch.Tensor
) -> torch.Tensor:
    """Count tokens with a² · channels ≥ factor² · Σa² in each channel, in float64."""
    n_channels = states.shape[1]
    over = torch.zeros(n_channels, dtype=torch.int64, device=states.device)
    # A token of zeros has no root mean square: its values are never far out.
    limit = torch.where(sumsq > 0, factor**2 * sumsq, torch.inf)
    if not len(limit):
        return over
    # Only channels whose largest magnitude is enough for the smallest token are read again.
    loud = torch.nonzero(largest.square() * n_channels >= limit.min()).squeeze(1)
    step = at_once(states)
    for start in range(0, len(states), step):
        chunk = states[start : start + step, loud].double()
        far = chunk.square_().mul_(n_channels) >= limit[start : start + step, None]
        over[loud] += far.sum(0)
    return over


def largest(
    states: torch.Tensor, channels: torch.Tensor, floor: torch.Tensor, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the largest finite magnitudes of some channels.

    Parameters
    ----------
    states : Tensor[token, channel] of float32, bfloat16 or float16
    channels : Tensor[some] of int64
        Where to look.
    floor : Tensor[some] of float32
        A magnitude below that of its channel is not wanted.
    most : int
        No more of a channel, unless several are equal to the last.

    Returns
    -------
    token, column : Tensor[found] of int64
        Where they are, by token; `column` is an index into `channels`.
    magnitude : Tensor[found] of float32
    """
    sizes = states[:, channels].float().abs()
    # What is not finite is below any floor.
    sizes = torch.where(torch.isfinite(sizes), sizes, -torch.inf)
    last = sizes.T.contiguous().topk(min(most, len(sizes))).values[:, -1]
    token, column = torch.nonzero(sizes >= torch.maximum(floor, last), as_tuple=True)
    return token, column, sizes[token, column]
