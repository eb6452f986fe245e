"""Counts of values by the bits of their float32 pattern."""

from __future__ import annotations

from typing import TypedDict

import torch

from hiddenscope.grid import CELLS, LOWEST_OCTAVE, OCTAVES

CHUNK = 128
"""Tokens that a loop of a kernel reads at once on a processor, whose cache holds them."""
VALUES_AT_ONCE = 1 << 24
"""Values that it reads at once elsewhere: there every step costs the same, however short."""


def at_once(states: torch.Tensor, sites: int = 1) -> int:
    """Return how many tokens of some sites a loop of a kernel reads at once."""
    if states.device.type == "cpu":
        return CHUNK
    return max(CHUNK, VALUES_AT_ONCE // (sites * states.shape[-1]))


class Kind(TypedDict):
    """Where an array is kept, and of what type."""

    dtype: torch.dtype
    device: torch.device


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


def count_octaves(states: torch.Tensor) -> torch.Tensor:
    """Count values by the binary exponent of their magnitude, channel by channel.

    Parameters
    ----------
    states : Tensor[token, channel] of float32, bfloat16 or float16
        Finite.

    Returns
    -------
    Tensor[channel, octave] of int64
        As `grid.OCTAVE_STARTS` divides magnitudes.
    """
    n_channels = states.shape[1]
    whole: Kind = {"dtype": torch.int64, "device": states.device}
    counts = torch.zeros(n_channels * OCTAVES, **whole)
    first = torch.arange(n_channels, dtype=torch.int32, device=states.device) * OCTAVES
    below = 127 + LOWEST_OCTAVE - 1
    # Larger chunks than elsewhere: for each, as many counts are added as a channel has octaves.
    chunk = 4 * at_once(states)
    for start in range(0, len(states), chunk):
        bits = states[start : start + chunk].float().contiguous().view(torch.int32)
        # The exponent stands above the 23 bits of the mantissa, below the sign.
        octave = (bits >> 23).bitwise_and_(0xFF).sub_(below).clamp_(0, OCTAVES - 1)
        counts += torch.bincount(octave.add_(first).reshape(-1), minlength=len(counts))
    return counts.reshape(n_channels, OCTAVES)
