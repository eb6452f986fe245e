"""Profiles of hidden states that another tool or a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope.corpus import special_ids, stratify
from hiddenscope.errors import InputError
from hiddenscope.profiling.assemble import assemble, describe_tokenizer
from hiddenscope.profiling.recorder import DEFAULT_SAMPLE_MIB, make_layout
from hiddenscope.sites import Site
from hiddenscope.stats import NO_TOKEN, OUTLIER, Batch, StreamState, Tokens
from hiddenscope.strata import PADDING, STRATA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.profiles import Profile


def from_states(
    states: Mapping[str, Any],
    *,
    mask: ArrayLike | None = None,
    input_ids: ArrayLike | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    causal: bool = True,
    name: str = "states",
    sample_mib: float = DEFAULT_SAMPLE_MIB,
    outlier: float = OUTLIER,
) -> Profile:
    """Measure hidden states that are there already.

    Parameters
    ----------
    states : mapping of str to array or Tensor [batch, pos, channel]
        By site, in the order of the forward pass; float32, bfloat16 or float16 (others are
        rounded to float32).
    mask : array [batch, pos], optional
        Zero for padding; positions are counted over the rest of each row.
    input_ids : array [batch, pos] of int, optional
        To show tokens, and with `tokenizer` to tell special ones apart.
    tokenizer : PreTrainedTokenizerBase, optional
    causal : bool
        Whether the first token of a row is a stratum of its own.
    name : str
        What captions call the model.
    sample_mib, outlier : float
        As in `record`.

    Returns
    -------
    Profile

    Raises
    ------
    InputError, SiteError
        Shapes do not agree, there are fewer than two tokens, or a name is not a site.
    """
    if not states:
        msg = "no states were given: pass {site: array [batch, pos, channel]}"
        raise InputError(msg)
    tensors = {Site(str(site)).name: _tensor(site, x) for site, x in states.items()}
    shape = next(iter(tensors.values())).shape
    wrong = {site: tuple(x.shape) for site, x in tensors.items() if x.shape != shape}
    if wrong:
        site, other = next(iter(wrong.items()))
        msg = f"all sites must have one shape, got {tuple(shape)} and, at {site}, {other}"
        raise InputError(msg)
    rows, length = int(shape[0]), int(shape[1])
    real = np.ones((rows, length), bool) if mask is None else _like(mask, rows, length, "mask") != 0
    known = (
        np.full((rows, length), NO_TOKEN, np.int64)
        if input_ids is None
        else _like(input_ids, rows, length, "input_ids").astype(np.int64)
    )
    positions = np.where(real, np.cumsum(real, 1) - 1, 0)
    special = special_ids(tokenizer) if tokenizer is not None else frozenset[int]()
    strata = stratify(known, positions, special, causal=causal)
    tokens = Tokens(
        ids=np.where(real, known, NO_TOKEN),
        strata=np.where(real, strata, np.int8(PADDING)),
        positions=positions,
        document=np.arange(rows),
        window=np.zeros(rows, np.int64),
        digest=np.arange(rows, dtype=np.uint64),
    )
    if real.sum() < 2:
        msg = f"at least two tokens are needed, got {int(real.sum())}"
        raise InputError(msg)
    layout = make_layout(list(tensors), int(shape[2]), sample_mib=sample_mib, outlier=outlier)
    state = StreamState(layout)
    state.update(Batch(layout, tokens, {site: tokens.gather(x) for site, x in tensors.items()}))
    counts = dict(zip(STRATA, np.diff(tokens.bounds).tolist(), strict=True))
    blocks = sum(site.endswith(".resid_post") for site in tensors)
    manifest = {
        "model": {
            "name": name,
            "state_dtype": {s: str(x.dtype).removeprefix("torch.") for s, x in tensors.items()},
            "blocks": blocks,
            "width": int(shape[2]),
        },
        "tokenizer": describe_tokenizer(tokenizer),
        "corpus": {
            "name": "given states",
            "documents": rows,
            "tokens": counts,
            "padding": int((~real).sum()),
        },
    }
    return assemble(state, hf={}, manifest=manifest, checks=[], tokenizer=tokenizer)


def _tensor(site: str, states: Any) -> torch.Tensor:
    x = states if isinstance(states, torch.Tensor) else torch.from_numpy(np.array(states))
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        if not x.dtype.is_floating_point:
            msg = f"the states of {site} are {x.dtype}: expected floating point"
            raise InputError(msg)
        x = x.float()
    if x.ndim != 3 or not x.numel():
        msg = f"the states of {site} have shape {tuple(x.shape)}: expected [batch, pos, channel]"
        raise InputError(msg)
    return x


def _like(values: ArrayLike, rows: int, length: int, name: str) -> np.ndarray[Any, Any]:
    if isinstance(values, torch.Tensor):
        values = (values.float() if values.is_floating_point() else values).cpu().numpy()
    array = np.asarray(values)
    if array.shape != (rows, length):
        msg = f"{name} has shape {array.shape}: expected ({rows}, {length}), as the states"
        raise InputError(msg)
    return array
