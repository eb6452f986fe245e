"""Finding blocks in real architectures, loading strictly, and checks that can fail."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import families
import pytest
import tiny
import torch
from conftest import TEXT
from transformers import AutoConfig, AutoModel

import hiddenscope as hs
from hiddenscope.capture import Capture, Watch, verify
from hiddenscope.errors import (
    HiddenscopeWarning,
    InputError,
    ModelError,
    ProfileError,
    SiteError,
)
from hiddenscope.models import Structure, find_structure, load
from hiddenscope.sites import select_sites

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hiddenscope.capture import Check
    from hiddenscope.models import Stream

IDS = torch.arange(3, 27).reshape(2, 12)
EXTRA = ("prompt", "generated", "massive")
EMPTY_TOKENIZER = (
    '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}'
)


def stream_of(model: PreTrainedModel) -> Stream:
    return find_structure(model).streams[0]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_the_checks_pass_and_a_planted_wrong_module_fails_them(kind: str) -> None:
    model = tiny.make(kind)
    stream = stream_of(model)
    names = ["residual stream", "final norm", "hidden_states", "hooks"]
    assert [(c.name, c.passed) for c in checks(model, stream)] == [(n, True) for n in names]

    def failed(**changed: object) -> set[str]:
        planted = dataclasses.replace(stream, **changed)
        return {c.name for c in checks(model, planted) if not c.passed}

    blocks = stream.blocks
    swapped = (blocks[1], blocks[0], blocks[2])
    assert {"residual stream", "hidden_states"} <= failed(blocks=swapped)
    last_but_one = (*blocks[:2], blocks[1])
    assert "final norm" in failed(blocks=last_but_one)
    if stream.final_norm is not None:
        # The final norm taken for the last block, and the other way round.
        assert "final norm" in failed(output=None)
        assert "final norm" in failed(blocks=(*blocks[:2], stream.final_norm))


def checks(model: PreTrainedModel, stream: Stream, sites: str = "trunk") -> list[Check]:
    """Run one forward pass and return what is checked inside it and beside it."""
    mask = torch.ones_like(IDS)
    chosen = select_sites(sites, stream.sites)
    watch = Watch(model, stream, [s.name for s in chosen]).__enter__()
    with torch.no_grad():
        model(input_ids=IDS, attention_mask=mask)
    structure = Structure((stream,))
    return [*watch.checks, *verify(model, structure, {"input_ids": IDS, "attention_mask": mask})]


def plant(stream: Stream, point: str, **changed: object) -> Stream:
    """Change the tap of a point in block 1."""
    wrong = stream.anatomies[1]
    tap = dataclasses.replace(wrong.taps[point], **changed)
    wrong = dataclasses.replace(wrong, taps=wrong.taps | {point: tap})
    return dataclasses.replace(stream, anatomies=(stream.anatomies[0], wrong, stream.anatomies[2]))


@pytest.mark.parametrize("kind", ["gpt2", "bert", "gpt_neox", "granite", "olmo2"])
def test_a_wrong_module_for_a_point_fails_its_check(kind: str) -> None:
    model = tiny.make(kind)
    stream = stream_of(model)
    held = {c.name: c for c in checks(model, stream, "all")}
    assert held["points"].passed
    assert 0 <= held["points"].value < 1e-6
    other = stream.anatomies[2].taps["attn_out"]
    wrong = plant(stream, "attn_out", path=other.path)
    inner = stream.anatomies[1].taps["attn_mix"]
    before = plant(stream, "attn_out", path=inner.path, side="input", key=inner.key)
    for planted in (wrong, before):
        held = {c.name: c for c in checks(model, planted, "all")}
        assert not held["points"].passed
        assert "block 1" in held["points"].detail


def test_a_residual_multiplier_that_is_ignored_fails_its_check() -> None:
    model = tiny.make("granite")
    stream = stream_of(model)
    assert stream.anatomies[1].taps["mlp_out"].scale == model.config.residual_multiplier != 1
    held = {c.name: c for c in checks(model, plant(stream, "mlp_out", scale=None), "all")}
    assert not held["points"].passed
    assert "resid_post = resid_mid + mlp_out does not hold in block 1" in held["points"].detail


def test_a_scale_of_the_whole_block_is_part_of_its_equation() -> None:
    model = families.make("gemma4_unified_text")
    for layer, scale in zip(model.layers, (0.7, 1.0, 1.3), strict=True):
        layer.layer_scalar.fill_(scale)
    stream = stream_of(model)
    assert str(stream.anatomies[0].steps[1]) == "resid_post = scale × (resid_mid + mlp_out)"
    assert checks(model, stream, "all")[1].passed


def test_a_tensor_that_is_changed_in_place_afterwards_was_copied() -> None:
    model = tiny.make("falcon")  # adds the attention's output to that of its MLP in place
    stream = stream_of(model)
    assert {c.name: c.passed for c in checks(model, stream, "all")}["points"]
    kept: dict[str, torch.Tensor] = {}
    with Capture(model, stream, ["block.0.mlp_out"], take=kept.__setitem__), torch.no_grad():
        model(input_ids=IDS)
    seen = Capture(
        model, stream, ["block.0.mlp_out"], take=lambda s, x: kept.update(copy=x.clone())
    )
    with seen, torch.no_grad():
        model(input_ids=IDS)
    assert not torch.equal(kept["copy"], kept["block.0.mlp_out"])


@pytest.mark.parametrize(
    ("kind", "pattern", "says"),
    [
        ("gpt_neox", "block.*.resid_mid", "side by side"),
        ("mixtral", "block.*.mlp_act", "experts of a mixture"),
        ("mamba", "block.0.mlp_out", "has no MLP"),
        ("xmod", "block.1.attn_out", "could not be told"),
        ("gpt2", "block.*.attn_ou", "resid_pre, attn_norm, attn_mix, attn_out, resid_mid"),
        ("t5", "encoder/block.*.cross_out", "no site matches"),
        ("t5", "middle/embed", "the model has encoder, decoder"),
    ],
)
def test_a_point_that_there_is_not_is_refused_by_name(kind: str, pattern: str, says: str) -> None:
    with pytest.raises(SiteError, match=re.escape(says)):
        hs.record(families.make(kind), sites=pattern)


def test_an_encoder_decoder_has_two_streams() -> None:
    model = families.make("t5")
    with hs.record(model, sites="all") as recorder, torch.no_grad():
        model(input_ids=IDS, decoder_input_ids=IDS[:, :5])
    p = recorder.profile()
    inner = ("attn_mix", "mlp_act"), ("attn_mix", "cross_mix", "mlp_act")
    assert p.streams == [
        *("encoder", *(f"encoder_{point}" for point in inner[0])),
        *("decoder", *(f"decoder_{point}" for point in inner[1])),
    ]
    assert p.stream.name == "encoder"
    assert p.tokens == {"first": 0, "special": 0, "regular": 24} | dict.fromkeys(EXTRA, 0)
    decoder = p.on("decoder")
    assert decoder.tokens["first"] == 2
    assert "block.2.cross_out" in decoder.sites
    assert decoder.r2(view="all").sizes == {"site_a": 5, "site_b": 5}
    with pytest.raises(InputError, match="no site of the trunk"):
        p.on("decoder_mlp_act").r2()
    with pytest.raises(ProfileError, match="it has encoder"):
        p.on("residual")


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_the_loop_of_a_user_is_checked_too(kind: str) -> None:
    with hs.record(tiny.make(kind)) as recorder, torch.no_grad():
        for _ in range(2):
            recorder.loaded.model(input_ids=IDS)
    held = {c["name"]: c for c in recorder.profile().checks}
    assert held["residual stream"]["passed"]
    assert held["final norm"]["passed"]


def test_a_state_changed_between_two_blocks_of_the_measured_pass_fails_its_check() -> None:
    model = tiny.make("gpt2")
    recorder = hs.record(model)

    def careless(_: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
        args[0].mul_(3)

    handle = model.h[1].register_forward_pre_hook(careless)
    with recorder, torch.no_grad():
        model(input_ids=IDS)
    handle.remove()
    with pytest.warns(HiddenscopeWarning, match="residual stream: block 1 does not read"):
        recorder.profile()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_does_not_make_a_decoder_look_bidirectional(value: float) -> None:
    model = tiny.make("gpt2")
    model.h[1].mlp.c_proj.bias.data[3] = value
    assert stream_of(model).causal


def test_an_output_of_another_width_is_no_site() -> None:
    narrow = {"hidden_size": 32, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    small = {"num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48}
    config = AutoConfig.for_model(
        "opt", vocab_size=64, max_position_embeddings=64, **narrow, **small
    )
    model = AutoModel.from_config(config).eval()
    stream = stream_of(model)
    assert [s.name for s in stream.trunk] == [
        "embed",
        "block.0.resid_post",
        "block.1.resid_post",
    ]
    held = checks(model, stream)
    assert all(c.passed for c in held)
    assert "project_out" in held[1].detail


def test_a_failed_check_is_a_loud_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from hiddenscope.measuring import recorder

    def wrong(model: object, outer: object) -> object:
        found = find_structure(model, outer)
        stream = found.streams[0]
        hf = {**stream.hf, "embed": 1, "block.0.resid_post": 0}
        return dataclasses.replace(found, streams=(dataclasses.replace(stream, hf=hf),))

    monkeypatch.setattr(recorder, "find_structure", wrong)
    with pytest.warns(HiddenscopeWarning, match="hidden_states"):
        p = hs.profile("demo", text=TEXT)
    assert "checks failed" in repr(p)


def test_blocks_that_are_not_declared_are_confirmed_or_an_error() -> None:
    model = tiny.make("gpt2")
    model._can_record_outputs = None
    # They are found by name then, and confirmed by what Hugging Face returns.
    assert stream_of(model).found == "by name (GPT2Block)"
    model.h[1].register_forward_hook(lambda _, __, output: output * 2)
    plain = model.forward
    model.forward = lambda **given: plain(**given) | {"hidden_states": ()}
    with pytest.raises(ModelError, match="not those of its hidden_states"):
        find_structure(model)
    model = families.make("gptj")
    assert stream_of(model).found == "by name (GPTJBlock)"
    model.h = torch.nn.Sequential(*model.h)
    with pytest.raises(ModelError, match="cannot find the blocks of GPTJModel"):
        find_structure(model)


def test_the_head_is_left_aside_and_training_mode_restored() -> None:
    from transformers import AutoModelForCausalLM

    base = tiny.make("gpt2")
    whole = AutoModelForCausalLM.from_config(base.config)
    whole.transformer.load_state_dict(base.state_dict())
    whole.train()
    tokenizer = load("demo").tokenizer
    a = hs.profile(whole, tokenizer=tokenizer, text=TEXT)
    b = hs.profile(base, tokenizer=tokenizer, text=TEXT)
    assert whole.training
    assert all(m.training for m in whole.modules())
    assert a.moments().equals(b.moments())
