"""Whether padding leaves a model's states as they are: tried, not assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hiddenscope.models.calling import forward_arguments, forward_pass, padding_id, plain_ids
from hiddenscope.models.restoring import left_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

TOKENS, PADDING = 6, 3
_OUTPUTS = ("encoder_last_hidden_state", "last_hidden_state")


def padding_shift(model: PreTrainedModel, side: str) -> float:
    """Return by how much masked padding beside a text changes its states.

    A model with absolute positions that is not told them takes the first token behind padding
    on the left for a later one; a model that takes no mask (FNet) mixes the padding in.

    Parameters
    ----------
    model : PreTrainedModel
        A base model. It is left as it was.
    side : {'left', 'right'}

    Returns
    -------
    float
        The norm of the difference of the last hidden states, over that of the states: 0.01 and
        less is rounding in any dtype but the coarsest.
    """
    ids = torch.tensor([plain_ids(model, TOKENS)], device=model.device)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    filler = torch.full((1, PADDING), padding_id(model, pad), device=model.device)
    parts = [(ids, 1), (filler, 0)][:: 1 if side == "right" else -1]
    padded = torch.cat([x for x, _ in parts], 1)
    mask = torch.cat([torch.full_like(x, real) for x, real in parts], 1)
    results = []
    for x, m in ((ids, torch.ones_like(ids)), (padded, mask)):
        what = f"{TOKENS} tokens" + f" and {PADDING} of padding" * (x is padded)
        with left_alone(model), forward_pass(type(model).__name__, what):
            results.append(model(**forward_arguments(model, x, m), return_dict=True))
    # An encoder-decoder is asked for what its encoder makes of the text.
    output = next(name for name in _OUTPUTS if getattr(results[0], name, None) is not None)
    plain, beside = (getattr(r, output) for r in results)
    beside = beside[:, :TOKENS] if side == "right" else beside[:, PADDING:]
    return _shift(beside, plain)


def batch_shift(
    model: PreTrainedModel, short: Sequence[int], long: Sequence[int], pad_id: int
) -> float:
    """Return by how much a longer text beside it, in the same batch, changes a text's states.

    Parameters
    ----------
    model : PreTrainedModel
        A base model. It is left as it was.
    short, long : sequence of int
        Tokens of two texts; the shorter one is padded on the right.
    pad_id : int

    Returns
    -------
    float
        As of `padding_shift`, the largest of the model's outputs.
    """
    length = len(short)
    filled = [*short, *[pad_id] * (len(long) - length)]
    pair = torch.tensor([filled, list(long)], device=model.device)
    real = torch.ones_like(pair)
    real[0, length:] = 0
    results = []
    for x, m in ((pair[:1, :length], real[:1, :length]), (pair, real)):
        what = f"{len(x)} texts of up to {x.shape[1]} tokens"
        with left_alone(model), forward_pass(type(model).__name__, what):
            results.append(model(**forward_arguments(model, x, m), return_dict=True))
    alone, beside = results
    outputs = [name for name in _OUTPUTS if getattr(alone, name, None) is not None]
    return max(_shift(getattr(beside, n)[:1, :length], getattr(alone, n)) for n in outputs)


def _shift(states: torch.Tensor, plain: torch.Tensor) -> float:
    states, plain = states.double(), plain.double()
    return float((states - plain).norm() / plain.norm())
