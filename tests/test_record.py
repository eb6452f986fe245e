"""The capture round a user's own loop, and states from elsewhere, against plain arithmetic."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from conftest import TEXT
from transformers import AutoModelForCausalLM

import hiddenscope as hs
from hiddenscope.errors import CaptureError, HiddenscopeWarning, InputError, ModelError
from hiddenscope.models import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile

IDS = torch.tensor([[11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 0, 0]])
MASK = (IDS != 0).long()
EXTRA = dict.fromkeys(("prompt", "generated", "massive"), 0)


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny.make("gpt2")


def hidden(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, np.ndarray]:
    """Return each of HF's states, ``[token, channel]`` in float64, padding left out."""
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    names = ["embed", "block.0.resid_post", "block.1.resid_post", "final_norm"]
    return {n: x[mask.bool()].double().numpy() for n, x in zip(names, states, strict=True)}


def our_hooks(model: PreTrainedModel) -> list[object]:
    hooks = [h for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]
    found = [f for h in hooks for f in h.values()]
    return [f for f in found if f.__module__.startswith("hiddenscope")]


def assert_measured(p: Profile, states: dict[str, np.ndarray]) -> None:
    for site, x in states.items():
        table = p.channels(site, "all")
        assert (table["tokens"] == len(x)).all()
        np.testing.assert_allclose(table["mean"], x.mean(0), atol=1e-12)
        np.testing.assert_allclose(table["std"], x.std(0, ddof=1), rtol=1e-9)
        np.testing.assert_array_equal(table["max"], x.max(0))


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_on_either_side_is_left_out_and_positions_skip_it(
    model: PreTrainedModel, side: str
) -> None:
    ids, mask = (IDS, MASK) if side == "right" else (IDS.flip(1), MASK.flip(1))
    with hs.record(model) as recorder, torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    # GPT-2 counts positions from the padding where nobody tells it otherwise.
    told = pytest.warns(HiddenscopeWarning, match="left padding")
    with told if side == "left" else nullcontext():
        p = recorder.profile()
    assert p.tokens == {"first": 2, "special": 0, "regular": 8} | EXTRA
    assert p.manifest["corpus"]["padding"] == 2
    assert_measured(p, hidden(model, ids, mask))
    sample = p.sample("all")
    position = sample["position"].values.reshape(-1)
    assert sorted(position.tolist()) == sorted([*range(6), *range(4)])


def test_positions_and_strata_come_from_what_the_model_was_called_with(
    model: PreTrainedModel,
) -> None:
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with hs.record(model) as recorder, torch.no_grad():
        model(IDS[:1], position_ids=positions, use_cache=False)
        model(inputs_embeds=model.wte(IDS[1:]))
    p = recorder.profile()
    assert p.tokens == {"first": 3, "special": 0, "regular": 9} | EXTRA


def test_special_tokens_are_told_apart_with_a_tokenizer(model: PreTrainedModel) -> None:
    tokenizer = load("demo").tokenizer
    special = tokenizer.eos_token_id
    with hs.record(model, tokenizer=tokenizer) as recorder, torch.no_grad():
        model(input_ids=torch.tensor([[special, 40, special, 41]]))
    assert recorder.profile().tokens == {"first": 1, "special": 1, "regular": 2} | EXTRA


def test_a_training_step_is_bitwise_what_it_is_without(model: PreTrainedModel) -> None:
    def train(*, record: bool, checkpointing: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
        config = tiny.make("gpt2", resid_pdrop=0.1, attn_pdrop=0.1, embd_pdrop=0.1).config
        torch.manual_seed(3)
        made = AutoModelForCausalLM.from_config(config).train()
        if checkpointing:
            made.activation_checkpointing_enable()
        optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
        recorder = hs.record(made)
        if record:
            recorder.__enter__()
        for _ in range(2):
            optimizer.zero_grad()
            made(input_ids=IDS, attention_mask=MASK, labels=IDS, use_cache=False).loss.backward()
            optimizer.step()
        if record:
            recorder.__exit__(None, None, None)
            assert sum(recorder.profile().tokens.values()) == 2 * 10
        return [p.detach().clone() for p in made.parameters()], torch.random.get_rng_state()

    for checkpointing in (False, True):
        plain, state = train(record=False, checkpointing=checkpointing)
        recorded, after = train(record=True, checkpointing=checkpointing)
        assert torch.equal(state, after)
        assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def test_generation_with_a_cache_counts_every_token_once() -> None:
    made = AutoModelForCausalLM.from_config(tiny.make("llama").config).eval()
    with hs.record(made) as recorder:
        made.generate(IDS[:1], max_new_tokens=5, do_sample=False, eos_token_id=None)
    p = recorder.profile()
    # The last token is generated but never read.
    counts = {"first": 1, "prompt": 6 - 1, "generated": 5 - 1}
    assert p.tokens == {"special": 0, "regular": 0, "massive": 0} | counts
    assert p.sample("all")["position"].values.tolist() == list(range(10))


def test_hooks_are_gone_afterwards_and_reset_starts_over(model: PreTrainedModel) -> None:
    with hs.record(model) as recorder, torch.no_grad():
        model(input_ids=IDS)
        # The model itself, and in and out of three blocks and the final norm.
        assert len(our_hooks(model)) == 2 + 2 * 4
        assert sum(recorder.profile().tokens.values()) == 12
        recorder.reset()
        with pytest.raises(InputError, match="fewer than two tokens"):
            recorder.profile()
        model(input_ids=IDS[:1])
    model(input_ids=IDS)
    p = recorder.profile()
    assert sum(p.tokens.values()) == 6
    assert_measured(p, hidden(model, IDS[:1], torch.ones(1, 6, dtype=torch.long)))
    assert not our_hooks(model)


def test_an_error_in_the_loop_is_the_users_and_leaves_no_hooks(model: PreTrainedModel) -> None:
    recorder = hs.record(model)

    def loop() -> None:
        with recorder:
            model(input_ids=IDS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert sum(recorder.profile().tokens.values()) == 12
    assert not our_hooks(model)


def test_a_block_that_is_skipped_is_an_error_not_a_hole(model: PreTrainedModel) -> None:
    class Shortened(torch.nn.ModuleList):
        def __iter__(self) -> Iterator[torch.nn.Module]:
            return iter([self[0], self[1]])

    recorder = hs.record(model)
    model.h = Shortened(model.h)
    with recorder, pytest.raises(CaptureError, match="each site once"):
        model(input_ids=IDS)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_compiled_model_that_was_never_called_is_measured(kind: str) -> None:
    model = tiny.make(kind)
    with hs.record(model) as plain, torch.no_grad():
        model(input_ids=IDS)
    torch._dynamo.reset()
    # Traces the model as any backend does; what becomes of the trace is another matter.
    compiled = torch.compile(tiny.make(kind), backend="eager")
    with hs.record(compiled) as recorder, torch.no_grad():
        compiled(input_ids=IDS)
    torch._dynamo.reset()
    expected = plain.profile().moments("all")
    pd.testing.assert_frame_equal(recorder.profile().moments("all"), expected, rtol=1e-5)


def test_a_block_that_is_gone_is_named(model: PreTrainedModel) -> None:
    recorder = hs.record(model)
    model.h = model.h[:2]
    with pytest.raises(
        CaptureError, match=r"no module 'h\.2' any more, where block\.2\.resid_post"
    ):
        recorder.__enter__()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class TestFromStates:
    def test_arrays_give_the_profile_of_the_loop_they_come_from(
        self, model: PreTrainedModel
    ) -> None:
        with torch.no_grad():
            states = model(
                input_ids=IDS, attention_mask=MASK, output_hidden_states=True
            ).hidden_states
        sites = ["embed", "block.0.resid_post", "block.1.resid_post", "final_norm"]
        p = hs.from_states(
            {s: x.numpy() for s, x in zip(sites, states, strict=True)}, mask=MASK, input_ids=IDS
        )
        assert p.sites == sites
        assert_measured(p, hidden(model, IDS, MASK))
        with hs.record(model, sites="hf") as recorder, torch.no_grad():
            model(input_ids=IDS, attention_mask=MASK)
        index = "hf_index"  # only a model has one
        assert (
            p.moments().drop(columns=index).equals(recorder.profile().moments().drop(columns=index))
        )
        np.testing.assert_array_equal(p.r2(), recorder.profile().r2())

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    def test_any_floating_point_is_taken(self, dtype: torch.dtype) -> None:
        x = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
        p = hs.from_states({"embed": x, "block.0.resid_post": 2 * x})
        assert p.moments("all")["max"].iloc[0] == pytest.approx(float(x.float().max()))
        assert float(p.r2(view="all")[0, 1]) == pytest.approx(1.0)

    def test_what_is_not_finite_is_counted_and_warned_about(self) -> None:
        x = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
        x[0, 2, 1], x[0, 3, 0] = np.nan, np.inf
        with pytest.warns(HiddenscopeWarning, match="2 values are NaN or infinite"):
            p = hs.from_states({"embed": x})
        assert p.moments("all").loc["embed", "tokens"] == 3

    def test_points_in_another_basis_are_streams_of_their_own(self) -> None:
        rng = np.random.default_rng(3)
        states = {
            "embed": rng.normal(size=(2, 5, 4)),
            "block.0.attn_mix": rng.normal(size=(2, 5, 4)),
            "block.0.mlp_act": rng.normal(size=(2, 5, 9)),
            "block.0.resid_post": rng.normal(size=(2, 5, 4)),
        }
        p = hs.from_states(states)
        assert p.streams == ["residual", "attn_mix", "mlp_act"]
        assert p.sites == ["embed", "block.0.resid_post"]
        assert p.r2("pooled", "all")["site_a"].values.tolist() == ["embed", "block.0.resid_post"]
        for site, x in states.items():
            point = site.partition("0.")[2]
            of = p.on(point) if point in p.streams else p
            found = of.moments("all").loc[site]
            assert found["std"] == pytest.approx(x.astype(np.float32).std(ddof=1, dtype=float))
            assert found["tokens"] == 10
        assert p.manifest["model"]["width"] == 4

    @pytest.mark.parametrize(
        ("states", "options", "says"),
        [
            ({}, {}, "no states"),
            ({"nowhere": np.zeros((1, 4, 2))}, {}, "is not a site"),
            ({"embed": np.zeros((4, 2))}, {}, "expected [batch, pos, channel]"),
            ({"embed": np.zeros((1, 4, 2), int)}, {}, "floating point"),
            ({"embed": np.zeros((1, 1, 2))}, {}, "at least two tokens"),
            ({"embed": np.zeros((1, 4, 2))}, {"mask": np.ones((1, 3))}, "mask has shape"),
            (
                {"embed": np.zeros((1, 4, 2)), "final_norm": np.zeros((1, 5, 2))},
                {},
                "one shape",
            ),
            (
                {"block.0.mlp_act": np.zeros((1, 5, 3)), "embed": np.zeros((1, 4, 2))},
                {},
                "as many tokens, got (1, 4, 2) at embed and (1, 5, 3) at block.0.mlp_act",
            ),
        ],
    )
    def test_what_cannot_be_measured_is_refused(
        self, states: dict, options: dict, says: str
    ) -> None:
        with pytest.raises(hs.HiddenscopeError, match=re.escape(says)):
            hs.from_states(states, **options)


class TestProfileFunction:
    def test_batches_and_order_do_not_change_the_numbers(self) -> None:
        made = [
            hs.profile("demo", text=[TEXT * 2, TEXT[:50]], window=20, batch_tokens=n)
            for n in (20, 200)
        ]
        a, b = (p.moments("all") for p in made)
        # The model's own rounding differs with the batch's shape; counts do not.
        assert (a["tokens"] == b["tokens"]).all()
        np.testing.assert_allclose(a["std"], b["std"], rtol=1e-5)
        np.testing.assert_allclose(made[0].r2(), made[1].r2(), atol=1e-5)

    def test_the_same_run_twice_is_identical_bit_for_bit(self) -> None:
        a, b = (
            hs.profile("demo", text=[TEXT] * 5, window=20, shard_bytes=len(TEXT)) for _ in range(2)
        )
        for name, group in a.stream.children.items():
            for key, values in group.data_vars.items():
                other = b.stream[name][key].values
                if values.dtype.kind in "OUT":
                    assert (values.values == other).all()
                else:
                    assert values.values.tobytes() == other.tobytes(), (name, key)

    def test_the_manifest_says_what_was_cut_and_whether_a_bos_was_added(self) -> None:
        p = hs.profile("demo", text=[TEXT * 3, "Short one."], window=16)
        assert p.manifest["corpus"]["documents_cut"] == 1
        assert p.manifest["corpus"]["documents"] == 2
        assert p.manifest["tokenizer"]["adds_bos"] is False
        assert any("cut" in c["detail"] for c in p.checks if c["name"] == "tokens")

    def test_a_short_text_is_sampled_whole_and_reads_as_text(self) -> None:
        p = hs.profile("demo", "sample:article")
        sample = p.sample("all")
        assert "".join(sample["piece"].values).startswith("A language model reads a text")
        assert sample.sizes["token"] == sum(p.tokens.values())

    def test_progress_is_told_from_the_start_to_the_end(self) -> None:
        steps: list = []
        p = hs.profile("demo", text=[TEXT] * 4, batch_tokens=64, progress=steps.append)
        assert steps[0].tokens == 0
        assert steps[-1].tokens == sum(p.tokens.values())
        assert steps[-1].done == steps[-1].total == 4 * len(TEXT)


BATCHES = {
    # The checks run before the first batch is measured; families whose positions are not known
    # are tried out before that.
    "measured": ("llama", [TEXT, TEXT[:60], TEXT[:50]], "2 windows .*documents 1 to 2, counted"),
    "checked": ("llama", [TEXT[:60], TEXT[:50]], "2 windows .*documents 0 to 1, counted from 0"),
    "tried out": ("gpt2", [TEXT[:60], TEXT[:50]], "2 texts of up to"),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_an_error_inside_the_model_names_the_model_and_the_batch(kind: str) -> None:
    family, texts, batch = BATCHES[kind]
    model = tiny.make(family)
    last = (model.h if family == "gpt2" else model.layers)[-1]
    plain = last.forward

    def forward(x: torch.Tensor, *args: object, **kwargs: object) -> object:
        # Longer than what models are looked into with, shorter than the first text.
        if 10 < x.shape[1] < 20 and len(x) == 2:
            raise IndexError("index out of range")
        return plain(x, *args, **kwargs)

    last.forward = forward
    says = rf"{type(model).__name__} over .*{batch}.* failed: IndexError: index out of range"
    tokenizer = load("demo").tokenizer
    with pytest.raises(ModelError, match=says) as caught:
        hs.profile(model, tokenizer=tokenizer, text=texts, batch_tokens=60)
    assert isinstance(caught.value.__cause__, IndexError)


def test_an_encoder_whose_decoder_fails_is_not_counted(demo: LoadedModel) -> None:
    model = tiny.make("t5")
    ids = torch.tensor(demo.tokenizer([TEXT])["input_ids"])[:, :7]
    with hs.record(model) as recorder, torch.no_grad():
        for _ in range(2):
            with pytest.raises(IndexError):
                model(input_ids=ids, decoder_input_ids=ids + 10**6)
            model(input_ids=ids, decoder_input_ids=ids[:, :4])
        counts = recorder.state.counts
        assert (counts["encoder"].rows, counts["encoder"].total) == (2, 14)
        assert (counts["decoder"].rows, counts["decoder"].total) == (2, 8)
        # One that is run by itself is complete with its own pass.
        model.encoder(input_ids=ids)
        assert counts["encoder"].total == 21
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_a_document_is_the_same_however_it_is_padded(demo: LoadedModel) -> None:
    ids = demo.tokenizer(TEXT, return_tensors="pt")["input_ids"]

    def hashes(padding: int) -> list[int]:
        padded = torch.nn.functional.pad(ids, (0, padding))
        mask = torch.nn.functional.pad(torch.ones_like(ids), (0, padding))
        with hs.record(demo.model, tokenizer=demo.tokenizer) as recorder, torch.no_grad():
            demo.model(input_ids=padded, attention_mask=mask)
        parts = recorder.state.states["residual"].parts
        sample = next(p for p in parts if p.name == "sample")
        return sample.arrays["token_hash"].tolist()

    assert hashes(0) == hashes(5)
