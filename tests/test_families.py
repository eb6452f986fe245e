"""Every text architecture: the sites are what Hugging Face returns, the points add up.

What is found is written to docs/models.md, which must be what it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import families
import pytest
import torch
from models_page import Page, Row

import hiddenscope as hs
from hiddenscope.capture import Capture
from hiddenscope.errors import ModelError
from hiddenscope.measuring.counts import Counts
from hiddenscope.models import find_structure, forward_arguments, plain_ids, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

    from hiddenscope.measuring.recorder import Recorder
    from hiddenscope.measuring.state import Pass
    from hiddenscope.models import Stream
    from hiddenscope.tokens import Tokens

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
AT_LEAST = 200
"""So many families must be measured: a family that is lost is not passed over."""
ROUNDING = 2e-6
"""By how much an equation may be off, as a share of the largest magnitude, in float32."""

REFUSED = {
    # Several residual streams side by side.
    "gemma3n_text": "passes on states of shape",
    "deepseek_v4": "passes on states of shape",
    "hy_v4": "passes on states of shape",
    "glm5_next_text": "passes on states of shape",
    # Positions first, or more positions than tokens.
    "xlnet": "passes on states of shape",
    "fsmt": "passes on states of shape",
    # Something is done to the stream between two blocks, or blocks are called in loops.
    "hrm_text": "not one chain",
    "blt": "not one chain",
    "rwkv-rescaled": "not one chain",
    "deberta-v2-relative": "not one chain",
    # The output is cut, padded or joined from several parts.
    "embedding_gemma2_text": "how .* makes its output",
    "cpmant": "how .* makes its output",
    "reformer": "how .* makes its output",
    "inkling2_text": "how .* makes its output",
    "longformer": "how .* makes its output",
    "dpr": "how .* makes its output",
    "led": "how .* makes its output",
    "pegasus_x": "how .* makes its output",
    "prophetnet": "how .* makes its output",
    # No module is a block.
    "squeezebert": "cannot find the blocks",
    "xlm": "cannot find the blocks",
    "flaubert": "cannot find the blocks",
    "funnel": "cannot find the blocks",
    "funnel-deep": "cannot find the blocks",
    "funnel-base": "cannot find the blocks",
    # Characters instead of tokens, or a table under another name.
    "canine": "no table of token embeddings",
    "sam3_lite_text_text_model": "no table of token embeddings",
}
"""Architectures that are refused, and how: a change here is a change of what is promised."""

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


def texts(model: PreTrainedModel, side: str) -> dict[str, torch.Tensor]:
    """Arguments for two texts, of 9 and of 6 tokens, padded on one side."""
    plain = plain_ids(model, 15)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    rows = [(plain[:9], [1] * 9), (plain[9:], [1] * 6)]

    def padded(row: list[int], filler: int) -> list[int]:
        more = [filler] * (9 - len(row))
        return [*row, *more] if side == "right" else [*more, *row]

    ids = torch.tensor([padded(row, pad if isinstance(pad, int) else 0) for row, _ in rows])
    mask = torch.tensor([padded(real, 0) for _, real in rows])
    call = forward_arguments(model, ids, mask)
    if "decoder_input_ids" in call:
        start = int(call["decoder_input_ids"][0, 0])
        shifted = [[start, *row[:-1]] for row, _ in rows]
        call["decoder_input_ids"] = torch.tensor([padded(row, 0) for row in shifted])
        call["decoder_attention_mask"] = mask
    return call


@pytest.mark.parametrize("kind", MEASURED)
def test_sites_are_hugging_faces_and_points_add_up(kind: str, page: Page) -> None:
    model = families.make(kind)
    recorder = hs.record(model, sites="all")
    structure = recorder.engine.structure
    for stream in structure.streams:
        states, output = capture(model, stream)
        compare_with_tuple(stream, states, getattr(output, stream.hf_tuple))
        error = largest_error(model, stream, states)
        assert error < ROUNDING
        page.rows.append(Row.of(kind, stream, error))
    count_padded(recorder)


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


def largest_error(model: PreTrainedModel, stream: Stream, states: dict[str, torch.Tensor]) -> float:
    """Add up the points of every block in float64."""
    worst = 0.0
    for i, anatomy in enumerate(stream.anatomies):
        for step in anatomy.steps:
            point = {p: states[f"block.{i}.{p}"].double() for p in (*step.terms, step.result)}
            result = point[step.result].flatten(0, -2)
            total = torch.stack([point[t].flatten(0, -2) for t in step.terms]).sum(0)
            if step.factor is not None:
                total = total * value_of(model, step.factor)
            if step.norm is not None:
                with torch.no_grad():
                    total = model.get_submodule(step.norm).forward(total.float()).double()
            worst = max(worst, float((total - result).abs().max() / result.abs().max()))
    return worst


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
        for n, side in enumerate(("left", "right"), 1):
            model(**texts(model, side))
            for stream in engine.structure.streams:
                held = counted[stream.name]
                first = 2 if stream.causal else 0
                kinds = {"first": n * first, "special": 0, "regular": n * (15 - first)}
                assert {k: held.tokens[k] for k in kinds} == kinds, side
                assert held.padding == n * 3
                assert held.attended == n * 15
    for stream in engine.structure.streams:
        checks = recorder.watches[stream.name].checks
        inside = ["points"] if any(a.steps for a in stream.anatomies) else []
        names = ["residual stream", *inside, "final norm"]
        assert [(c.name, c.passed) for c in checks] == [(name, True) for name in names]
