"""Products of centred values between sites, in torch and in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hiddenscope.kernels.counting import at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.kernels.counting import Kind


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
    wide: Kind = {"dtype": torch.float64, "device": states[0].device}
    total = torch.zeros(n_channels, len(states), len(states), **wide)
    step = at_once(states[0], len(states))
    # Channel first, so that every channel is one small matrix product over the tokens.
    buffer = torch.empty(n_channels, len(states), min(step, n_tokens), **wide)
    for start in range(0, n_tokens, step):
        for i, x in enumerate(states):
            chunk = x[start : start + step]
            torch.sub(chunk.T, means[i, :, None], out=buffer[:, i, : len(chunk)])
        part = buffer[..., : min(step, n_tokens - start)]
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
    wide: Kind = {"dtype": torch.float64, "device": states[0].device}
    total = torch.zeros(n_sites, n_sites, **wide)
    own, following = torch.zeros(2, n_sites, n_channels, **wide).unbind()
    pairs = torch.zeros(len(loud), n_sites, n_sites, **wide)
    step = at_once(states[0], n_sites)
    # The one large array: beside it only one site at a time is multiplied.
    buffer = torch.empty(n_sites, min(step, n_tokens), n_channels, **wide)
    for start in range(0, n_tokens, step):
        d = buffer[:, : min(step, n_tokens - start)]
        for i, x in enumerate(states):
            torch.sub(x[start : start + step], means[i], out=d[i])
        flat = d.flatten(1)
        total += flat @ flat.T
        for i in range(n_sites):
            own[i] += (d[i] * d[i]).sum(0)
        for i in range(n_sites - 1):
            following[i] += (d[i] * d[i + 1]).sum(0)
        part = d[..., loud].permute(2, 0, 1)
        pairs += part @ part.transpose(1, 2)
    return {"sum": total, "self": own, "next": following, "loud": pairs.permute(1, 2, 0)}
