"""Massive activations: values that are enormous beside all others of their site."""

from __future__ import annotations

import torch

from hiddenscope import grid
from hiddenscope.kernels import count_cells


def find_massive(states: torch.Tensor, magnitude: float, ratio: float) -> torch.Tensor:
    """Find tokens with a massive activation (Sun et al. 2024).

    Parameters
    ----------
    states : Tensor[token, channel]
        Of one site, of all the tokens of a batch.
    magnitude : float
        What a value's magnitude must exceed.
    ratio : float
        What it must exceed in units of the median magnitude of all these states, read off the
        grid as the analysis does.

    Returns
    -------
    Tensor[token] of bool
        False for a token that is not finite.
    """
    if not len(states):
        return torch.zeros(0, dtype=torch.bool, device=states.device)
    low, high = states.aminmax(dim=1)
    largest = torch.maximum(-low, high)
    found = (largest > magnitude) & torch.isfinite(largest)
    # Most sites have no value above `magnitude`: the median is needed only for the others.
    if bool(found.any()):
        counts = grid.fold_sign(count_cells(states.float()).cpu().numpy())
        found &= largest.double() > ratio * float(grid.magnitude_quantiles(counts, 0.5))
    return found
