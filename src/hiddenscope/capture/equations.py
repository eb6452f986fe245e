"""Whether what a block adds is what it is said to be: its equations, computed in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hiddenscope.models import apply, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hiddenscope.models import Step

ROUNDINGS = 2
"""A sum may be off by this number of units in the last place of each of its terms."""
NORMED = 4
"""So many, of its own size and of the mean over the channels, for the norm of a sum."""


@torch.no_grad()
def residue(
    model: torch.nn.Module, step: Step, states: Mapping[str, torch.Tensor]
) -> tuple[float, bool]:
    """Compute by how much an equation is off, and whether that is rounding.

    What is not finite is no equation, and is passed over; it is counted elsewhere.

    Parameters
    ----------
    model : Module
        Which has the norms and factors of the equation.
    step : Step
    states : mapping of str to Tensor[token, channel]
        By point.

    Returns
    -------
    float
        The largest error, as a share of the largest magnitude of the result.
    bool
        Whether each is within the rounding of the coarsest dtype: 2·ε·Σ|term| for a sum; what a
        norm makes of a sum is within 4·ε of its magnitude and of the token's mean magnitude.
    """
    result = states[step.result]
    epsilon = max(torch.finfo(states[p].dtype).eps for p in (*step.terms, step.result))
    terms = [states[p].double() for p in step.terms]
    terms[0] = _base(model, step, states[step.terms[0]])
    total = torch.stack(terms).sum(0)
    allowed = torch.stack(terms).abs().sum(0) * epsilon * ROUNDINGS
    if step.factor is not None:
        factor = torch.as_tensor(value_of(model, step.factor))
        total, allowed = total * factor, allowed * factor.abs()
    if step.norm is not None:
        norm = model.get_submodule(step.norm)
        total = apply(norm, total.to(_kind(norm, result)), step.axes).double()
        allowed = (total.abs() + total.abs().mean(-1, keepdim=True)) * epsilon * NORMED
    off = (result.double() - total).abs()
    known = torch.isfinite(off) & torch.isfinite(allowed)
    scale = result.double().abs()[known].amax().clamp(min=1e-300) if known.any() else 1.0
    worst = float((off[known] / scale).amax()) if known.any() else 0.0
    return worst, bool((off <= allowed)[known].all())


def _base(model: torch.nn.Module, step: Step, state: torch.Tensor) -> torch.Tensor:
    """Return what is added to, in float64: the stream, or what a norm and a factor make of it."""
    if step.base_norm is not None:
        norm = model.get_submodule(step.base_norm)
        state = apply(norm, state.to(_kind(norm, state)), step.axes)
    base = state.double()
    return base if step.base_scale is None else base * value_of(model, step.base_scale)


def _kind(norm: torch.nn.Module, otherwise: torch.Tensor) -> torch.dtype:
    return next(norm.parameters(), otherwise).dtype
