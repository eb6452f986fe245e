"""How a base model is called: no head, no cache, and only what its forward pass takes."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.errors import HiddenscopeError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

ALIKE = 0.01
"""Embeddings closer to each other than this share of the largest distance count as equal."""
_CANDIDATES = 64


def forward_arguments(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor
) -> dict[str, Any]:
    """Return the arguments of a forward pass over a batch.

    Parameters
    ----------
    model : PreTrainedModel
    ids, mask : Tensor[batch, pos] of int64
        An encoder-decoder's decoder reads the same text, shifted right.

    Returns
    -------
    dict
    """
    call: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if getattr(model.config, "is_encoder_decoder", False):
        call["decoder_input_ids"] = shift_right(model, ids, mask)
        # As many tokens as the text has, however much padding is behind them.
        call["decoder_attention_mask"] = mask
    known = inspect.signature(model.forward).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    # FNet takes no mask, an encoder no cache.
    return {key: value for key, value in call.items() if takes_any or key in known}


def bound(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return what a forward pass was called with, by name."""
    given = dict(signature.bind_partial(*args, **kwargs).arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(name, {})
    return given


@contextmanager
def forward_pass(name: str, over: str) -> Iterator[None]:
    """Turn a failure of the forward passes inside into an error that names model and input.

    Parameters
    ----------
    name : str
        Of the model.
    over : str
        What it was given, in words.

    Raises
    ------
    ModelError
        A forward pass raised an exception that is not one of hiddenscope's.
    """
    try:
        yield
    except HiddenscopeError:
        raise
    except Exception as error:
        msg = f"a forward pass of {name} over {over} failed: {type(error).__name__}: {error}"
        if isinstance(error, torch.OutOfMemoryError):
            msg += "; a smaller batch_tokens or window needs less memory"
        raise ModelError(msg) from error


def shift_right(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Put the decoder's start token before a text, whose last token falls away.

    Parameters
    ----------
    model : PreTrainedModel
    ids, mask : Tensor[batch, pos] of int64
        Padding stays where it is: the start token is the first that the mask lets through.

    Raises
    ------
    ModelError
        The configuration names no start token.
    """
    config = model.config
    for role in ("decoder_start", "bos", "eos"):
        start = getattr(config, f"{role}_token_id", None)
        if isinstance(start, int):
            moved = torch.cat([ids[:, :1], ids[:, :-1]], 1)
            return moved.scatter(1, mask.argmax(1, keepdim=True), start)
    msg = (
        f"the configuration of {type(model).__name__} names no token that its decoder starts "
        "with: set decoder_start_token_id in config.json"
    )
    raise ModelError(msg)


def padding_id(model: PreTrainedModel, wanted: Any) -> int:
    """Return a token to pad with: the one that is wanted, if the model knows it, else 0.

    The mask decides what is padding; but what has no embedding cannot be put into a batch.
    """
    return wanted if isinstance(wanted, int) and 0 <= wanted < vocabulary(model) else 0


def vocabulary(model: PreTrainedModel) -> int:
    """Return how many tokens a model knows.

    Raises
    ------
    ModelError
        It has no table of token embeddings.
    """
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError) as error:
        msg = f"{type(model).__name__} has no table of token embeddings, so it reads no tokens"
        raise ModelError(msg) from error


def plain_ids(model: PreTrainedModel, count: int) -> list[int]:
    """Return some tokens that a model knows, none of them special, all with unlike embeddings.

    Tokens that were never trained often share one embedding: exchanging them changes nothing, so
    it would not show whether a model looks ahead.

    Raises
    ------
    ModelError
        It has no table of token embeddings, or one whose rows are alike.
    """
    config = model.config.get_text_config()
    roles = ("pad", "bos", "eos", "decoder_start")
    special = {getattr(config, f"{role}_token_id", None) for role in roles}
    plain = [i for i in range(vocabulary(model)) if i not in special]
    chosen: list[int] = []
    rows = torch.zeros(0)
    for start in range(0, len(plain), _CANDIDATES):
        ids = plain[start : start + _CANDIDATES]
        found = _embeddings(model, ids)
        # Embeddings may share one large direction: what counts is how they differ.
        least = ALIKE * float((found - found[0]).norm(dim=1).max())
        for i, row in zip(ids, found, strict=True):
            if not chosen or bool(((rows - row).norm(dim=1) > least).all()):
                rows = torch.cat([rows.to(row).reshape(-1, len(row)), row[None]])
                chosen.append(i)
            if len(chosen) == count:
                return chosen
    msg = (
        f"{type(model).__name__} has {len(chosen)} tokens with unlike embeddings, expected at "
        f"least {count} to look into it with: were its weights loaded?"
    )
    raise ModelError(msg)


def _embeddings(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Return the embeddings of some tokens, ``[token, channel]`` in float64 on the CPU."""
    table = model.get_input_embeddings()
    with torch.no_grad():
        # Where accelerate keeps the weights elsewhere, it fetches them for a call.
        rows = table(torch.tensor([ids]))[0] if table.weight.is_meta else table.weight[ids]
    return torch.nan_to_num(rows.double().cpu())
