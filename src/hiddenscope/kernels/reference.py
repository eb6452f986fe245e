"""The plain kernels, in torch: float64 sums, whatever the dtype of the states.

Every loop walks over chunks of tokens small enough for the processor's cache; the size changes
the speed and the order of additions, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

CELLS = 1 << 16
CHUNK = 128


class _Wide(TypedDict):
    """Where the sums are kept, and how."""

    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the states of a site yields.

    Attributes
    ----------
    cells : Tensor[cell] of int64
        Values in each cell of the grid, by the top 16 bits of the float32 pattern.
    finite : Tensor[token] of bool
        Whether every channel of the token is finite.
    mean, m2, m3, m4 : Tensor[channel] of float64
        Mean and centred power sums, not divided, of the finite tokens.
    minimum, maximum : Tensor[channel] of float64
        Of all finite values, those of tokens that are not finite elsewhere included; infinite
        where there are none.
    over, over_rms, nonfinite : Tensor[channel] of int64
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
    minimum: torch.Tensor
    maximum: torch.Tensor
    over: torch.Tensor
    over_rms: torch.Tensor
    nonfinite: torch.Tensor
    row_sum: torch.Tensor
    row_sumsq: torch.Tensor
    row_absmax: torch.Tensor


def count_cells(states: torch.Tensor) -> torch.Tensor:
    """Count values by the top 16 bits of their float32 pattern.

    Parameters
    ----------
    states : Tensor of float32, contiguous
        A NaN must have a high mantissa bit set, or it would be counted as an infinity.

    Returns
    -------
    Tensor[65536] of int64
    """
    # Little-endian: the second half of each float32 holds sign, exponent and 7 mantissa bits.
    top = states.reshape(-1).view(torch.int16)[1::2].to(torch.int32)
    return torch.bincount(top.bitwise_and_(0xFFFF), minlength=CELLS)


def scan(states: torch.Tensor, threshold: float, factor: float) -> Scan:
    """Read every value of a site's states and reduce it to counts, sums and extremes.

    Parameters
    ----------
    states : Tensor[token, channel] of float32, bfloat16 or float16
        At least one token.
    threshold : float
        Magnitude from which a value counts as an outlier.
    factor : float
        The same, in root mean squares of the value's own hidden state.

    Returns
    -------
    Scan
    """
    n_tokens, n_channels = states.shape
    wide: _Wide = {"dtype": torch.float64, "device": states.device}
    cells = torch.zeros(CELLS, dtype=torch.int64, device=states.device)
    row_sum, row_sumsq, row_absmax = torch.empty(3, n_tokens, **wide).unbind()
    nonfinite = torch.zeros(n_channels, dtype=torch.int64, device=states.device)
    for start in range(0, n_tokens, CHUNK):
        rows = slice(start, start + CHUNK)
        chunk = states[rows].float()
        absmax = chunk.abs().amax(1)
        if not bool(torch.isfinite(absmax).all()):
            nonfinite += (~torch.isfinite(chunk)).sum(0)
            # One cell for every NaN: it must not fall into that of Inf, and whether conversion
            # keeps its sign depends on where in memory it lies.
            chunk = torch.where(torch.isnan(chunk), torch.nan, chunk)
        cells += count_cells(chunk)
        row_absmax[rows] = absmax
        chunk = chunk.double()
        row_sum[rows] = chunk.sum(1)
        row_sumsq[rows] = torch.linalg.vecdot(chunk, chunk)
    finite = torch.isfinite(row_absmax)
    kept = states if bool(finite.all()) else states[finite]
    mean, m2, m3, m4, minimum, maximum = _moments(kept)
    if len(kept) < n_tokens:
        others = states[~finite].double()
        known = torch.isfinite(others)
        minimum = torch.minimum(minimum, torch.where(known, others, torch.inf).amin(0))
        maximum = torch.maximum(maximum, torch.where(known, others, -torch.inf).amax(0))
    largest = torch.maximum(-minimum, maximum)
    return Scan(
        cells=cells,
        finite=finite,
        mean=mean,
        m2=m2,
        m3=m3,
        m4=m4,
        minimum=minimum,
        maximum=maximum,
        over=_count_over(kept, threshold, largest),
        over_rms=_count_over_rms(kept, factor, largest, row_sumsq[finite]),
        nonfinite=nonfinite,
        row_sum=row_sum,
        row_sumsq=row_sumsq,
        row_absmax=row_absmax,
    )


def _moments(states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    n_tokens, n_channels = states.shape
    wide: _Wide = {"dtype": torch.float64, "device": states.device}
    sums = torch.zeros(4, n_channels, **wide)
    if not n_tokens:
        infinity = torch.full((n_channels,), torch.inf, **wide)
        return (*sums.unbind(), infinity, -infinity)
    mean, m2, m3, m4 = sums.unbind()
    for chunk in states.split(CHUNK):  # type: ignore[no-untyped-call]
        mean += chunk.double().sum(0)
    mean /= n_tokens
    for chunk in states.split(CHUNK):  # type: ignore[no-untyped-call]
        d = chunk.double().sub_(mean)
        d2 = d * d
        m2 += d2.sum(0)
        m3 += d.mul_(d2).sum(0)
        m4 += d2.mul_(d2).sum(0)
    return mean, m2, m3, m4, states.amin(0).double(), states.amax(0).double()


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
    for start in range(0, len(states), CHUNK):
        chunk = states[start : start + CHUNK, loud].double()
        far = chunk.square_().mul_(n_channels) >= limit[start : start + CHUNK, None]
        over[loud] += far.sum(0)
    return over


def comoment(states: Sequence[torch.Tensor], means: torch.Tensor) -> torch.Tensor:
    """Sum the products of centred values of every pair of sites, channel by channel.

    Parameters
    ----------
    states : sequence over sites of Tensor[token, channel]
        The same finite tokens at every site.
    means : Tensor[site, channel] of float64
        What to centre each site by.

    Returns
    -------
    Tensor[site, site, channel] of float64
        Σ_t (x_a − mean_a)(x_b − mean_b).
    """
    n_tokens, n_channels = states[0].shape
    wide: _Wide = {"dtype": torch.float64, "device": states[0].device}
    total = torch.zeros(n_channels, len(states), len(states), **wide)
    # Channel first, so that every channel is one small matrix product over the tokens.
    buffer = torch.empty(n_channels, len(states), min(CHUNK, n_tokens), **wide)
    for start in range(0, n_tokens, CHUNK):
        for i, x in enumerate(states):
            chunk = x[start : start + CHUNK]
            torch.sub(chunk.T, means[i, :, None], out=buffer[:, i, : len(chunk)])
        part = buffer[..., : min(CHUNK, n_tokens - start)]
        total += part @ part.transpose(1, 2)
    return total.permute(1, 2, 0)


def comoment_parts(
    states: Sequence[torch.Tensor], means: torch.Tensor, loud: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Sum the products of centred values, without keeping every pair in every channel.

    Parameters
    ----------
    states, means
        As in `comoment`.
    loud : Tensor[loud] of int64
        The channels of which every pair of sites is kept.

    Returns
    -------
    dict of str to Tensor of float64
        ``sum[site, site]`` over the channels; ``self[site, channel]``;
        ``next[site, channel]`` with the following site, zero for the last;
        ``loud[site, site, loud]``.
    """
    n_tokens, n_channels = states[0].shape
    n_sites = len(states)
    wide: _Wide = {"dtype": torch.float64, "device": states[0].device}
    total = torch.zeros(n_sites, n_sites, **wide)
    own, following = torch.zeros(2, n_sites, n_channels, **wide).unbind()
    pairs = torch.zeros(len(loud), n_sites, n_sites, **wide)
    for start in range(0, n_tokens, CHUNK):
        chunks = [x[start : start + CHUNK] for x in states]
        d = torch.stack([x.double().sub_(m) for x, m in zip(chunks, means, strict=True)])
        flat = d.flatten(1)
        total += flat @ flat.T
        own += (d * d).sum(1)
        following[:-1] += (d[:-1] * d[1:]).sum(1)
        part = d[..., loud].permute(2, 0, 1)
        pairs += part @ part.transpose(1, 2)
    return {"sum": total, "self": own, "next": following, "loud": pairs.permute(1, 2, 0)}
