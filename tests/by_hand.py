"""The points of three kinds of blocks, hooked by hand from what the models' sources say.

Nothing here asks hiddenscope where a state is, or counts as it does: that is what it is held
against. The numbers are plain NumPy in float64 over all states together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import hiddenscope as hs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile

Points = dict[str, "tuple[torch.nn.Module, str]"]
EPSILON = 2.0**-23


def llama(model: PreTrainedModel) -> Iterator[Points]:
    for block in model.layers:
        yield {
            "resid_pre": (block, "input"),
            "attn_norm": (block.input_layernorm, "output"),
            "attn_mix": (block.self_attn.o_proj, "input"),
            "attn_out": (block.self_attn.o_proj, "output"),
            "resid_mid": (block.post_attention_layernorm, "input"),
            "mlp_norm": (block.post_attention_layernorm, "output"),
            "mlp_act": (block.mlp.down_proj, "input"),
            "mlp_out": (block.mlp.down_proj, "output"),
            "resid_post": (block, "output"),
        }


def gpt2(model: PreTrainedModel) -> Iterator[Points]:
    for block in model.h:
        yield {
            "resid_pre": (block, "input"),
            "attn_norm": (block.ln_1, "output"),
            "attn_mix": (block.attn.c_proj, "input"),
            "attn_out": (block.attn.c_proj, "output"),
            "resid_mid": (block.ln_2, "input"),
            "mlp_norm": (block.ln_2, "output"),
            "mlp_act": (block.mlp.c_proj, "input"),
            "mlp_out": (block.mlp.c_proj, "output"),
            "resid_post": (block, "output"),
        }


def bert(model: PreTrainedModel) -> Iterator[Points]:
    for block in model.encoder.layer:
        yield {
            "resid_pre": (block, "input"),
            "attn_norm": (block.attention.self.query, "input"),
            "attn_mix": (block.attention.output.dense, "input"),
            "attn_out": (block.attention.output.dense, "output"),
            "resid_mid": (block.attention.output.LayerNorm, "output"),
            "mlp_norm": (block.intermediate.dense, "input"),
            "mlp_act": (block.output.dense, "input"),
            "mlp_out": (block.output.dense, "output"),
            "resid_post": (block.output.LayerNorm, "output"),
        }


BY_TYPE: dict[str, Callable[[PreTrainedModel], Iterator[Points]]] = {
    "llama": llama,
    "gpt2": gpt2,
    "bert": bert,
}


class Hooked:
    """Keeps, per site, the states of all tokens that the mask lets through."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        # None outside of the calls that count: a run's own checks call the model as well.
        self.mask: torch.Tensor | None = None
        self.held: dict[str, list[NDArray[np.float32]]] = {}
        self.handles = []
        for i, points in enumerate(BY_TYPE[model.config.model_type](model)):
            for point, (module, side) in points.items():
                self.handles.append(self._hook(f"block.{i}.{point}", module, side))

    def _hook(self, site: str, module: torch.nn.Module, side: str) -> Any:
        def before(_: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self._keep(site, args[0] if args else kwargs["hidden_states"])

        def after(_: torch.nn.Module, __: Any, output: Any) -> None:
            self._keep(site, output if isinstance(output, torch.Tensor) else output[0])

        if side == "input":
            return module.register_forward_pre_hook(before, with_kwargs=True)
        return module.register_forward_hook(after)

    def _keep(self, site: str, state: torch.Tensor) -> None:
        if self.mask is not None:
            self.held.setdefault(site, []).append(state[self.mask.bool()].numpy().copy())

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> None:
        self.mask = mask
        with torch.no_grad():
            self.model(input_ids=ids, attention_mask=mask)
        self.mask = None

    def states(self) -> dict[str, NDArray[np.float32]]:
        for handle in self.handles:
            handle.remove()
        return {site: np.concatenate(parts) for site, parts in self.held.items()}


def measure(loaded: LoadedModel, ids: list[int]) -> tuple[Profile, dict[str, NDArray[np.float32]]]:
    """Run four rows of ids, one of them half as long and padded, and keep what is measured."""
    n = len(ids) // 4
    rows = torch.tensor(ids[: 4 * n]).reshape(4, n)
    mask = torch.ones_like(rows)
    mask[3, n // 2 :] = 0
    with hs.record(loaded.model, tokenizer=loaded.tokenizer, sites="all") as recorder:
        hooked = Hooked(loaded.model)
        for part in (slice(2), slice(2, 4)):
            hooked(rows[part], mask[part])
    return recorder.profile(), hooked.states()


def identities(model: PreTrainedModel, states: dict[str, NDArray[np.float32]]) -> tuple[float, int]:
    """Add up every block; return the largest error and how many equations are not bitwise.

    The error is in units of 2·ε·(|one| + |other|), in float64, where no norm follows.
    """
    worst, unequal = 0.0, 0
    for i, points in enumerate(BY_TYPE[model.config.model_type](model)):
        steps = [("resid_pre", "attn_out", "resid_mid"), ("resid_mid", "mlp_out", "resid_post")]
        for one, other, result in steps:
            a, b, c = (states[f"block.{i}.{p}"] for p in (one, other, result))
            if model.config.model_type == "bert":
                norm = points[result][0]
                with torch.no_grad():
                    made = norm.forward(torch.from_numpy(b + a)).numpy()
                total = a.astype(np.float64) + b
                x = total - total.mean(1, keepdims=True)
                x /= np.sqrt((x**2).mean(1, keepdims=True) + norm.eps)
                gain, bias = (y.detach().double().numpy() for y in (norm.weight, norm.bias))
                # What a norm may be off by has no bound by its terms: 4·ε of its parts.
                bound = 4 * EPSILON * (np.abs(x * gain) + np.abs(bias) + 1)
                off = np.abs(x * gain + bias - c)
            else:
                made = a + b
                off = np.abs(a.astype(np.float64) + b - c)
                bound = 2 * EPSILON * (np.abs(a.astype(np.float64)) + np.abs(b))
            unequal += not np.array_equal(made.view(np.uint32), c.view(np.uint32))
            worst = max(worst, float((off / np.maximum(bound, 1e-300)).max()))
    return worst, unequal


def compare(p: Profile, states: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    """Hold a profile's tables of channels against float64; return the largest differences."""
    worst = dict.fromkeys(("mean / std", "std, relative", "min max absmax", "counts"), 0.0)
    seen = set()
    for stream in p.streams:
        held = p.on(stream)
        for site in set(held.sites) & states.keys():
            x = states[site].astype(np.float64)
            columns, std = held.channels(site, "all"), x.std(0, ddof=1)
            table = {name: column.to_numpy() for name, column in columns.items()}
            rms = np.sqrt((x**2).mean(1, keepdims=True))
            over_rms = (np.abs(x) >= 6 * rms).sum(0)
            exact = {"min": x.min(0), "max": x.max(0), "absmax": np.abs(x).max(0)}
            counts = {"tokens": len(x), "over": (np.abs(x) >= 6).sum(0), "over_rms": over_rms}
            varies = std > 0
            off = {
                "mean / std": (np.abs(table["mean"] - x.mean(0)) / np.maximum(std, 1e-300))[varies],
                "std, relative": (np.abs(table["std"] - std) / np.maximum(std, 1e-300))[varies],
                "min max absmax": np.concatenate([np.abs(table[k] - y) for k, y in exact.items()]),
                "counts": np.concatenate([np.abs(table[k] - y) for k, y in counts.items()]),
            }
            assert (table["mean"][~varies] == x.mean(0)[~varies]).all(), site
            worst = {k: max(v, float(np.asarray(off[k]).max())) for k, v in worst.items()}
            seen.add(site)
    # None passes by not being there.
    assert seen == states.keys(), states.keys() ^ seen
    return worst
