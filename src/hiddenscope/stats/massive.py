"""Massive activations: tokens whose hidden state has one enormous coordinate."""

from __future__ import annotations

import torch


def find_massive(states: torch.Tensor, magnitude: float, ratio: float) -> torch.Tensor:
    """Find tokens with a massive activation (Sun et al. 2024).

    Parameters
    ----------
    states : Tensor[token, channel]
    magnitude : float
        What a value's magnitude must exceed.
    ratio : float
        What it must exceed in units of the median magnitude of its hidden state.

    Returns
    -------
    Tensor[token] of bool
        False for a token that is not finite.
    """
    found = torch.zeros(len(states), dtype=torch.bool, device=states.device)
    if not len(states):
        return found
    low, high = states.aminmax(dim=1)
    largest = torch.maximum(-low, high)
    # Few hidden states ever come near: only theirs are sorted.
    loud = torch.nonzero((largest > magnitude) & torch.isfinite(largest)).squeeze(1)
    if len(loud):
        sizes = states[loud].double().abs().sort(1).values
        middle = sizes.shape[1] // 2
        median = (sizes[:, middle] + sizes[:, ~middle]) / 2
        found[loud] = sizes[:, -1] > ratio * median
    return found
