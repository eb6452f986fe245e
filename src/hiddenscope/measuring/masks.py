"""Attention masks, read: which tokens of a call are real, and which of them start a sequence.

A mask comes as ``[batch, key]`` or, as a model with a static cache receives it, as ``[batch, head,
query, key]``: boolean or added to the scores, one for all layers or one for each kind of layer.
A mask that cannot be read for certain is refused: if it were ignored, padding would be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

STATES = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")
"""Names of the arguments that pass a model its cache or state from earlier calls."""
BLOCKED = -1e4
"""A mask value added to a score blocks it if it is at most this; models use the lowest number."""
_LOCAL = ("sliding", "chunked")
_RECURRENT = ("linear_attention", "conv")
_ADVICE = (
    "pass attention_mask as [batch, key] of 0 and 1, or as [batch, head, query, key], boolean or "
    "with 0 where attention may go and the dtype's lowest number where it may not"
)


@dataclass(frozen=True)
class Reading:
    """What a call's mask says of its tokens.

    Attributes
    ----------
    real : ndarray[batch, pos] of bool
        The token is text and not padding.
    starts : ndarray[batch, pos] of bool
        The token is real and no earlier one can be attended to, nor one in the cache.
    positions : ndarray[batch, pos] of int64
        Real tokens of the sequence before it, as far as the mask shows.
    """

    real: NDArray[np.bool_]
    starts: NDArray[np.bool_]
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Past:
    """What was read before a call.

    Attributes
    ----------
    cache : object or None
    tokens : int or None
        How many tokens the cache holds; None where it does not say (a recurrent state).
    inside : bool
        Whether the model may keep a state in its modules instead of receiving it as an argument.
    """

    cache: Any
    tokens: int | None
    inside: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], *, inside: bool = False) -> Past:
        """Find it among the arguments of a call."""
        cache = next((given[name] for name in STATES if given.get(name) is not None), None)
        if cache is None:
            return cls(None, 0, inside)
        try:
            return cls(cache, int(cache.get_seq_length()))
        except AttributeError:
            return cls(cache, None)
        except ValueError:
            # It has recurrent states only, which do not count what they have read.
            return cls(cache, None if cache.has_previous_state() else 0)

    def keys_left_out(self, length: int, kind: str) -> int:
        """Return how many of the first keys a mask for a kind of layer has no columns for."""
        if not hasattr(self.cache, "get_mask_sizes"):
            return 0
        local = any(word in kind for word in _LOCAL)
        kinds = zip(self.cache.is_sliding, self.cache.is_linear, self.cache.is_dummy, strict=True)
        like = [i for i, (s, *other) in enumerate(kinds) if s == local and not any(other)]
        return int(self.cache.get_mask_sizes(length, like[0] if like else 0)[1])


def read_mask(mask: Any, shape: tuple[int, int], past: Past) -> Reading:
    """Read the mask of a call.

    Parameters
    ----------
    mask : Tensor, mapping of str to Tensor, or None
        As the model was called with it; a mapping is by kind of layer.
    shape : (int, int)
        Rows and tokens of the call.
    past : Past

    Returns
    -------
    Reading

    Raises
    ------
    MaskError
        The mask is of another kind or shape, holds NaN or values between allowed and blocked, or
        its parts contradict each other.
    """
    if not isinstance(mask, dict):
        return _read(mask, shape, past, "")
    # Recurrent layers get no mask where they need none, and theirs has no columns for the past.
    recurrent = {k: m for k, m in mask.items() if k in _RECURRENT and m is not None}
    others = {k: m for k, m in mask.items() if k not in _RECURRENT}
    readings = {k: _read(m, shape, past, k) for k, m in (others | recurrent).items()}
    if not readings:
        return _read(None, shape, past, "")
    (kind, one), *rest = readings.items()
    for other, reading in rest:
        if not np.array_equal(reading.real, one.real):
            msg = f"the masks of {kind} and {other} disagree on which tokens are padding: {_ADVICE}"
            raise MaskError(msg)
    told = [readings[k] for k in others] or [one]
    return Reading(
        one.real,
        np.logical_and.reduce([r.starts for r in told]),
        np.maximum.reduce([r.positions for r in told]),
    )


def _read(mask: Any, shape: tuple[int, int], past: Past, kind: str) -> Reading:
    if mask is None:
        real = np.ones(shape, bool)
        order = np.cumsum(real, 1) + (past.tokens or 0)
        continues = past.tokens != 0
        return Reading(real, real & (order == 1) & (not continues), order - 1)
    if not isinstance(mask, torch.Tensor):
        msg = f"attention_mask is a {type(mask).__name__}, which cannot be read: {_ADVICE}"
        raise MaskError(msg)
    mask = mask.detach()
    _check_values(mask)
    if mask.ndim == 2:
        return _read_keys(mask, shape, past, kind)
    return _read_pairs(mask, shape, past, kind)


def _check_values(mask: torch.Tensor) -> None:
    """Refuse values that mean neither allowed nor blocked."""
    name = f"attention_mask of shape {tuple(mask.shape)} and {str(mask.dtype).split('.')[1]}"
    if mask.ndim not in {2, 3, 4}:
        msg = f"{name} has {mask.ndim} axes: {_ADVICE}"
        raise MaskError(msg)
    if mask.dtype == torch.bool or not mask.numel():
        return
    if mask.isnan().any():
        msg = f"{name} holds NaN: {_ADVICE}"
        raise MaskError(msg)
    if mask.ndim == 2:
        known, what = (mask == 0) | (mask == 1), "0 and 1"
    elif mask.is_floating_point():
        known, what = (mask == 0) | (mask <= BLOCKED), f"0 and {BLOCKED:g} or less"
    else:
        known, what = torch.zeros_like(mask, dtype=torch.bool), "boolean or floating point"
    if not known.all():
        odd = mask[~known][0].item()
        msg = f"{name} holds {odd:g}, expected {what}: {_ADVICE}"
        raise MaskError(msg)


def _read_keys(mask: torch.Tensor, shape: tuple[int, int], past: Past, kind: str) -> Reading:
    """Read a mask ``[batch, key]``, whose keys are what the cache holds and then the tokens."""
    rows, length = shape
    width = mask.shape[1]
    cached = past.tokens
    if kind in _RECURRENT or cached is None or past.inside:
        # A state has read what the mask says of earlier tokens.
        begin = width - length
    else:
        begin = cached - past.keys_left_out(length, kind) if kind else cached
    if begin < 0 or begin + length > width or mask.shape[0] not in {1, rows}:
        held = "" if not cached else f" behind {cached} in the cache"
        msg = (
            f"attention_mask of shape {tuple(mask.shape)} does not cover {rows} rows of {length} "
            f"tokens{held}: {_ADVICE}"
        )
        raise MaskError(msg)
    attended = np.broadcast_to(_numpy(mask != 0), (rows, width))
    order = np.cumsum(attended, 1)
    real, order = (x[:, begin : begin + length] for x in (attended, order))
    # Where the mask has no columns for tokens that were read earlier, they are taken for text.
    unseen = past.tokens != 0 and not begin
    return Reading(real, real & (order == 1) & (not unseen), np.maximum(order - 1, 0))


def _read_pairs(mask: torch.Tensor, shape: tuple[int, int], past: Past, kind: str) -> Reading:
    """Read a mask ``[batch, head, query, key]``: a token that does not see itself is padding."""
    rows, length = shape
    allowed = mask if mask.dtype == torch.bool else mask == 0
    allowed = allowed[:, None] if allowed.ndim == 3 else allowed
    cached = past.tokens
    begin = -1 if cached is None else cached - past.keys_left_out(length, kind)
    fits = allowed.shape[0] in {1, rows} and allowed.shape[2] in {1, length}
    if not fits or begin < 0 or begin + length > allowed.shape[3]:
        where = "an unknown number of" if cached is None else cached
        msg = (
            f"attention_mask of shape {tuple(mask.shape)} does not fit {rows} rows of {length} "
            f"tokens behind {where} in the cache: expected a query for each token, and a key for "
            f"each and for what is cached"
        )
        raise MaskError(msg)
    allowed = allowed.any(1).expand(rows, length, -1)
    own = torch.arange(begin, begin + length, device=allowed.device)
    keys = torch.arange(allowed.shape[2], device=allowed.device)
    real = allowed[:, torch.arange(length, device=own.device), own]
    # What others attend to is no padding, whatever else it may be.
    if bool((allowed[:, :, own] & ~real[:, None, :]).any()):
        msg = (
            "attention_mask hides a token from itself but not from others, so padding cannot be "
            f"told from text: {_ADVICE}"
        )
        raise MaskError(msg)
    earlier = _numpy((allowed & (keys < own[:, None])).sum(2))
    counted = _numpy(real)
    return Reading(counted, counted & (earlier == 0), earlier)


def sequence_starts(positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where packed sequences start, as transformers tells them apart.

    Parameters
    ----------
    positions : ndarray[batch, pos] of int64

    Returns
    -------
    ndarray[batch, pos] of bool
        Where a position is not one more than the one before (``find_packed_sequence_indices``).
    """
    starts: NDArray[np.bool_] = np.diff(positions, axis=1, prepend=positions[:, :1] - 2) != 1
    return starts


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
