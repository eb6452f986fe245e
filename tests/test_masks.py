"""Which tokens of a call are padding, and which start a sequence, however a model is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import families
import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, BartModel, DynamicCache, StaticCache
from transformers.masking_utils import create_masks_for_generate
from transformers.modeling_outputs import Seq2SeqModelOutput

import hiddenscope as hs
from hiddenscope.errors import CaptureError, MaskError
from hiddenscope.measuring.calls import CallReader
from hiddenscope.measuring.masks import Past, read_mask
from hiddenscope.models import find_structure
from hiddenscope.strata import PADDING, PLAIN, RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from hiddenscope.measuring.recorder import Recorder
    from hiddenscope.profiles import Profile

IDS = torch.tensor([[11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26]])
REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
NOTHING = Past(None, 0)
RIGHT = REAL.flip(1)
LOWEST = torch.finfo(torch.float32).min


def pairs(real: torch.Tensor = REAL) -> torch.Tensor:
    """Return the causal mask ``[batch, 1, query, key]`` that goes with ``[batch, key]``."""
    length = real.shape[1]
    return real.bool()[:, None, None, :] & torch.ones(length, length, dtype=torch.bool).tril()


def added(dtype: torch.dtype, blocked: float = LOWEST) -> torch.Tensor:
    blocked = max(blocked, torch.finfo(dtype).min) if np.isfinite(blocked) else blocked
    return torch.zeros(2, 1, 6, 6, dtype=dtype).masked_fill(~pairs(), blocked)


READABLE = {
    "int": REAL,
    "bool": REAL.bool(),
    "float": REAL.float(),
    "bfloat16": REAL.bfloat16(),
    "pairs, bool": pairs(),
    "pairs of heads": pairs().expand(2, 4, 6, 6),
    "pairs without a head": pairs()[:, 0],
    "pairs, float32": added(torch.float32),
    "pairs, float16": added(torch.float16),
    "pairs, bfloat16": added(torch.bfloat16),
    "pairs, infinite": added(torch.float32, -np.inf),
    "pairs, -10,000": added(torch.float32, -1e4),
    "by kind": {"full_attention": pairs(), "sliding_attention": added(torch.float32)},
    "by kind, recurrent": {"full_attention": pairs(), "linear_attention": REAL},
    "by kind, recurrent, none": {"linear_attention": None, "full_attention": pairs()},
    "recurrent alone": {"linear_attention": REAL},
    "heads that look at unlike keys": torch.cat([pairs() & torch.eye(6).bool(), pairs()], 1),
    "in chunks, and in full": {
        "chunked_attention": pairs() & (torch.arange(6)[:, None] // 2 == torch.arange(6) // 2),
        "full_attention": pairs(),
    },
}


@pytest.mark.parametrize("kind", READABLE)
def test_every_form_of_a_mask_says_the_same(kind: str) -> None:
    reading = read_mask(READABLE[kind], (2, 6), NOTHING)
    assert reading.real.tolist() == REAL.bool().tolist()
    assert np.argwhere(reading.starts).tolist() == [[0, 0], [1, 2]]
    assert reading.positions[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert reading.positions[1, 2:].tolist() == [0, 1, 2, 3]


def with_value(mask: torch.Tensor, value: float) -> torch.Tensor:
    mask = mask.clone()
    mask.flatten()[-1] = value
    return mask


def test_what_a_recurrent_state_has_read_is_told_by_the_mask_or_taken_to_be_text() -> None:
    state = Past.of({"state": [torch.zeros(1)]})
    assert not read_mask(REAL, (2, 6), state).starts.any()
    assert not read_mask(None, (2, 6), state).starts.any()
    wider = torch.nn.functional.pad(REAL, (2, 0))
    assert np.argwhere(read_mask(wider, (2, 6), state).starts).tolist() == [[0, 0], [1, 2]]
    wider[0, 1] = 1
    assert np.argwhere(read_mask(wider, (2, 6), state).starts).tolist() == [[1, 2]]


def test_without_a_cache_the_first_columns_of_a_wider_mask_are_those_of_the_tokens() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1]])
    reading = read_mask(mask, (2, 5), NOTHING)
    assert reading.real.tolist() == [[True] * 5, [False] + [True] * 4]
    assert np.argwhere(reading.starts).tolist() == [[0, 0], [1, 1]]
    model, ids = tiny.make("llama"), torch.tensor([[5, 6, 7, 8, 9]])
    with hs.record(model) as recorder, torch.no_grad():
        wide = model(ids, attention_mask=mask[:1], use_cache=False).last_hidden_state
        plain = model(ids, use_cache=False).last_hidden_state
    assert torch.equal(wide, plain)
    assert recorder.profile().tokens["first"] == 2
    assert recorder.profile().tokens["regular"] == 8
    # A model that keeps a state in its modules has read the first columns before.
    inside = read_mask(mask, (2, 5), Past.of({}, inside=True))
    assert np.argwhere(~inside.real).tolist() == [[0, 3], [0, 4]]


def test_no_mask_at_all_is_no_padding() -> None:
    for nothing in (None, {}, {"linear_attention": None}, {"full_attention": None}):
        reading = read_mask(nothing, (2, 6), NOTHING)
        assert reading.real.all()
        assert np.argwhere(reading.starts).tolist() == [[0, 0], [1, 0]]


REFUSED: dict[str, tuple[object, str]] = {
    "NaN": (with_value(REAL.float(), np.nan), "holds NaN"),
    "NaN in pairs": (with_value(added(torch.bfloat16), np.nan), "bfloat16 holds NaN"),
    "added, by key": ((1 - REAL) * LOWEST, "expected 0 and 1"),
    "segments": (REAL * 2, "holds 2, expected 0 and 1"),
    "a bias": (with_value(added(torch.float32), -3.5), "holds -3.5, expected 0 and -10000 or less"),
    "ones and zeros added": (pairs().float(), "holds 1, expected 0 and -10000"),
    "pairs of integers": (pairs().long(), "expected boolean or floating point"),
    "five axes": (pairs()[None], "has 5 axes"),
    "too few keys": (REAL[:, :4], "does not cover 2 rows of 6 tokens"),
    "other rows": (REAL[[0, 0, 0]], "does not cover 2 rows"),
    "too few queries": (pairs()[:, :, :5], "does not fit 2 rows of 6 tokens"),
    "too few pairs": (pairs()[..., :5], "does not fit 2 rows of 6 tokens"),
    "hidden from itself": (pairs() & ~torch.eye(6, dtype=torch.bool), "hides a token from itself"),
    "a list": (REAL.tolist(), "is a list"),
    "contradiction": (
        {"full_attention": pairs(), "sliding_attention": pairs(torch.ones_like(REAL))},
        "masks of full_attention and sliding_attention disagree on which tokens are padding",
    ),
    "a contradiction with none": (
        {"full_attention": None, "sliding_attention": pairs()},
        "disagree on which tokens are padding",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_for_certain_is_refused_by_name(kind: str) -> None:
    mask, says = REFUSED[kind]
    with pytest.raises(MaskError, match=says):
        read_mask(mask, (2, 6), NOTHING)


def test_the_refusal_reaches_the_user_and_nothing_is_counted() -> None:
    model = tiny.make("llama")
    with hs.record(model) as recorder, torch.no_grad():
        with pytest.raises(MaskError, match=r"bfloat16 holds -3\.5.*pass attention_mask as"):
            model(IDS, attention_mask=with_value(added(torch.bfloat16), -3.5))
        with pytest.raises(MaskError, match="is_causal=False, but by itself it is causal"):
            model(IDS, is_causal=False)
        assert sum(recorder.tokens.values()) == 0
        model(IDS, attention_mask=REAL)
    assert recorder.profile().manifest["corpus"]["documents"] == 2


def recorded(model: PreTrainedModel, calls: Callable[[], object]) -> tuple[Recorder, Profile]:
    with hs.record(model) as recorder, torch.no_grad():
        calls()
    return recorder, recorder.profile()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_padding_is_left_out_whatever_the_mask_looks_like(
    attention: str, dtype: torch.dtype
) -> None:
    model = tiny.make("llama", attn_implementation=attention)
    positions = (REAL.cumsum(1) - 1).clamp(min=0)
    mask = added(torch.float32) if attention == "eager" or dtype != torch.bool else pairs()
    plain, expected = recorded(
        model, lambda: model(IDS, attention_mask=REAL, position_ids=positions)
    )
    other, found = recorded(model, lambda: model(IDS, attention_mask=mask, position_ids=positions))
    assert plain.tokens == other.tokens
    assert found.tokens["first"] == 2
    assert found.tokens["regular"] == 8
    assert found.manifest["corpus"]["padding"] == 2
    assert_equal_moments(found, expected)


def assert_equal_moments(found: Profile, expected: Profile) -> None:
    for site in expected.sites:
        a, b = found.channels(site, "all"), expected.channels(site, "all")
        assert (a["tokens"] == b["tokens"]).all()
        for column in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(a[column], b[column], rtol=1e-4, atol=1e-5)


def strata(model: PreTrainedModel, **call: object) -> np.ndarray:
    """Return the strata ``[batch, pos]`` of one call, by name; ``-`` for padding."""
    reader = CallReader(
        model, find_structure(model).streams[0], RECORDED, special=frozenset(), bos=None
    )
    codes = reader.read((), call, 0)[0].strata
    return np.where(codes == PADDING, "-", np.array(RECORDED)[codes])


def firsts(model: PreTrainedModel, **call: object) -> list[list[int]]:
    return np.argwhere(strata(model, **call) == PLAIN[0]).tolist()


def alone(model: PreTrainedModel, **call: object) -> list[list[int]]:
    """Return the tokens that no earlier one of their row changes, tried out one by one."""
    rows, length = call["input_ids"].shape
    with torch.no_grad():
        plain = model(**call).last_hidden_state
        moved = torch.zeros(rows, length, dtype=torch.bool)
        for place in range(length):
            ids = call["input_ids"].clone()
            ids[:, place] = (ids[:, place] + 17) % 100 + 3
            other = model(**call | {"input_ids": ids}).last_hidden_state
            moved[:, place + 1 :] |= ((other - plain).abs() > 1e-5).any(2)[:, place + 1 :]
    return torch.argwhere(~moved).tolist()


PACKED = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 0, 1, 2, 3]])
CALLS: dict[str, tuple[dict[str, object], list[list[int]]]] = {
    "one text a row": ({}, [[0, 0], [1, 0]]),
    "positions from 5": ({"position_ids": torch.arange(5, 11)[None]}, [[0, 0], [1, 0]]),
    "positions from 5, no cache": (
        {"position_ids": torch.arange(5, 11)[None], "use_cache": False},
        [[0, 0], [1, 0]],
    ),
    "packed": (
        {"position_ids": PACKED, "use_cache": False},
        [[0, 0], [0, 3], [1, 0], [1, 2]],
    ),
    "packed, from 5, with a gap": (
        {"position_ids": torch.tensor([[5, 6, 7, 9, 10, 11]]), "use_cache": False},
        [[0, 0], [0, 3], [1, 0], [1, 3]],
    ),
    # With a cache or a mask, transformers does not look at the positions.
    "packed, a cache": ({"position_ids": PACKED, "use_cache": True}, [[0, 0], [1, 0]]),
    "packed, the model's default": ({"position_ids": PACKED}, [[0, 0], [1, 0]]),
    "packed, a mask": (
        {"position_ids": PACKED, "use_cache": False, "attention_mask": torch.ones_like(IDS)},
        [[0, 0], [1, 0]],
    ),
    "packed by the mask": (
        {
            "position_ids": PACKED,
            "attention_mask": pairs(torch.ones_like(IDS))
            & (torch.tensor([0, 0, 0, 1, 1, 1])[:, None] == torch.tensor([0, 0, 0, 1, 1, 1])),
        },
        [[0, 0], [0, 3], [1, 0], [1, 3]],
    ),
}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("name", CALLS)
def test_first_is_what_no_earlier_token_changes(kind: str, name: str) -> None:
    call, expected = CALLS[name]
    model = tiny.make(kind)
    call = {"input_ids": IDS, **call}
    assert alone(model, **call) == expected
    assert firsts(model, **call) == expected


@pytest.mark.parametrize(("kind", "starts"), [("falcon", 1), ("gpt_oss", 1), ("mistral", 2)])
def test_whether_a_model_packs_is_tried_out(kind: str, starts: int) -> None:
    model = families.make(kind)
    call = {"input_ids": IDS, "position_ids": PACKED[:1], "use_cache": False}
    assert len(firsts(model, **call)) == 2 * starts == len(alone(model, **call))


def test_a_model_that_checkpoints_its_gradients_makes_no_cache_and_packs() -> None:
    model = tiny.make("llama")
    model.activation_checkpointing_enable()
    call = {"input_ids": IDS, "position_ids": PACKED}
    assert len(firsts(model, **call)) == 2
    model.train()
    assert len(firsts(model, **call)) == 4


def test_packed_positions_of_images_are_refused() -> None:
    positions = PACKED[None].expand(4, 2, 6)
    with pytest.raises(MaskError, match="four axes"):
        strata(tiny.make("llama"), input_ids=IDS, position_ids=positions, use_cache=False)


def test_padding_on_the_left_leaves_one_first_a_row() -> None:
    for positions in (None, torch.arange(5, 11)[None]):
        call = {"input_ids": IDS, "attention_mask": REAL, "position_ids": positions}
        assert firsts(tiny.make("llama"), **call) == [[0, 0], [1, 2]]


def caches(model: PreTrainedModel) -> dict[str, object]:
    return {
        "dynamic": DynamicCache(config=model.config),
        "static": StaticCache(config=model.config, max_cache_len=16),
    }


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3_text"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("form", ["keys", "all keys", "pairs"])
def test_a_prefill_in_chunks_has_one_first_a_row(kind: str, cache: str, form: str) -> None:
    model = families.make(kind)
    past = caches(model)[cache]
    real = REAL.clone()
    # The first chunk of the second row is padding alone.
    real[1] = torch.tensor([0, 0, 0, 1, 1, 1])
    found = []
    for begin, end in ((0, 2), (2, 5), (5, 6)):
        mask = real[:, :end]
        if form == "all keys":
            mask = torch.nn.functional.pad(real, (0, 16 - 6))
        call = {"input_ids": IDS[:, begin:end], "past_key_values": past, "attention_mask": mask}
        if form == "pairs":
            call["attention_mask"] = create_masks_for_generate(
                config=model.config,
                inputs_embeds=torch.empty(2, end - begin, 0),
                attention_mask=mask,
                past_key_values=past,
            )
        found.append(strata(model, **call))
        with torch.no_grad():
            model(**call)
    expected = np.where(real.numpy() == 1, "regular", "-").astype(object)
    expected[0, 0] = expected[1, 3] = "first"
    assert np.concatenate(found, 1).tolist() == expected.tolist()


def test_a_mask_that_leaves_out_the_cache_is_refused() -> None:
    model = tiny.make("llama")
    past = DynamicCache(config=model.config)
    with torch.no_grad():
        model(IDS, past_key_values=past)
    with pytest.raises(MaskError, match="2 rows of 6 tokens behind 6 in the cache"):
        strata(model, input_ids=IDS, attention_mask=REAL, past_key_values=past)
    with pytest.raises(MaskError, match="2 rows of 6 tokens behind 6 in the cache"):
        strata(model, input_ids=IDS, attention_mask=pairs(), past_key_values=past)
    assert set(strata(model, input_ids=IDS, past_key_values=past).flat) == {"regular"}


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gemma3_text"])
def test_caches_of_any_kind_give_equal_counts_and_moments(kind: str) -> None:
    config = families.make(kind, sliding_window=6).config
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    made = {}
    for cache in ("dynamic", "static"):
        made[cache] = recorded(
            model,
            lambda cache=cache: model.generate(
                IDS,
                attention_mask=REAL,
                max_new_tokens=7,
                do_sample=False,
                eos_token_id=None,
                cache_implementation=cache,
                disable_compile=True,
            ),
        )
    (plain, expected), (static, found) = made.values()
    # One first a row; of each row's 7 new tokens the last is never read.
    counts = {"first": 2, "prompt": 10 - 2, "generated": 2 * 6}
    assert plain.tokens == static.tokens == dict.fromkeys(RECORDED, 0) | counts
    assert_equal_moments(found, expected)
    assert found.sample("all")["position"].values.tolist() == (
        expected.sample("all")["position"].values.tolist()
    )


def test_prompts_may_be_read_in_chunks() -> None:
    model = AutoModelForCausalLM.from_config(tiny.make("llama").config).eval()
    recorder, _ = recorded(
        model,
        lambda: model.generate(
            IDS,
            attention_mask=REAL,
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=None,
            prefill_chunk_size=4,
        ),
    )
    counts = {"first": 2, "prompt": 10 - 2, "generated": 2 * 2}
    assert recorder.tokens == dict.fromkeys(RECORDED, 0) | counts


# RWKV in transformers cannot generate for several rows.
@pytest.mark.parametrize(
    ("kind", "rows"), [("mamba", 2), ("jamba", 2), ("recurrent_gemma", 2), ("rwkv", 1)]
)
def test_a_state_that_counts_nothing_has_one_first_a_row_too(kind: str, rows: int) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(families.make(kind).config).eval()
    recorder, _ = recorded(
        model,
        lambda: model.generate(IDS[:rows], max_new_tokens=4, do_sample=False, eos_token_id=None),
    )
    counts = {"first": rows, "prompt": 5 * rows, "generated": 3 * rows}
    assert recorder.tokens == dict.fromkeys(RECORDED, 0) | counts


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("xlm", {"lengths": torch.tensor([6, 4])}),
        ("xlnet", {"input_mask": 1 - REAL.float()}),
        ("xlm", {}),
    ],
    ids=["lengths", "input_mask", "by the tokens"],
)
def test_padding_that_is_told_otherwise_is_refused(kind: str, told: dict[str, object]) -> None:
    model = families.make(kind)
    ids = IDS.clone()
    if not told:
        ids[1, -2:] = model.config.pad_token_id
    advice = "is told by .* alone, which is not read: pass attention_mask"
    with hs.record(model), pytest.raises(MaskError, match=advice):
        model(ids, **told)
    recorder, _ = recorded(model, lambda: model(ids, attention_mask=RIGHT))
    assert sum(recorder.tokens.values()) == 10


class ByPosition(BartModel):
    """Gives the encoder its mask without a name."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor,
        **_: object,
    ) -> Seq2SeqModelOutput:
        read = self.encoder(input_ids, attention_mask, output_hidden_states=True)
        made = self.decoder(
            decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=read[0],
            encoder_attention_mask=attention_mask,
            output_hidden_states=True,
            use_cache=False,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=made[0],
            decoder_hidden_states=made.hidden_states,
            encoder_last_hidden_state=read[0],
            encoder_hidden_states=read.hidden_states,
        )


def test_a_mask_without_a_name_is_read() -> None:
    model = ByPosition(families.make("bart").config).eval()
    recorder, _ = recorded(model, lambda: model(IDS, RIGHT, IDS, RIGHT))
    assert recorder.state.counts["encoder"].total == 10


def test_a_pass_that_calls_a_block_again_is_refused() -> None:
    # With target_mapping XLNet runs what makes mlp_out for another stream first.
    model = families.make("xlnet")
    mapping = torch.eye(6).expand(2, 6, 6)
    with hs.record(model, sites="all"), torch.no_grad():
        model(IDS, attention_mask=REAL)
        with pytest.raises(CaptureError, match="was called 4 times in a forward pass"):
            model(IDS, attention_mask=REAL, target_mapping=mapping)


def test_a_pass_that_fails_leaves_no_trace_in_the_counts() -> None:
    model = tiny.make("gpt2")

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with hs.record(model) as recorder, torch.no_grad():
        model(IDS, attention_mask=RIGHT)
        handle = model.h[1].register_forward_hook(broken)
        with pytest.raises(ZeroDivisionError):
            model(IDS)
        handle.remove()
        model(IDS)
    counts = recorder.state.main
    assert counts.rows == counts.starts == 4
    assert counts.attended == 10 + 12 == counts.total
    assert set(recorder.profile().sample("all")["document"].values) == {0, 1, 2, 3}
