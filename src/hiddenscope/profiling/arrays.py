"""Profiles of hidden states that another tool or a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope.corpus import special_ids
from hiddenscope.errors import InputError
from hiddenscope.models import RESIDUAL
from hiddenscope.profiling.assemble import assemble, describe_tokenizer
from hiddenscope.profiling.layouts import Options, make_layout
from hiddenscope.profiling.streams import set_apart
from hiddenscope.sites import Site
from hiddenscope.stats import NO_TOKEN, Batch, States, StreamState, Tokens, find_massive
from hiddenscope.strata import PADDING, PLAIN, REGULAR, stratify

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
    **options: float,
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
    **options : float
        ``sample_mib`` and the thresholds ``outlier``, ``outlier_rms``, ``massive`` and
        ``massive_ratio``, as in
        `record`.

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
    base = np.where(real, np.int8(PLAIN.index(REGULAR)), np.int8(PADDING))
    tokens = Tokens(
        ids=np.where(real, known, NO_TOKEN),
        strata=stratify(known, positions == 0, special, base, causal=causal),
        positions=positions,
        document=np.broadcast_to(np.arange(rows)[:, None], known.shape),
        window=np.zeros(rows, np.int64),
        digest=np.arange(rows, dtype=np.uint64),
    )
    if real.sum() < 2:
        msg = f"at least two tokens are needed, got {int(real.sum())}"
        raise InputError(msg)
    chosen = Options(strata=PLAIN, **options)
    trunk = [site for site in tensors if Site(site).in_trunk]
    layout = make_layout(list(tensors), int(shape[2]), trunk=trunk, options=chosen)
    state = StreamState(layout)
    held = {site: tokens.gather(x) for site, x in tensors.items()}
    massive = [
        find_massive(x, chosen.massive, chosen.massive_ratio)
        for site, x in held.items()
        if site.endswith(".resid_post")
    ]
    found = torch.stack(massive).any(0) if massive else None
    tokens, held = set_apart(tokens, held, found, chosen.strata)
    state.update(Batch(layout, tokens, held))
    counts = dict(zip(chosen.strata, tokens.count(len(chosen.strata)).tolist(), strict=True))
    blocks = sum(site.endswith(".resid_post") for site in tensors)
    dtypes = {s: str(x.dtype).removeprefix("torch.") for s, x in tensors.items()}
    manifest = {
        "thresholds": chosen.thresholds,
        "streams": {RESIDUAL: {"of": RESIDUAL, "tokens": counts, "state_dtype": dtypes}},
        "model": {
            "name": name,
            "state_dtype": dtypes,
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
    states_of = States({RESIDUAL: state})
    return assemble(states_of, hf={}, manifest=manifest, checks=[], tokenizer=tokenizer)


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
