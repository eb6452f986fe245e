"""Whether sequences packed into one row are kept apart: tried, not assumed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch

from hiddenscope.models.calling import plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = 3


def keeps_apart(model: PreTrainedModel) -> bool:
    """Whether a causal model separates sequences where position ids restart, without mask or cache.

    Transformers can find packed sequences by their positions, but not for every model.

    Parameters
    ----------
    model : PreTrainedModel
        A base model, inside of `left_alone`.

    Returns
    -------
    bool
    """
    known = inspect.signature(model.forward).parameters
    if "position_ids" not in known:
        return False
    plain = plain_ids(model, 2 * TOKENS + 1)
    # The rows differ in their first token alone.
    rows = torch.tensor([plain[:-1], [plain[-1], *plain[1:-1]]], device=model.device)
    positions = torch.arange(TOKENS, device=model.device).repeat(2, 2)
    call = {"input_ids": rows, "position_ids": positions, "use_cache": False}
    call = {key: value for key, value in call.items() if key in known}
    try:
        a, b = model(**call, return_dict=True).last_hidden_state.double()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        # It takes positions of another form, or not without a mask.
        return False
    behind = torch.allclose(a[TOKENS:], b[TOKENS:], rtol=1e-3, atol=1e-5, equal_nan=True)
    return behind and not torch.allclose(a[:TOKENS], b[:TOKENS], rtol=1e-3, atol=1e-5)
