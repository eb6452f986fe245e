"""Finding blocks in real architectures, loading strictly, and checks that can fail."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import tiny
import torch
from conftest import TEXT

import hiddenscope as hs
from hiddenscope.capture import verify
from hiddenscope.errors import HiddenscopeWarning, ModelError
from hiddenscope.models import context_length, inspect, load

if TYPE_CHECKING:
    from pathlib import Path

    from hiddenscope.models import LoadedModel

IDS = torch.arange(24).reshape(2, 12)


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
        output = model(input_ids=IDS, output_hidden_states=True)
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
    mask = torch.ones_like(IDS)
    assert all(check.passed for check in verify(model, structure, IDS, mask))

    def failed(**changed: object) -> set[str]:
        planted = dataclasses.replace(structure, **changed)
        return {c.name for c in verify(model, planted, IDS, mask) if not c.passed}

    swapped = (structure.blocks[1], structure.blocks[0], structure.blocks[2])
    assert {"residual stream", "hidden_states"} <= failed(blocks=swapped)
    last_but_one = (*structure.blocks[:2], structure.blocks[1])
    assert "final norm" in failed(blocks=last_but_one)
    if structure.final_norm is not None:
        assert "final norm" in failed(final_norm=None)


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

    def test_what_is_not_a_transformers_model_is_refused(self) -> None:
        with pytest.raises(ModelError, match="from_states"):
            hs.profile(torch.nn.Linear(2, 2), text=TEXT)

    def test_a_position_table_with_a_padding_row_holds_fewer_positions(self) -> None:
        model = tiny.make("gpt2")
        model.position_embeddings = torch.nn.Embedding(64, 4, padding_idx=1)
        assert context_length(model, None) == 62
