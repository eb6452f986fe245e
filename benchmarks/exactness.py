"""How far a profile is from float64 NumPy over the concatenated states.

Usage: python -m benchmarks.exactness [MODEL] [SOURCE] [--max-tokens N] [--window N]

The states are taken a second time from the same batches, by ``output_hidden_states`` and a hook
of this file's own, and reduced with plain NumPy. Every number is an error in the unit of its
limit; the run fails where one is over it.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np
import torch

import hiddenscope as hs
from hiddenscope import corpus
from hiddenscope.models import find_structure, load
from hiddenscope.strata import MASSIVE, PLAIN, REGULAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hiddenscope import Profile
    from hiddenscope.models import LoadedModel


LIMITS = {
    "grid counts that differ": 0,
    "extremes, counts over 6 that differ": 0,
    "channel means / σ": 1e-6,
    "channel std, relative": 1e-6,
    "co-moments / √(C_aa C_bb)": 1e-6,
    "pooled covariance / √(C_aa C_bb)": 1e-6,
    "R², pooled": 1e-6,
    "R², within channels": 1e-6,
    "pooled skewness / max(1, |value|)": 1e-4,
    "pooled excess kurtosis / max(1, |value|)": 1e-4,
    "quantiles, in cells": 1,
}
LEVELS = (0.0, 1e-4, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 0.9999, 1.0)


def direct(
    loaded: LoadedModel, source: str, *, window: int, batch_tokens: int, max_tokens: int | None
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int8]]:
    """Run the batches again, hold every state, and say to which stratum each token belongs.

    Returns
    -------
    states : dict of str to ndarray[token, channel]
    strata : ndarray[token]
    """
    structure = find_structure(loaded.model)["residual"]
    last_block = loaded.model.get_submodule(structure.blocks[-1].path)
    windower = corpus.Windower(loaded.tokenizer, window)
    special = corpus.special_ids(loaded.tokenizer)
    documents = corpus.documents([source])
    held: dict[str, list[NDArray[np.float32]]] = {}
    strata = []
    left = max_tokens
    for shard in corpus.shards(documents):
        windows = list(corpus.limit_tokens(windower(shard, corpus.Tally()), left))
        left = None if left is None else left - sum(w.length for w in windows)
        groups = corpus.groups(windows, batch_tokens)
        for batch in (b for group in groups for b in corpus.batches(group, batch_tokens)):
            last: list[torch.Tensor] = []
            handle = last_block.register_forward_hook(
                lambda _, __, out, last=last: last.append(out[0] if isinstance(out, tuple) else out)
            )
            with torch.no_grad():
                output = loaded.model(
                    input_ids=torch.from_numpy(batch.input_ids(0)),
                    attention_mask=torch.from_numpy(batch.attention_mask),
                    use_cache=False,
                    output_hidden_states=True,
                )
            handle.remove()
            n = len(structure.blocks)
            names = ["embed", *(f"block.{i}.resid_post" for i in range(n - 1))]
            found = dict(zip(names, output.hidden_states, strict=False))
            found[f"block.{n - 1}.resid_post"] = last[0]
            if structure.final_norm is not None:
                found["final_norm"] = output.last_hidden_state
            real = batch.real
            own = batch.stratified(PLAIN, special, causal=structure.causal).strata
            states = {name: x.float().numpy()[real] for name, x in found.items()}
            strata.append(set_massive_apart(states, own[real]))
            for name, values in states.items():
                held.setdefault(name, []).append(values)
    return {k: np.concatenate(v) for k, v in held.items()}, np.concatenate(strata)


def set_massive_apart(
    states: dict[str, NDArray[np.float32]], strata: NDArray[np.int8], magnitude: float = 100.0
) -> NDArray[np.int8]:
    """Return the strata with the regular tokens that are massive after any block set apart.

    The states are those of one batch, with whose median a value is compared.
    """
    massive = np.zeros(len(strata), bool)
    for site, values in states.items():
        if site.endswith(".resid_post"):
            size = np.abs(values.astype(np.float64))
            largest, median = size.max(1), np.median(size[np.isfinite(size)])
            massive |= np.isfinite(largest) & (largest > magnitude) & (largest > 1000 * median)
    regular = strata == PLAIN.index(REGULAR)
    return np.where(massive & regular, np.int8(PLAIN.index(MASSIVE)), strata)


def errors(
    profile: Profile, states: dict[str, NDArray[np.float32]], strata: NDArray[np.int8]
) -> dict[str, float]:
    """Return the largest error of each kind, in the units of `LIMITS`."""
    stream = profile.stream
    worst = dict.fromkeys(LIMITS, 0.0)

    def note(what: str, error: object) -> None:
        found = np.asarray(error)
        # Booleans count what differs; NaN is not an error of any size but a failure.
        size = np.count_nonzero(found) if found.dtype == bool else found.max()
        worst[what] = np.fmax(worst[what], np.inf if np.isnan(size) else size)

    table = profile.moments("rest")
    regular = strata == PLAIN.index(REGULAR)
    rest = regular | (strata == PLAIN.index(MASSIVE))
    quantiles = profile.quantiles(list(LEVELS), view="rest")
    for i, site in enumerate(profile.sites):
        for k in range(len(PLAIN)):
            counted = np.bincount(cells(states[site][strata == k]), minlength=1 << 16)
            note("grid counts that differ", counted != stream["grid/count"].values[i, k])
        values = states[site][rest]
        x = values[np.isfinite(values).all(1)].astype(np.float64)
        channels = profile.channels(site, "rest")
        far = x**2 * x.shape[1] >= 36 * (x**2).sum(1, keepdims=True)
        exact = {
            "min": x.min(0),
            "max": x.max(0),
            "over": (np.abs(x) >= 6).sum(0),
            "over_rms": (far & x.any(1, keepdims=True)).sum(0),
        }
        for column, expected in exact.items():
            note("extremes, counts over 6 that differ", channels[column] != expected)
        std = x.std(0, ddof=1)
        note("channel means / σ", np.abs(channels["mean"] - x.mean(0)) / std)
        note("channel std, relative", np.abs(channels["std"] / std - 1))
        d = x - x.mean()
        m2, m3, m4 = (np.mean(d**power) for power in (2, 3, 4))
        shape = {"skewness": m3 / m2**1.5, "excess kurtosis": m4 / m2**2 - 3}
        for name, expected in shape.items():
            error = abs(table.loc[site, name.replace(" ", "_")] - expected)
            note(f"pooled {name} / max(1, |value|)", error / max(1.0, abs(expected)))
        # Of bfloat16 states a quantile is a value that occurs.
        coarse = profile.manifest["model"]["state_dtype"][site] == "bfloat16"
        finite = values[np.isfinite(values)].astype(np.float64)
        expected = np.quantile(finite, LEVELS, method="lower" if coarse else "linear")
        cell = np.exp2(np.floor(np.log2(np.maximum(np.abs(expected), 1e-30))) - 7)
        note("quantiles, in cells", np.abs(quantiles.values[i] - expected) / cell)

    x = np.stack([states[s][rest].astype(np.float64) for s in profile.sites])
    x = x[:, np.isfinite(x).all((0, 2))]
    flat = x.reshape(len(x), -1)
    covariance = np.cov(flat)
    scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    note("pooled covariance / √(C_aa C_bb)", np.abs(profile.covariance() - covariance) / scale)
    note("R², pooled", np.abs(profile.r2() - np.corrcoef(flat) ** 2))
    flat = (x - x.mean(1, keepdims=True)).reshape(len(x), -1)
    note("R², within channels", np.abs(profile.r2("within") - np.corrcoef(flat) ** 2))
    x = np.stack([states[s][regular].astype(np.float64) for s in profile.sites])
    x = x[:, np.isfinite(x).all((0, 2))]
    x = x - x.mean(1, keepdims=True)
    comoment = np.einsum("atc,btc->abc", x, x, optimize=True)
    own = np.einsum("aac->ac", comoment)
    held = stream["cross/comoment"].values[PLAIN.index(REGULAR)]
    note("co-moments / √(C_aa C_bb)", np.abs(held - comoment) / np.sqrt(own[:, None] * own[None]))
    return worst


def cells(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the top 16 bits of every value; of NaN there is one."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return (np.where(np.isnan(x), 0x7FC00000, bits) >> 16).ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("source", nargs="?", default=corpus.DEFAULT_SOURCE)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    options = vars(parser.parse_args())
    model, source = options.pop("model"), options.pop("source")
    profile = hs.profile(model, source, **options)
    states, strata = direct(load(model), source, **options)
    found = errors(profile, states, strata)
    print(profile)
    for name, error in found.items():
        print(f"{name:42s} {error:9.2g}  (limit {LIMITS[name]:g})")
    if any(not error <= LIMITS[name] for name, error in found.items()):
        sys.exit("not as exact as promised")


if __name__ == "__main__":
    main()
