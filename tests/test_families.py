"""Every text architecture: the sites are what Hugging Face returns, the points add up.

What is found is written to docs/models.md, which must be what it was.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import families
import pytest
import torch
from models_page import Page, Row

import hiddenscope as hs
from hiddenscope.capture import Capture, residue
from hiddenscope.errors import ModelError
from hiddenscope.measuring.counts import Counts
from hiddenscope.models import (
    apply,
    find_structure,
    forward_arguments,
    forward_pass,
    plain_ids,
    same_bits,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

    from hiddenscope.measuring.recorder import Recorder
    from hiddenscope.measuring.state import Pass
    from hiddenscope.models import Step, Stream
    from hiddenscope.tokens import Tokens

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
AT_LEAST = 200
"""So many families must be measured: a family that is lost is not passed over."""
NO_BFLOAT16 = {
    "fnet": "Unsupported dtype BFloat16",
    "mra": "same dtype, but got Float and BFloat16",
    "xlstm": "expected scalar type Float but found BFloat16",
}
"""Which of them torch cannot run in bfloat16 on a CPU, and what it says."""
PROBE_AGAIN = os.environ.get("HIDDENSCOPE_SWEEP") == "all"
"""Whether sites are found anew in bfloat16, and not those that were found in float32."""
FOUND_IN_FLOAT32_ONLY = {
    # Its final norm reads a copy of the float32 stream in bfloat16.
    "zaya": "how .* makes its output",
}

REFUSED = {
    # Several residual streams side by side.
    "gemma3n_text": "passes on states of shape",
    "deepseek_v4": "passes on states of shape",
    "hy_v4": "passes on states of shape",
    "glm5_next_text": "passes on states of shape",
    # Something is done to the stream between two blocks, or blocks are called in loops.
    "hrm_text": "not one chain",
    "blt": "not one chain",
    # The output is cut, padded or joined from several parts.
    "embedding_gemma2_text": "how .* makes its output",
    "cpmant": "how .* makes its output",
    "reformer": "how .* makes its output",
    "inkling2_text": "how .* makes its output",
    "dpr": "how .* makes its output",
    "prophetnet": "how .* makes its output",
    "pegasus_x": "how .* makes its output",
    # transformers does not run it: its cache of all blocks is asked for that of one.
    "flaubert-prenorm": "not subscriptable",
    # Its decoder is told of padding by another argument, and with a cache not at all.
    "fsmt": "is not told by attention_mask",
    # Blocks of several lengths.
    "funnel": "cannot find the blocks",
    "funnel-deep": "cannot find the blocks",
    "funnel-base": "cannot find the blocks",
    # Characters instead of tokens, or a table under another name.
    "canine": "no table of token embeddings",
    "sam3_lite_text_text_model": "no table of token embeddings",
}
"""Architectures that are refused, and how: a change here is a change of what is promised."""

ATTENTION_THEN_MLP = ("resid_mid = resid_pre + attn_out", "resid_post = resid_mid + mlp_out")
SIDE_BY_SIDE = ("resid_post = resid_pre + attn_out + mlp_out",)
NORMS_BEHIND = (
    "resid_mid = norm(resid_pre + attn_out)",
    "resid_post = norm(resid_mid + mlp_out)",
)
OTHER_PARTS = {"attn": r"mlp|ffn|fc\d?$|feed_forward$", "mlp": r"(self_)?(attn|attention)$"}
"""How the modules of the other part of a block are called."""
FROM_NORMS = ("resid_mid = norm(resid_pre) + attn_out", "resid_post = norm(resid_mid) + mlp_out")
SCALED = ("resid_mid = scale × resid_pre + attn_out", "resid_post = scale × resid_mid + mlp_out")
EQUATIONS = {
    "falcon": SIDE_BY_SIDE,
    "falcon-sequential": ATTENTION_THEN_MLP,
    "falcon-alibi": ATTENTION_THEN_MLP,
    "falcon-new": SIDE_BY_SIDE,
    "gpt_neox": SIDE_BY_SIDE,
    "gpt_neox-sequential": ATTENTION_THEN_MLP,
    "stablelm": ATTENTION_THEN_MLP,
    "stablelm-parallel": SIDE_BY_SIDE,
    "bloom": ATTENTION_THEN_MLP,
    "bloom-postnorm": FROM_NORMS,
    "opt": ATTENTION_THEN_MLP,
    "opt-postnorm": NORMS_BEHIND,
    "molmo2_text": ATTENTION_THEN_MLP,
    "molmo2_text-postnorm": ATTENTION_THEN_MLP,
    "granite": ATTENTION_THEN_MLP,
    "gptj": SIDE_BY_SIDE,
    "codegen": SIDE_BY_SIDE,
    "phi": SIDE_BY_SIDE,
    "cohere": SIDE_BY_SIDE,
    "gemma2": ATTENTION_THEN_MLP,
    "gemma3_text": ATTENTION_THEN_MLP,
    "olmo2": ATTENTION_THEN_MLP,
    "bert": NORMS_BEHIND,
    "mamba": ("resid_post = resid_pre + mamba_out",),
    "xlstm": ("resid_mid = resid_pre + mix_out", "resid_post = resid_mid + mlp_out"),
    "doge": SCALED,
    "minimax": (
        "resid_mid = scale × norm(resid_pre) + attn_out",
        "resid_post = scale × norm(resid_mid) + mlp_out",
    ),
}
"""How the switches of configurations, and families that are unlike, make a block add up."""
ADDED_BY = {
    # What a norm behind a sublayer makes of it, and not the sublayer's own output.
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "gemma3_text": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "molmo2_text-postnorm": ("input_layernorm", "post_attention_layernorm"),
}

MEASURED = [kind for kind in families.FAMILIES if kind not in REFUSED]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Collect what is found; once every family was run, hold the page against it."""
    held = Page()
    yield held
    if {row.family for row in held.rows} | held.refused.keys() == families.FAMILIES.keys():
        assert len({row.family for row in held.rows}) >= AT_LEAST
        before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        PAGE.write_text(held.text(), encoding="utf-8")
        # Errors are rounding and may differ with the processor; nothing else may.
        assert Page.skeleton(before) == Page.skeleton(held.text()), (
            f"{PAGE} did not say what was found: it was written anew, look at what changed"
        )


def texts(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Arguments for three texts, of 9 tokens, of 6 padded on the left, of 6 on the right."""
    plain = plain_ids(model, 15)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    rows = [plain[:9], plain[9:], plain[9:]]

    def padded(held: list[list[int]], filler: int) -> torch.Tensor:
        more = [filler] * 3
        return torch.tensor([held[0], [*more, *held[1]], [*held[2], *more]])

    ids = padded(rows, pad if isinstance(pad, int) else 0)
    mask = padded([[1] * len(row) for row in rows], 0)
    call = forward_arguments(model, ids, mask)
    if "decoder_input_ids" in call:
        start = int(call["decoder_input_ids"][0, 0])
        call["decoder_input_ids"] = padded([[start, *row[:-1]] for row in rows], 0)
        call["decoder_attention_mask"] = mask
    return call


@pytest.mark.parametrize("kind", MEASURED)
def test_sites_are_hugging_faces_and_points_add_up(kind: str, page: Page) -> None:
    model = families.make(kind)
    recorder = hs.record(model, sites="all")
    structure = recorder.engine.structure
    for stream in structure.streams:
        page.rows.append(Row.of(kind, stream, compare(model, stream)))
        no_factor_is_one(model, stream)
        linear_layers_read_what_is_said(model, stream)
        for anatomy in stream.anatomies:
            equations = tuple(str(step) for step in anatomy.steps)
            assert equations == EQUATIONS.get(kind, equations)
            ends = ADDED_BY.get(kind, ("", ""))
            for point, end in zip(("attn_out", "mlp_out"), ends, strict=True):
                assert point not in anatomy.taps or anatomy.taps[point].path.endswith(end)
    count_padded(recorder)
    model.bfloat16()
    if kind in NO_BFLOAT16:
        with pytest.raises(ModelError, match=NO_BFLOAT16[kind]), forward_pass(kind, "some tokens"):
            capture(model, structure.streams[0])
        return
    for stream in structure.streams:
        compare(model, stream)
    if PROBE_AGAIN and kind in FOUND_IN_FLOAT32_ONLY:
        with pytest.raises(ModelError, match=FOUND_IN_FLOAT32_ONLY[kind]):
            find_structure(model)
    elif PROBE_AGAIN:
        assert find_structure(model) == structure


def compare(model: PreTrainedModel, stream: Stream) -> float:
    """Compare what is captured with Hugging Face's tuple, and add up; return the largest error."""
    states, output = capture(model, stream)
    compare_with_tuple(stream, states, getattr(output, stream.hf_tuple))
    worst, missed = 0.0, set()
    for i, anatomy in enumerate(stream.anatomies):
        for step in anatomy.steps:
            held = {p: states[f"block.{i}.{p}"].flatten(0, -2) for p in (*step.terms, step.result)}
            assert adds_up(model, step, held), f"{step} in block {i}"
            error, holds = residue(model, step, held)
            assert holds, f"{step} in block {i}: {error}"
            worst = max(worst, error)
            # Of blocks that are alike the first will do.
            for what, other, without in omissions(step, held) if str(step) not in missed else ():
                noticed = not residue(model, other, without)[1]
                assert noticed, f"{step} in block {i} is not missed without {what}"
            missed.add(str(step))
    return worst


def no_factor_is_one(model: PreTrainedModel, stream: Stream) -> None:
    """A factor of one would hide that it is left out."""
    for anatomy in stream.anatomies:
        held = {tap.scale for tap in anatomy.taps.values()}
        held |= {factor for step in anatomy.steps for factor in (step.factor, step.base_scale)}
        for factor in held - {None}:
            assert (torch.as_tensor(value_of(model, factor)) != 1).all(), factor


def linear_layers_read_what_is_said(model: PreTrainedModel, stream: Stream) -> None:
    """What linear layers read, no equation proves: it is read at such a layer, of that part."""
    for anatomy in stream.anatomies:
        for point, tap in anatomy.taps.items():
            if not point.endswith(("_norm", "_mix", "_act")):
                continue
            path = tap.path.split(".")
            assert tap.side == "input", point
            module = model.get_submodule(tap.path)
            assert next(module.parameters(recurse=False)).ndim > 1, (point, tap.path)
            # A norm may have layers of its own, which are not those that read its output.
            assert not any("layernorm" in part for part in path), (point, tap.path)
            others = OTHER_PARTS.get(point.partition("_")[0], "never")
            assert not any(re.match(others, part) for part in path), (point, tap.path)


@torch.no_grad()
def adds_up(model: PreTrainedModel, step: Step, held: dict[str, torch.Tensor]) -> bool:
    """Add up in the states' own dtype and the model's own order, bit for bit."""
    first, *others = (held[t] for t in step.terms)
    if step.base_norm is not None:
        first = model.get_submodule(step.base_norm)(first)
    if step.base_scale is not None:
        first = first * value_of(model, step.base_scale)
    for order in permutations((first.to(held[step.result].dtype), *others)):
        total = order[0]
        for term in order[1:]:
            total = total + term
        if step.factor is not None:
            total = total * value_of(model, step.factor)
        if step.norm is not None:
            total = apply(model.get_submodule(step.norm), total, step.axes)
        if same_bits(total.to(held[step.result].dtype), held[step.result]):
            return True
    return False


def omissions(
    step: Step, held: dict[str, torch.Tensor]
) -> Iterator[tuple[str, Step, dict[str, torch.Tensor]]]:
    """Leave out one part of an equation at a time: a term, a norm, a factor."""
    for term in step.terms:
        yield term, step, held | {term: torch.zeros_like(held[term])}
    for part in ("norm", "factor", "base_norm", "base_scale"):
        if getattr(step, part) is not None:
            yield part, replace(step, **{part: None}), held


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_told_is_refused(kind: str, page: Page) -> None:
    with pytest.raises(ModelError, match=REFUSED[kind]) as caught:
        find_structure(families.make(kind))
    page.refused[kind] = str(caught.value)


def capture(model: PreTrainedModel, stream: Stream) -> tuple[dict[str, torch.Tensor], object]:
    """Return the states of every site, and what the model returned."""
    states: dict[str, torch.Tensor] = {}
    ids = torch.tensor([plain_ids(model, 11)] * 2)
    ids[1] = ids[1].flip(0)
    call = forward_arguments(model, ids, torch.ones_like(ids))
    with (
        Capture(model, stream, list(stream.taps), take=lambda s, x: states.update({s: x.clone()})),
        torch.no_grad(),
    ):
        output = model(**call, output_hidden_states=True, return_dict=True)
    return states, output


def compare_with_tuple(
    stream: Stream, states: dict[str, torch.Tensor], held: tuple[torch.Tensor, ...]
) -> None:
    """Every entry of the stream's width is bitwise a site, and the final norm is told apart."""
    wide = {i for i, x in enumerate(held) if x.shape[-1] == stream.width}
    assert wide == set(stream.hf.values())
    for site, index in stream.hf.items():
        assert torch.equal(states[site], held[index]), site
    last = f"block.{len(stream.blocks) - 1}.resid_post"
    if stream.final_norm is not None:
        assert not torch.equal(states["final_norm"], states[last])
        assert "final_norm" in stream.hf or last in stream.hf
    else:
        assert stream.hf.get(last, len(held) - 1) == len(held) - 1


def count_padded(recorder: Recorder) -> None:
    """Padding on either side is in no stratum, positions start behind it, every check passes.

    The states are handed over and not counted, which would take most of the time.
    """
    engine = recorder.engine
    model = engine.model
    counted = {name: Counts() for name in engine.streams}

    def place(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tokens, Counts]:
        return engine.streams[name].reader.read(args, kwargs, counted[name].rows)

    def done(name: str, made: Pass) -> None:
        assert made.states.keys() == set(engine.streams[name].sites)
        counted[name] = counted[name].merge(made.counts)

    with engine.capture(place, done), recorder.watching(), torch.no_grad():
        model(**texts(model))
    for stream in engine.structure.streams:
        held = counted[stream.name]
        first = 3 if stream.causal else 0
        kinds = {"first": first, "special": 0, "regular": 21 - first}
        assert {k: held.tokens[k] for k in kinds} == kinds
        assert held.padding == 6
        assert held.attended == 21
    for stream in engine.structure.streams:
        checks = recorder.watches[stream.name].checks
        inside = ["points"] if any(a.steps for a in stream.anatomies) else []
        names = ["residual stream", *inside, "final norm", "counted states"]
        assert [(c.name, c.passed) for c in checks] == [(name, True) for name in names]
