"""A text's states depend neither on the texts beside it in a batch nor on those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
import torch
from conftest import TEXT

import hiddenscope as hs
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.models import (
    attended_tokens,
    context_length,
    find_rotary,
    forward_arguments,
    load,
)
from hiddenscope.strata import PADDING
from hiddenscope.tokens import NO_TOKEN, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile

LONG, SHORT = TEXT * 3, TEXT[:60]
"""More and fewer tokens than ORIGINAL."""
ORIGINAL = 32
DYNAMIC = {
    "max_position_embeddings": ORIGINAL,
    "rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 100.0},
}
LONGROPE = {
    "max_position_embeddings": 256,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 100.0,
        "long_factor": [4.0, 8.0, 16.0, 32.0],
        "short_factor": [1.0, 1.0, 1.0, 1.0],
        "original_max_position_embeddings": ORIGINAL,
    },
}
BY_LAYER = {
    "max_position_embeddings": ORIGINAL,
    "rope_parameters": {
        "full_attention": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 100.0},
        "sliding_attention": {"rope_type": "dynamic", "factor": 16.0, "rope_theta": 50.0},
    },
}
ROTARY = {"dynamic": ("llama", DYNAMIC), "longrope": ("llama", LONGROPE)}


def profiled(model: PreTrainedModel, texts: list[str], **options: object) -> Profile:
    return hs.profile(model, tokenizer=load("demo").tokenizer, text=texts, **options)


def one_by_one(model: PreTrainedModel, texts: list[str]) -> dict[str, np.ndarray]:
    """Each of HF's states of every text, run alone by a model that has read nothing before."""
    tokenizer = load("demo").tokenizer
    held: list[list[torch.Tensor]] = []
    rotary = find_rotary(model)
    for text in texts:
        if rotary is not None:
            rotary.reset()
        with torch.no_grad():
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        held.append([x[0].double() for x in states])
    if rotary is not None:
        rotary.reset()
    names = ["embed", *(f"block.{i}.resid_post" for i in range(len(held[0]) - 2)), "final_norm"]
    return {n: torch.cat([h[i] for h in held]).numpy() for i, n in enumerate(names)}


def assert_alone(p: Profile, model: PreTrainedModel, texts: list[str]) -> None:
    expected = one_by_one(model, texts)
    assert expected.keys() >= {"block.0.resid_post", "final_norm"}
    for site in set(expected) & set(p.sites):
        table = p.channels(site, "all")
        assert (table["tokens"] == len(expected[site])).all(), site
        np.testing.assert_allclose(table["std"], expected[site].std(0, ddof=1), rtol=1e-4)
        np.testing.assert_allclose(table["max"], expected[site].max(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ROTARY)
@pytest.mark.parametrize("shard_bytes", [600, 1 << 20])
def test_rows_on_both_sides_of_the_switch_are_computed_as_if_alone(
    kind: str, shard_bytes: int
) -> None:
    family, options = ROTARY[kind]
    model = tiny.make(family, **options)
    tokens = len(load("demo").tokenizer(LONG)["input_ids"])
    assert tokens > 2 * ORIGINAL
    edge = load("demo").tokenizer.decode(load("demo").tokenizer(LONG)["input_ids"][:ORIGINAL])
    assert len(load("demo").tokenizer(edge)["input_ids"]) == ORIGINAL
    texts = [SHORT, LONG, SHORT[:40], TEXT * 2, edge]
    p = profiled(model, texts, shard_bytes=shard_bytes)
    assert_alone(p, model, texts)
    note = next(c for c in p.checks if c["name"] == "rotary tables")
    assert "2 windows of more than 32 tokens" in note["detail"]


def test_a_table_for_each_kind_of_layer_is_known_too() -> None:
    model = tiny.make("gemma3_text", **BY_LAYER)
    rotary = find_rotary(model)
    assert (rotary.kind, rotary.length) == ("dynamic", ORIGINAL)
    assert [prefix for _, prefix in rotary.tables] == ["full_attention_", "sliding_attention_"]
    texts = [SHORT, LONG, TEXT * 2]
    assert_alone(profiled(model, texts), model, texts)


def test_tables_that_the_user_has_grown_come_back() -> None:
    model = tiny.make("llama", **DYNAMIC)
    with torch.no_grad():
        model(input_ids=torch.arange(3, 103)[None])
    grown = model.rotary_emb.inv_freq.clone()
    texts = [SHORT, TEXT, LONG]
    p = profiled(model, texts)
    assert torch.equal(model.rotary_emb.inv_freq, grown)
    assert int(model.rotary_emb.max_seq_len_cached) == 100
    assert_alone(p, model, texts)


def test_longrope_tables_come_back() -> None:
    model = tiny.make("llama", **LONGROPE)
    before = model.rotary_emb.inv_freq.clone()
    profiled(model, [LONG])
    assert torch.equal(model.rotary_emb.inv_freq, before)


def test_dynamic_tables_stretch_the_context() -> None:
    assert context_length(tiny.make("llama", **DYNAMIC), None) == 8 * ORIGINAL
    assert context_length(tiny.make("gemma3_text", **BY_LAYER), None) == 8 * ORIGINAL
    assert context_length(tiny.make("llama", **LONGROPE), None) == 256


class Mates(torch.nn.Module):
    """Scales by the length of the longest row, as no family of transformers says it does."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * (1 + max(x.shape[1] - 20, 0) / 20)


def test_a_family_that_is_not_known_is_tried_out() -> None:
    model = tiny.make("gpt2")
    texts = [SHORT, TEXT, SHORT[:40]]
    held = {c["name"]: c for c in profiled(model, texts).checks}
    assert "leaves a text's states as they are" in held["batch mates"]["detail"]
    model.h[1].mlp.act = Mates(model.h[1].mlp.act)
    p = profiled(model, texts)
    assert (
        "batches held texts of one length"
        in {c["name"]: c for c in p.checks}["batch mates"]["detail"]
    )
    assert_alone(p, model, texts)
    # Nothing to try out where all texts are of one length, and one row is beside no other.
    assert not any(c["name"] == "batch mates" for c in profiled(model, [TEXT, TEXT]).checks)


@pytest.mark.parametrize("family", ["glm_moe_dsa", "axk2", "doge"])
def test_where_attention_picks_tokens_a_long_row_shares_with_its_own_length(family: str) -> None:
    model = tiny.make(family, max_position_embeddings=256)
    picked = 4
    assert attended_tokens(model) == picked
    # Tokens that occur again have equal scores, and so do those whose scores are zero.
    texts = [SHORT, LONG, " the river the river" * 9, TEXT, SHORT, SHORT[::-1]]
    p = profiled(model, texts)
    assert_alone(p, model, texts)
    assert p.manifest["corpus"]["padding"] == 0
    (note,) = [c for c in p.checks if c["name"] == "picked tokens"]
    assert (note["passed"], note["level"]) == (True, "note")
    assert note["detail"].startswith("6 windows of more than the 4 tokens that attention picks")


def test_rows_of_which_attention_picks_all_share_batches() -> None:
    model = tiny.make("glm_moe_dsa", max_position_embeddings=256, index_topk=64)
    texts = [SHORT, TEXT, SHORT[:20], SHORT[:40]]
    p = profiled(model, texts)
    assert_alone(p, model, texts)
    assert p.manifest["corpus"]["padding"] > 0
    assert not any(c["name"] == "picked tokens" for c in p.checks)
    # One window is longer: the others go on sharing.
    mixed = profiled(model, [*texts, LONG])
    assert_alone(mixed, model, [*texts, LONG])
    assert mixed.manifest["corpus"]["padding"] == p.manifest["corpus"]["padding"]
    (note,) = [c for c in mixed.checks if c["name"] == "picked tokens"]
    assert note["detail"].startswith("1 windows of more than the 64 tokens")


@pytest.mark.parametrize(("kind", "count"), [("gpt2", None), ("llama", None), ("doge", 4)])
def test_how_many_tokens_attention_picks_is_read_off_the_configuration(
    kind: str, count: int | None
) -> None:
    assert attended_tokens(tiny.make(kind)) == count
    assert attended_tokens(torch.nn.Linear(2, 2)) is None


class TestDecoder:
    def test_reads_as_many_tokens_of_a_text_whatever_stands_beside_it(self) -> None:
        model = tiny.make("t5", decoder_start_token_id=0)
        texts = [SHORT, LONG, SHORT[:40]]
        together, apart = (profiled(model, texts, batch_tokens=n) for n in (4096, 1))
        tokens = sum(len(load("demo").tokenizer(text)["input_ids"]) for text in texts)
        for p in (together, apart):
            for stream in ("encoder", "decoder"):
                assert sum(p.on(stream).tokens.values()) == tokens
            assert p.on("decoder").tokens["first"] == 3
        for site in together.on("decoder").sites:
            a, b = (p.on("decoder").channels(site, "all") for p in (together, apart))
            np.testing.assert_allclose(a["std"], b["std"], rtol=1e-4)

    def test_is_given_a_start_token_and_the_text_without_its_last(self) -> None:
        ids = np.array([[5, 6, 7, 8], [9, 10, NO_TOKEN, NO_TOKEN]])
        mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
        strata = np.where(mask, [[2, 3, 4, 5]] * 2, PADDING).astype(np.int8)
        batch = Tokens(
            ids,
            strata,
            positions=np.array([[0, 1, 2, 3], [0, 1, 0, 0]]),
            starts=np.array([[True, False, False, True], [True, False, False, False]]),
            document=np.array([[3, 3, 3, 4], [5, 5, 0, 0]]),
            window=np.array([7, 8]),
            digest=np.array([1, 2], np.uint64),
        )
        moved = batch.shift_right(np.array([0, 0]))
        assert moved.ids.tolist() == [[0, 5, 6, 7], [0, 9, NO_TOKEN, NO_TOKEN]]
        assert moved.real.tolist() == (mask == 1).tolist()
        assert moved.positions.tolist() == batch.positions.tolist()
        assert moved.strata.tolist() == [[2, 2, 3, 4], [2, 2, PADDING, PADDING]]
        assert moved.strata.dtype == np.int8
        assert moved.starts.tolist() == [[True, False, False, False]] * 2
        assert moved.document.tolist() == [[3, 3, 3, 3], [5, 5, 0, 0]]
        # The padding of a model's own call stays where it was, on either side.
        model = tiny.make("t5", decoder_start_token_id=3)
        for side, expected in (
            (slice(None), [[3, 5, 6, 7], [3, 9, 10, 1]]),
            (slice(None, None, -1), [[3, 8, 7, 6], [1, 1, 3, 10]]),
        ):
            x, m = (torch.from_numpy(a[:, side].copy()) for a in (ids.clip(1), mask))
            call = forward_arguments(model, x, m)
            assert call["decoder_attention_mask"].tolist() == m.tolist()
            assert call["decoder_input_ids"].tolist() == expected


class Once(torch.nn.Module):
    """Switches for good when it reads a short text, as BigBird does."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.factor = inner, 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] < 30:
            self.factor = 2.0
        return self.inner(x) * self.factor


def test_what_was_read_before_changes_nothing() -> None:
    texts = [SHORT, LONG]
    a, b = (profiled(with_switch(), order, shard_bytes=len(LONG)) for order in (texts, texts[::-1]))
    np.testing.assert_allclose(a.moments("all")["std"], b.moments("all")["std"], rtol=1e-6)
    model = with_switch()
    profiled(model, texts)
    assert model.h[1].mlp.act.factor == 1


def with_switch() -> PreTrainedModel:
    model = tiny.make("gpt2", n_positions=256)
    model.h[1].mlp.act = Once(model.h[1].mlp.act)
    return model


class TestRecord:
    IDS = torch.arange(3, 83).reshape(2, 40)

    @pytest.mark.parametrize("kind", ROTARY)
    def test_a_batch_across_the_switch_is_warned_about_by_name(self, kind: str) -> None:
        family, options = ROTARY[kind]
        model = tiny.make(family, **options)
        mask = torch.ones_like(self.IDS)
        mask[1, 20:] = 0
        with hs.record(model) as recorder, torch.no_grad():
            model(input_ids=self.IDS, attention_mask=mask)
        with pytest.warns(HiddenscopeWarning, match=rf"rotary tables: .*\({kind}\).*32 tokens"):
            recorder.profile()

    @pytest.mark.parametrize("kind", ROTARY)
    def test_short_batches_are_fine(self, kind: str) -> None:
        family, options = ROTARY[kind]
        with hs.record(tiny.make(family, **options)) as recorder, torch.no_grad():
            recorder.loaded.model(input_ids=self.IDS[:, :ORIGINAL])
        assert all(c["passed"] for c in recorder.profile().checks)

    def test_longrope_on_one_side_is_fine(self) -> None:
        with hs.record(tiny.make("llama", **LONGROPE)) as recorder, torch.no_grad():
            recorder.loaded.model(input_ids=self.IDS)
            recorder.loaded.model(input_ids=self.IDS[:, :ORIGINAL])
        assert all(c["passed"] for c in recorder.profile().checks)

    def test_a_cache_that_grows_across_the_switch_is_warned_about(self) -> None:
        model = tiny.make("llama", **LONGROPE)
        with hs.record(model) as recorder, torch.no_grad():
            past = model(input_ids=self.IDS[:, :30], use_cache=True).past_key_values
            model(input_ids=self.IDS[:, 30:], past_key_values=past)
        with pytest.warns(HiddenscopeWarning, match="rotary tables"):
            recorder.profile()


def test_batch_mates_are_tried_again_where_a_later_shard_has_longer_ones(demo: LoadedModel) -> None:
    model = tiny.make("gpt2")
    model.h[1].mlp.act = Mates(model.h[1].mlp.act)
    texts = ["Hello there my friend.", "The end of.", "Some text of some words. " * 2]
    texts += ["Words of text here now."] * 4
    texts += ["A much longer text stands here. " * 6, "The end.", "Short one."]

    def run(batch_tokens: int) -> hs.Profile:
        return hs.profile(
            model,
            text=texts,
            tokenizer=demo.tokenizer,
            shard_bytes=200,
            batch_tokens=batch_tokens,
        )

    alone, together = run(1), run(4096)
    assert together.manifest["corpus"]["shards"] > 1
    for site in alone.sites:
        a, b = (p.channels(site, "all")["std"] for p in (alone, together))
        np.testing.assert_allclose(a, b, rtol=1e-6)
    detail = next(c["detail"] for c in together.checks if c["name"] == "batch mates")
    assert "batches held texts of one length" in detail
