"""Finding blocks in real architectures, loading strictly, and checks that can fail."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import tiny
import torch
from conftest import TEXT
from transformers import AutoConfig, AutoModel

import hiddenscope as hs
from hiddenscope.capture import Watch, verify
from hiddenscope.errors import HiddenscopeWarning, InputError, ModelError
from hiddenscope.models import context_length, inspect, load

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from hiddenscope.capture import Check
    from hiddenscope.models import LoadedModel, Structure

IDS = torch.arange(24).reshape(2, 12)
EMPTY_TOKENIZER = (
    '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}'
)


@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_the_trunk_is_hugging_faces_tuple(kind: str) -> None:
    model = tiny.make(kind)
    structure = inspect(model)
    assert len(structure.blocks) == 3
    assert structure.width == 32
    assert structure.causal == (kind != "bert")
    assert (structure.final_norm is None) == (kind == "bert")
    assert [s.name for s in structure.sites[:4]] == [
        "embed",
        *(f"block.{i}.resid_post" for i in range(3)),
    ]
    with hs.record(model) as recorder, torch.no_grad():
        output = model(input_ids=IDS, output_hidden_states=True, use_cache=False)
    p = recorder.profile()
    for site, index in structure.hf.items():
        held = output.hidden_states[index]
        assert p.channels(site, "all")["max"].to_list() == held.flatten(0, 1).amax(0).tolist()
    assert sorted(structure.hf.values()) == list(range(len(output.hidden_states)))
    # Where the tuple ends with the final norm, the last block is measured all the same.
    last_norm = structure.hf.get("final_norm")
    assert (last_norm == len(output.hidden_states) - 1) == (kind != "bert")


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_the_checks_pass_and_a_planted_wrong_module_fails_them(kind: str) -> None:
    model = tiny.make(kind)
    structure = inspect(model)
    names = ["residual stream", "final norm", "hidden_states", "hooks"]
    assert [(c.name, c.passed) for c in checks(model, structure)] == [(n, True) for n in names]

    def failed(**changed: object) -> set[str]:
        planted = dataclasses.replace(structure, **changed)
        return {c.name for c in checks(model, planted) if not c.passed}

    swapped = (structure.blocks[1], structure.blocks[0], structure.blocks[2])
    assert {"residual stream", "hidden_states"} <= failed(blocks=swapped)
    last_but_one = (*structure.blocks[:2], structure.blocks[1])
    assert "final norm" in failed(blocks=last_but_one)
    if structure.final_norm is not None:
        assert "final norm" in failed(output=None)


def checks(model: PreTrainedModel, structure: Structure) -> list[Check]:
    """Run one forward pass and return what is checked inside it and beside it."""
    mask = torch.ones_like(IDS)
    watch = Watch(model, structure)
    with torch.no_grad():
        model(input_ids=IDS, attention_mask=mask)
    return [*watch.checks, *verify(model, structure, IDS, mask)]


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
    assert inspect(model).causal


def test_an_output_of_another_width_is_no_site() -> None:
    narrow = {"hidden_size": 32, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    small = {"num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48}
    config = AutoConfig.for_model(
        "opt", vocab_size=64, max_position_embeddings=64, **narrow, **small
    )
    model = AutoModel.from_config(config).eval()
    structure = inspect(model)
    assert [s.name for s in structure.sites] == [
        "embed",
        "block.0.resid_post",
        "block.1.resid_post",
    ]
    held = checks(model, structure)
    assert all(c.passed for c in held)
    assert "project_out" in held[1].detail


def test_a_failed_check_is_a_loud_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from hiddenscope.profiling import recorder

    def wrong(model: object) -> object:
        found = inspect(model)
        return dataclasses.replace(found, hf={**found.hf, "embed": 1, "block.0.resid_post": 0})

    monkeypatch.setattr(recorder, "inspect", wrong)
    with pytest.warns(HiddenscopeWarning, match="hidden_states"):
        p = hs.profile("demo", text=TEXT)
    assert "checks failed" in repr(p)


def test_blocks_that_are_not_declared_are_an_error() -> None:
    model = tiny.make("gpt2")
    model._can_record_outputs = None
    with pytest.raises(ModelError, match="cannot find the blocks of GPT2Model"):
        inspect(model)


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


class TestLoading:
    def test_the_demo_runs_in_float32_without_a_head(self, demo: LoadedModel) -> None:
        assert type(demo.model).__name__ == "GPT2Model"
        assert demo.model.dtype == torch.float32
        assert not demo.model.training
        assert demo.model.config._attn_implementation == "sdpa"
        assert context_length(demo.model, demo.tokenizer) == 256

    def test_a_folder_loads_as_the_object_does(self, tmp_path: Path) -> None:
        model = tiny.make("llama")
        folder = tiny.save(model, tmp_path / "llama")
        by_folder = hs.profile(str(folder), text=TEXT)
        by_object = hs.profile(model, tokenizer=load("demo").tokenizer, text=TEXT)
        assert by_folder.moments().equals(by_object.moments())
        identity = by_folder.manifest["model"]
        assert identity["source"] == "folder"
        assert len(identity["checkpoint_sha256"]) == 64

    def test_a_checkpoint_with_a_head_and_prefix_is_whole(self, tmp_path: Path) -> None:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(tiny.make("qwen3").config)
        folder = tiny.save(model, tmp_path / "qwen")
        assert type(load(str(folder)).model).__name__ == "Qwen3Model"

    def test_the_dtype_is_the_configs_unless_another_is_asked_for(self, tmp_path: Path) -> None:
        folder = str(tiny.save(tiny.make("gpt2").bfloat16(), tmp_path / "half"))
        assert load(folder).model.dtype == torch.bfloat16
        assert load(folder, dtype="float32").model.dtype == torch.float32

    def test_other_shapes_than_the_config_says_are_refused(self, tmp_path: Path) -> None:
        folder = tiny.save(tiny.make("gpt2"), tmp_path / "model")
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"n_positions": 64', '"n_positions": 32'))
        with pytest.raises(ModelError, match="wpe"):
            load(str(folder))

    @pytest.mark.parametrize(
        ("file", "old", "new", "match"),
        [
            ("config.json", '"n_layer": 3', '"n_layer": "three"', "cannot load the model"),
            ("config.json", '"dtype": "float32"', '"dtype": "float99"', "cannot load the model"),
            ("model.safetensors", None, "junk", "cannot load the model"),
            ("tokenizer.json", None, EMPTY_TOKENIZER, "without a vocabulary"),
        ],
    )
    def test_broken_files_are_named(
        self, tmp_path: Path, file: str, old: str | None, new: str, match: str
    ) -> None:
        folder = tiny.save(tiny.make("gpt2"), tmp_path / "model")
        path = folder / file
        path.write_text(new if old is None else path.read_text().replace(old, new))
        with pytest.raises(ModelError, match=match):
            load(str(folder))

    def test_a_tokenizer_of_another_model_is_an_error(self) -> None:
        model = tiny.make("gpt2", vocab_size=64)
        with pytest.raises(InputError, match="do not belong together"):
            hs.profile(model, tokenizer=load("demo").tokenizer, text=TEXT)

    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("some text " * 40, "--text"),
            ("sample:article", "hiddenscope profile demo sample:article"),
            ("{folder}", "if it holds texts"),
        ],
    )
    def test_what_is_no_model_gets_a_hint(self, tmp_path: Path, name: str, match: str) -> None:
        with pytest.raises(ModelError, match=match):
            load(name.format(folder=tmp_path))

    def test_a_device_that_holds_no_values_is_refused(self) -> None:
        with pytest.raises(ModelError, match="meta"):
            load("demo", device="meta")

    def test_another_tokenizer_leaves_the_models_identity(self) -> None:
        p = hs.profile("demo", text=TEXT, tokenizer=load("demo").tokenizer)
        assert p.manifest["model"]["source"] == "embedded"

    def test_what_is_not_a_transformers_model_is_refused(self) -> None:
        with pytest.raises(ModelError, match="from_states"):
            hs.profile(torch.nn.Linear(2, 2), text=TEXT)

    def test_a_position_table_with_a_padding_row_holds_fewer_positions(self) -> None:
        model = tiny.make("gpt2")
        model.position_embeddings = torch.nn.Embedding(64, 4, padding_idx=1)
        assert context_length(model, None) == 62
