"""Profiles of hidden states that another tool or a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope import arguments, kernels
from hiddenscope.corpus import check_tokenizer, special_ids
from hiddenscope.errors import InputError
from hiddenscope.measuring.assemble import assemble
from hiddenscope.measuring.layouts import make_layout, make_options
from hiddenscope.measuring.manifest import describe_tokenizer
from hiddenscope.measuring.streams import group_by_basis, set_apart
from hiddenscope.models import RESIDUAL
from hiddenscope.sites import OWN_BASIS, Site
from hiddenscope.stats import Batch, StreamState, find_massive, gather
from hiddenscope.strata import PADDING, PLAIN, REGULAR
from hiddenscope.tokens import NO_TOKEN, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray
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
        By site; float32, bfloat16 or float16 (others are rounded to float32). Points in another
        basis, such as ``mlp_act`` (`hiddenscope.sites.OWN_BASIS`), may have their own number of
        channels and make a stream of their own.
    mask : array [batch, pos], optional
        0 for padding, 1 for every other token; positions are counted over the rest of each row.
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
        Shapes do not agree, there are fewer than two tokens, a name is not a site, or something
        is not of the kind that is expected.
    """
    arguments.check({"causal": arguments.FLAG, "name": arguments.TEXT}, locals())
    if tokenizer is not None:
        check_tokenizer(tokenizer)
    tensors = _tensors(states)
    widths = {site: int(x.shape[-1]) for site, x in tensors.items()}
    width = widths[_first_of_stream(tensors)]
    rows, length = next(iter(tensors.values())).shape[:2]
    real = np.ones((rows, length), bool) if mask is None else _mask(mask, rows, length)
    known = np.full((rows, length), NO_TOKEN, np.int64)
    if input_ids is not None:
        known = _ids(input_ids, real)
    positions = np.where(real, np.cumsum(real, 1) - 1, 0)
    special = special_ids(tokenizer) if tokenizer is not None else frozenset[int]()
    base = np.where(real, np.int8(PLAIN.index(REGULAR)), np.int8(PADDING))
    tokens = Tokens(
        ids=np.where(real, known, NO_TOKEN),
        strata=base,
        starts=real & (positions == 0),
        positions=positions,
        document=np.broadcast_to(np.arange(rows)[:, None], known.shape),
        window=np.zeros(rows, np.int64),
        digest=np.arange(rows, dtype=np.uint64),
    ).stratified(PLAIN, special, causal=causal)
    if real.sum() < 2:
        msg = f"at least two tokens are needed, got {int(real.sum())}"
        raise InputError(msg)
    chosen = make_options(PLAIN, options)
    trunk = [site for site in tensors if Site(site).in_trunk]
    groups = group_by_basis(RESIDUAL, width, widths)
    held = {site: gather(tokens, x) for site, x in tensors.items()}
    massive = [
        find_massive(x, chosen.massive, chosen.massive_ratio)
        for site, x in held.items()
        if site.endswith(".resid_post")
    ]
    found = torch.stack(massive).any(0) if massive else None
    tokens, held = set_apart(tokens, held, found, chosen.strata)
    made: dict[str, StreamState] = {}
    for group, sites in groups.items():
        own = trunk if group == RESIDUAL else []
        layout = make_layout(sites, widths[sites[0]], trunk=own, options=chosen)
        made[group] = StreamState(layout)
        made[group].update(Batch(layout, tokens, {site: held[site] for site in sites}))
    counts = dict(zip(chosen.strata, tokens.count(len(chosen.strata)).tolist(), strict=True))
    blocks = sum(site.endswith(".resid_post") for site in tensors)
    dtypes = {s: str(x.dtype).removeprefix("torch.") for s, x in tensors.items()}
    about = {"of": RESIDUAL, "tokens": counts, "state_dtype": dtypes}
    manifest = {
        "thresholds": chosen.thresholds,
        "kernel": kernels.NAME,
        "streams": dict.fromkeys(groups, about),
        "model": {
            "name": name,
            "state_dtype": dtypes,
            "blocks": blocks,
            "width": width,
        },
        "tokenizer": describe_tokenizer(tokenizer),
        "corpus": {
            "name": "given states",
            "documents": rows,
            "tokens": counts,
            "padding": int((~real).sum()),
        },
    }
    return assemble(made, hf={}, manifest=manifest, checks=[], tokenizer=tokenizer)


def _tensors(states: Any) -> dict[str, torch.Tensor]:
    if not isinstance(states, Mapping):
        msg = (
            f"states must be {{site: array [batch, pos, channel]}}, got {arguments.shown(states)}: "
            "name each, such as {'embed': x[0], 'block.0.resid_post': x[1]}"
        )
        raise InputError(msg)
    if not states:
        msg = "no states were given: pass {site: array [batch, pos, channel]}"
        raise InputError(msg)
    tensors: dict[str, torch.Tensor] = {}
    for site, values in states.items():
        name = Site(str(site)).name
        if name in tensors:
            msg = f"the site {name} is given twice"
            raise InputError(msg)
        tensors[name] = _tensor(name, values)
    # Whatever order they were given in: text would put block 10 before block 2.
    tensors = dict(sorted(tensors.items(), key=lambda item: Site(item[0]).depth))
    first = _first_of_stream(tensors)
    expected = tensors[first].shape
    for site, x in tensors.items():
        compared = 2 if Site(site).point in OWN_BASIS else 3
        if x.shape[:compared] != expected[:compared]:
            what = "as many tokens" if compared == 2 else "one shape"
            msg = (
                f"all sites must have {what}, got {tuple(expected)} at {first} and "
                f"{tuple(x.shape)} at {site}"
            )
            raise InputError(msg)
    return tensors


def _first_of_stream(sites: Iterable[str]) -> str:
    """Return the first site in the basis of the residual stream, or else the first one."""
    names = list(sites)
    return next((name for name in names if Site(name).point not in OWN_BASIS), names[0])


def _tensor(site: str, values: Any) -> torch.Tensor:
    what = f"the states of {site}"
    if isinstance(values, torch.Tensor):
        x = _dense(what, values)
    else:
        array = _array(what, values)
        if array.dtype.kind != "f":
            msg = f"{what} are {array.dtype}: expected floating point"
            raise InputError(msg)
        # Torch has neither numbers of more than 8 bytes nor those of another byte order.
        x = torch.from_numpy(array.astype(f"=f{min(array.dtype.itemsize, 8)}"))
    if not x.dtype.is_floating_point:
        msg = f"{what} are {x.dtype}: expected floating point"
        raise InputError(msg)
    if x.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        x = x.float()
    if x.ndim != 3 or not x.numel():
        msg = f"{what} have shape {tuple(x.shape)}: expected [batch, pos, channel]"
        raise InputError(msg)
    return x


def _dense(what: str, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor that holds each of its values; no gradient is followed into it."""
    if x.is_meta or x.is_nested:
        kind = "meta" if x.is_meta else "nested"
        msg = f"{what} are a {kind} tensor: expected a dense one that holds its values"
        raise InputError(msg)
    x = x.detach()
    return x if x.layout is torch.strided else x.to_dense()


def _array(what: str, values: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.array(values)
    except (ValueError, TypeError, RuntimeError) as error:
        msg = f"{what}: {arguments.shown(values)} is no array of numbers: {error}"
        raise InputError(msg) from error
    if np.ma.is_masked(values):
        msg = f"{what} are a masked array: fill it, and say in mask= which tokens are padding"
        raise InputError(msg)
    return array


def _like(values: Any, rows: int, length: int, name: str) -> np.ndarray[Any, Any]:
    if isinstance(values, torch.Tensor):
        x = _dense(name, values)
        values = (x.float() if x.is_floating_point() else x).cpu().numpy()
    array = _array(name, values)
    if array.shape != (rows, length):
        msg = f"{name} has shape {array.shape}: expected ({rows}, {length}), as the states"
        raise InputError(msg)
    return array


def _mask(values: Any, rows: int, length: int) -> NDArray[np.bool_]:
    array = _like(values, rows, length, "mask")
    # An additive mask, 0 where a token counts, would be read the wrong way round.
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        msg = "mask must hold 1 for each token and 0 for padding, and nothing else"
        raise InputError(msg)
    return array.astype(np.bool_)


def _ids(values: Any, real: NDArray[np.bool_]) -> NDArray[np.int64]:
    array = _like(values, real.shape[0], real.shape[1], "input_ids")
    if array.dtype.kind not in "iu":
        msg = f"input_ids are {array.dtype}: expected whole numbers"
        raise InputError(msg)
    # What stands at padding is never looked at.
    array = np.where(real, array, 0)
    bad = array[(array < 0) | (array > np.iinfo(np.int32).max)]
    if len(bad):
        msg = f"input_ids hold {bad[0]}, which no token has: expected numbers from 0"
        raise InputError(msg)
    return array.astype(np.int64)
