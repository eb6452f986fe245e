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
from transformers.models.gpt2.modeling_gpt2 import GPT2Block, GPT2Model
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

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
from hiddenscope.models.trace import is_linear
from hiddenscope.sites import select_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("gpt2", {"resid_pre", "attn_out", "resid_mid", "mlp_out"}),
        ("gpt_neox", {"resid_pre", "attn_out", "mlp_out"}),
        ("t5", {"resid_pre", "attn_out", "resid_cross", "cross_out", "resid_mid", "mlp_out"}),
        ("granite", {"resid_pre", "attn_out", "resid_mid", "mlp_out", "scale"}),
        ("bert", {"resid_pre", "attn_out", "resid_mid", "mlp_out", "norm"}),
        ("bloom-postnorm", {"resid_pre", "attn_out", "resid_mid", "mlp_out", "base_norm"}),
        ("doge", {"resid_pre", "attn_out", "resid_mid", "mlp_out", "base_scale"}),
        ("gemma4_unified_text", {"resid_pre", "attn_out", "resid_mid", "mlp_out", "factor"}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_notices_each_part_of_an_equation_that_is_left_out(
    kind: str, parts: set[str], dtype: torch.dtype
) -> None:
    model = families.make(kind)
    stream = find_structure(model).streams[-1]
    model.to(dtype)
    left_out = set()
    for part, planted in omissions(stream):
        watch = Watch(model, planted, [s.name for s in stream.sites]).__enter__()
        with torch.no_grad():
            model(input_ids=IDS, **({"decoder_input_ids": IDS} if kind == "t5" else {}))
        held = {c.name: c for c in watch.checks}
        assert held["points"].passed == (part is None), part
        if part is not None:
            assert "does not hold in block 1" in held["points"].detail
            left_out.add(part)
    assert left_out == parts


def omissions(stream: Stream) -> Iterator[tuple[str | None, Stream]]:
    """Yield a stream as it is, and without one part of an equation of block 1."""
    yield None, stream
    right = stream.anatomies[1]

    def planted(**changed: object) -> Stream:
        wrong = dataclasses.replace(right, **changed)
        anatomies = (stream.anatomies[0], wrong, *stream.anatomies[2:])
        return dataclasses.replace(stream, anatomies=anatomies)

    for i, step in enumerate(right.steps):
        for term in step.terms:
            fewer = dataclasses.replace(step, terms=tuple(t for t in step.terms if t != term))
            if term == step.terms[0]:
                fewer = dataclasses.replace(fewer, base_norm=None, base_scale=None)
            yield term, planted(steps=(*right.steps[:i], fewer, *right.steps[i + 1 :]))
        for part in ("norm", "factor", "base_norm", "base_scale"):
            if getattr(step, part) is not None:
                without = dataclasses.replace(step, **{part: None})
                yield part, planted(steps=(*right.steps[:i], without, *right.steps[i + 1 :]))
    for point, tap in right.taps.items():
        if tap.scale is not None:
            plain = right.taps | {point: dataclasses.replace(tap, scale=None)}
            yield "scale", planted(taps=plain)


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
        ("xmod", "block.1.attn_out", "which is attention and which the MLP is not told"),
        ("muse_spark_text", "block.*.mlp_out", "mix them in by a module"),
        ("gpt2", "block.*.attn_ou", "resid_pre, attn_norm, attn_mix, attn_out, resid_mid"),
        ("t5", "encoder/block.*.cross_out", "no site matches"),
        ("t5", "middle/embed", "the model has encoder, decoder"),
    ],
)
def test_a_point_that_there_is_not_is_refused_by_name(kind: str, pattern: str, says: str) -> None:
    with pytest.raises(SiteError, match=re.escape(says)):
        hs.record(families.make(kind), sites=pattern)


def test_a_decoder_of_ours_reads_the_text_shifted_right_and_says_so() -> None:
    model = tiny.make("bart")
    p = hs.profile(model, text=TEXT, max_tokens=40, tokenizer=load("demo").tokenizer)
    assert p.manifest["decoder_reads"].startswith("the text shifted right by one token: ")
    with hs.record(model) as recorder, torch.no_grad():
        model(input_ids=IDS, decoder_input_ids=IDS[:, :5])
    # What a decoder of somebody else's loop reads is theirs to say.
    assert "decoder_reads" not in recorder.profile().manifest


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


@pytest.mark.parametrize("kind", ["mamba", "switch_transformers"])
def test_points_are_found_where_bfloat16_and_float32_meet(kind: str) -> None:
    # Mamba's stream is float32 in a model in bfloat16, and so is what a router reads.
    model = families.make(kind)
    assert find_structure(model) == find_structure(model.bfloat16())


class Gated(GPT2Block):
    """A block that nobody described: a gate of its own mixes what it adds into the stream."""

    def forward(self, hidden_states: torch.Tensor, *given: object, **named: object) -> torch.Tensor:
        added = super().forward(hidden_states, *given, **named) - hidden_states
        return hidden_states + torch.sigmoid(hidden_states) * added


class Sharpened(GPT2Block):
    """A block that nobody described, which adds as its parent does, and a bias that it keeps."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.mlp.c_proj = torch.nn.Sequential(self.mlp.c_proj, torch.nn.Softshrink(0.01))


@pytest.mark.parametrize(("block", "points"), [(Gated, False), (Sharpened, True)])
def test_a_family_that_nobody_described_has_its_trunk_and_points_or_a_reason(
    block: type[GPT2Block], points: bool
) -> None:
    class Toy(GPT2Model):
        _can_record_outputs = GPT2Model._can_record_outputs | {"hidden_states": block}

    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt2", n_layer=3, n_embd=32, n_head=4, vocab_size=64)
    model = Toy(config).eval()
    model.h = torch.nn.ModuleList(block(config, i) for i in range(3)).eval()
    stream = stream_of(model)
    assert stream.found == f"declared by transformers ({block.__name__})"
    assert [s.name for s in stream.trunk][1:-1] == [f"block.{i}.resid_post" for i in range(3)]
    assert all(c.passed for c in checks(model, stream, "all" if points else "trunk"))
    if points:
        assert {"attn_out", "resid_mid", "mlp_out"} <= stream.anatomies[1].taps.keys()
    else:
        with pytest.raises(SiteError, match="no outputs of its modules, added to what it reads"):
            hs.record(model, sites="block.*.mlp_out")


@pytest.mark.parametrize("zero", [{"self_attn.o_proj"}, {"mlp.down_proj"}, set()])
@pytest.mark.parametrize("more", [set(), {"self_attn.o_proj", "mlp.down_proj"}])
def test_where_what_a_block_adds_is_zero_its_points_are_refused(
    zero: set[str], more: set[str]
) -> None:
    model = families.make("llama")
    for name in zero | more:
        torch.nn.init.zeros_(model.layers[1].get_submodule(name).weight)
    first, second, third = stream_of(model).anatomies
    assert first.taps.keys() == third.taps.keys() == {*first.taps}
    assert not {"attn_norm", "attn_mix", "mlp_norm", "mlp_act"} - first.taps.keys()
    if not zero | more:
        assert second.taps.keys() == first.taps.keys()
        return
    assert second.taps == {}
    part = "self_attn" if "self_attn.o_proj" in zero | more else "mlp"
    for point, why in second.refused.items():
        assert re.match(f"{part}.* returned only zeros", why), point


def test_attention_that_returns_zeros_before_a_bias_is_no_reason_to_refuse() -> None:
    model = families.make("bert")
    for name in ("weight", "bias"):
        torch.nn.init.zeros_(getattr(model.encoder.layer[1].attention.self.value, name))
    first, second, _ = stream_of(model).anatomies
    assert second.taps.keys() == first.taps.keys()


class Ordered(LlamaDecoderLayer):
    """Attention and MLP in another order than usual."""

    def forward(self, hidden_states: torch.Tensor, **given: object) -> torch.Tensor:
        given = {k: v for k, v in given.items() if k in {"attention_mask", "position_embeddings"}}
        return self.added(hidden_states, given)


class MlpFirst(Ordered):
    def added(self, x: torch.Tensor, given: dict[str, object]) -> torch.Tensor:
        x = x + self.mlp(self.input_layernorm(x))
        return x + self.self_attn(self.post_attention_layernorm(x), **given)[0]


class Interleaved(Ordered):
    def added(self, x: torch.Tensor, given: dict[str, object]) -> torch.Tensor:
        # The MLP reads another state, and begins before the attention.
        mlp, read = self.mlp, self.post_attention_layernorm(x)
        up = mlp.act_fn(mlp.gate_proj(read)) * mlp.up_proj(read)
        attention = self.self_attn(self.input_layernorm(x), **given)[0]
        return x + attention + mlp.down_proj(up)


def ordered(kind: type[Ordered]) -> Stream:
    model = families.make("llama")
    for layer in model.layers:
        layer.__class__ = kind
    model._can_record_outputs = model._can_record_outputs | {"hidden_states": kind}
    return stream_of(model)


def test_an_mlp_before_the_attention_is_not_taken_for_one_beside_it() -> None:
    for anatomy in ordered(MlpFirst).anatomies:
        assert anatomy.taps == {}
        assert "which is attention and which the MLP is not told" in anatomy.refused["attn_out"]


def test_what_an_mlp_reads_is_not_taken_for_what_the_attention_reads() -> None:
    for i, anatomy in enumerate(ordered(Interleaved).anatomies):
        assert anatomy.taps["attn_norm"].path == f"layers.{i}.self_attn.q_proj"
        assert anatomy.taps["mlp_act"].path == f"layers.{i}.mlp.down_proj"
        assert "mlp_norm" not in anatomy.taps


@pytest.mark.parametrize(
    ("name", "linear"),
    [
        *(("Linear4bit", True), ("WQLinear_GEMM", True), ("MarlinQuantLinear", True)),
        *(("Conv1D", True), ("KimiLinearMLP", False), ("KimiLinearRMSNorm", False)),
    ],
)
def test_a_layer_is_linear_if_its_class_ends_so(name: str, linear: bool) -> None:
    assert is_linear(type(name, (torch.nn.Module,), {})()) == linear


def test_what_transformers_declares_is_still_what_its_hidden_states_are() -> None:
    # `_can_record_outputs` is private to transformers: hiddenscope reads blocks from it.
    for kind, declared in (("gpt2", "GPT2Block"), ("llama", "LlamaDecoderLayer")):
        model = tiny.make(kind)
        blocks = type(model)._can_record_outputs["hidden_states"]
        assert blocks.__name__ == declared
        with torch.no_grad():
            usual = model(input_ids=IDS, output_hidden_states=True).hidden_states
        assert len(usual) == model.config.num_hidden_layers + 1
    assert isinstance(type(families.make("jamba"))._can_record_outputs["hidden_states"], list)
    # Another class declared gives another tuple, so that it is what transformers goes by.
    inner = type(model.layers[0].mlp)

    class Other(type(model)):
        _can_record_outputs = type(model)._can_record_outputs | {"hidden_states": inner}

    other = Other(model.config).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        found = other(input_ids=IDS, output_hidden_states=True).hidden_states
    assert not torch.equal(found[1], usual[1])


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


def test_as_many_channels_as_tokens_are_no_other_layout() -> None:
    # The probe has six tokens.
    like = {"hidden_size": 6, "num_attention_heads": 2}
    stream = stream_of(families.make("longformer", **like))
    assert stream.width == 6
    assert stream.crops
    assert stream.taps["block.0.resid_post"].axes == (0, 1, 2)
    with pytest.raises(ModelError, match="not those of its hidden_states"):
        find_structure(families.make("squeezebert", embedding_size=6, **like))
