"""Loading by name and taking over loaded models: strict about files, memory, code and wrappers."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import families
import pytest
import tiny
import torch
from conftest import TEXT
from huggingface_hub.errors import RevisionNotFoundError
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM, GPT2Model, PreTrainedModel

import hiddenscope as hs
from hiddenscope.errors import HiddenscopeWarning, InputError, ModelError
from hiddenscope.models import adopt, context_length, describe, hub, load, loading, memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hiddenscope.models import LoadedModel

IDS = torch.arange(24).reshape(2, 12)
EMPTY_TOKENIZER = (
    '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}'
)
# torchao and torch's compiler warn at import about their own dependencies.
FOREIGN = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def states(model: Any, ids: torch.Tensor = IDS) -> tuple[torch.Tensor, ...]:
    """Run a model and return Hugging Face's own tuple of hidden states."""
    with torch.no_grad():
        output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    return tuple(output.hidden_states)


def same(a: Any, b: Any) -> bool:
    """Whether two models have the same hidden states, bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(states(a), states(b), strict=True))


def edit(folder: Path, **changes: object) -> Path:
    """Change a saved model's configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


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


class TestRevisions:
    """A cache as the hub's client writes it: two commits of one repository."""

    NAME = "someone/tiny"
    COMMITS: ClassVar[dict[str, str]] = {"main": "a" * 40, "v1": "b" * 40}

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, PreTrainedModel]:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        root = tmp_path / "models--someone--tiny"
        models = {}
        (root / "refs").mkdir(parents=True)
        for name, commit in self.COMMITS.items():
            models[name] = model = tiny.make("gpt2")
            model.h[0].mlp.c_fc.bias.data += len(models)
            tiny.save(model, root / "snapshots" / commit)
            (root / "refs" / name).write_text(commit)
        return models

    @pytest.mark.parametrize(
        ("asked", "given"), [(None, "main"), ("v1", "v1"), ("main", "main"), ("b" * 40, "v1")]
    )
    def test_the_revision_asked_for_is_loaded(
        self, cache: dict[str, PreTrainedModel], asked: str | None, given: str
    ) -> None:
        loaded = load(self.NAME, revision=asked)
        assert same(loaded.model, cache[given])
        assert loaded.identity["revision"] == self.COMMITS[given]
        assert loaded.identity["requested_revision"] == asked
        assert loaded.identity["source"] == "hub"
        assert len(loaded.identity["checkpoint_sha256"]) == 64

    def test_all_files_come_from_the_commit_that_the_hub_names(
        self, cache: dict[str, PreTrainedModel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def answer(url: str) -> SimpleNamespace:
            asked.append(url)
            # The tag has been moved since it was cached.
            return SimpleNamespace(commit_hash=self.COMMITS["main"])

        monkeypatch.setattr(hub, "get_hf_file_metadata", answer)
        loaded = load(self.NAME, revision="v1")
        assert same(loaded.model, cache["main"])
        assert loaded.identity["revision"] == self.COMMITS["main"]
        assert [url.split(self.NAME)[1] for url in asked] == ["/resolve/v1/config.json"]

    def test_one_that_the_hub_does_not_have_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def answer(_: str) -> None:
            response: Any = SimpleNamespace(headers={}, request=None)
            raise RevisionNotFoundError("404", response=response)

        monkeypatch.setattr(hub, "get_hf_file_metadata", answer)
        with pytest.raises(ModelError, match="'someone/tiny' has no revision 'v9'"):
            load(self.NAME, revision="v9")

    def test_one_that_is_not_cached_is_named_where_there_is_no_hub(self) -> None:
        with pytest.raises(ModelError, match="'someone/tiny' at revision 'v9'"):
            load(self.NAME, revision="v9")

    @pytest.mark.parametrize("name", ["demo", "{folder}"])
    def test_a_folder_has_none(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ModelError, match="no revisions"):
            load(name.format(folder=tmp_path), revision="v1")


class TestDevices:
    def test_auto_is_the_first_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert load("demo", device="auto").model.device.type == "cpu"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.tensor(device == "cuda"))
        assert loading._device("auto", None) == "cuda"

    @pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
    def test_a_map_gives_the_states_of_the_plain_load(
        self, tmp_path: Path, device_map: str | dict[str, str]
    ) -> None:
        folder = str(tiny.save(tiny.make("llama"), tmp_path / "llama"))
        spread = load(folder, device_map=device_map)
        for a, b in zip(states(spread.model), states(load(folder).model), strict=True):
            torch.testing.assert_close(a.cpu(), b)
        assert describe(spread)["device"] == str(spread.model.device)

    def test_a_map_may_leave_weights_on_the_disk(self, tmp_path: Path) -> None:
        folder = str(tiny.save(tiny.make("llama"), tmp_path / "llama"))
        places = dict.fromkeys(("embed_tokens", "layers.0", "layers.2", "norm"), "cpu")
        spread = load(folder, device_map=places | {"rotary_emb": "cpu", "layers.1": "disk"})
        assert describe(spread)["device"] == "cpu, offloaded"
        assert same(spread.model, load(folder).model)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"device_map": "everywhere"}, "unknown device_map 'everywhere'.*balanced"),
            ({"device_map": "auto", "device": "cuda"}, "choose one"),
        ],
    )
    def test_a_map_that_says_nothing_is_refused(self, options: dict[str, Any], match: str) -> None:
        with pytest.raises(ModelError, match=match):
            load("demo", **options)

    def test_without_accelerate_the_command_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "is_accelerate_available", lambda: False)
        with pytest.raises(ModelError, match=r"pip install 'hiddenscope\[accelerate\]'"):
            load("demo", device_map="auto")


class TestQuantised:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        plain = tiny.save(tiny.make("llama"), tmp_path / "plain")
        settings = TorchAoConfig(Int8WeightOnlyConfig())
        model = AutoModel.from_pretrained(plain, quantization_config=settings)
        return tiny.save(model, tmp_path / "int8")

    @FOREIGN
    @pytest.mark.parametrize("accelerate", [True, False])
    def test_int8_weights_load_and_run(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, accelerate: bool
    ) -> None:
        monkeypatch.setattr(loading, "is_accelerate_available", lambda: accelerate)
        loaded = load(str(folder))
        assert type(loaded.model.layers[0].mlp.up_proj.weight).__name__ == "Int8Tensor"
        assert loaded.identity["quantisation"] == "torchao"
        assert adopt(loaded.model, None).identity["quantisation"] == "torchao"
        assert describe(loaded)["parameters"] > 1e5
        plain = load(str(folder.parent / "plain")).model
        assert not same(loaded.model, plain)
        # Eight bits: single values may be off by more, the whole is not.
        for rounded, exact in zip(states(loaded.model), states(plain), strict=True):
            assert (rounded - exact).norm() < 0.05 * exact.norm()

    @FOREIGN
    def test_memory_is_needed_for_the_weights_as_stored(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = memory.stored_in(folder)
        assert stored is not None
        size = memory.loaded_bytes(stored, None)
        assert size < memory.loaded_bytes(memory.stored_in(folder.parent / "plain") or [], None)
        monkeypatch.setattr(memory, "available", lambda _: size - 1)
        with pytest.raises(ModelError, match=r"need 0\.00 GiB, but cpu"):
            load(str(folder), dtype="bfloat16")

    @FOREIGN
    def test_a_missing_weight_is_refused_here_too(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        with safe_open(path, framework="pt") as file:
            kept = {k: file.get_tensor(k) for k in file.keys() if k != "norm.weight"}  # noqa: SIM118
            metadata = file.metadata()
        save_file(kept, path, metadata)
        with pytest.raises(ModelError, match=r"lacks weights .*norm\.weight"):
            load(str(folder))

    @pytest.mark.parametrize(
        ("settings", "match"),
        [
            ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "pip install.*bitsandbytes"),
            ({"load_in_4bit": True}, "quantised with bitsandbytes.*pip install.*bitsandbytes"),
            ({"quant_method": "gptq", "bits": 4}, "quantised with gptq.*pip install optimum"),
            ({"quant_method": "magic"}, "'magic', which transformers does not know"),
        ],
    )
    def test_a_backend_that_is_missing_is_named(
        self, tmp_path: Path, settings: dict[str, object], match: str
    ) -> None:
        folder = tiny.save(tiny.make("llama"), tmp_path / "model")
        with pytest.raises(ModelError, match=match):
            load(str(edit(folder, quantization_config=settings)))

    def test_weights_that_are_integers_are_described(self) -> None:
        model = tiny.make("llama")
        weight = model.layers[0].mlp.up_proj
        weight.weight = torch.nn.Parameter(weight.weight.to(torch.int8), requires_grad=False)
        assert describe(adopt(model, None))["weight_dtype"] == "float32, int8"


CODE = """
from pathlib import Path
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

Path({marker!r}).touch()

class OddConfig(GPT2Config):
    model_type = "odd"

class OddModel(GPT2Model):
    config_class = OddConfig

class OddForCausalLM(GPT2LMHeadModel):
    config_class = OddConfig
"""


class TestForeignCode:
    @pytest.fixture(params=["AutoModel", "AutoModelForCausalLM"])
    def folder(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Path]:
        cache = str(tmp_path / "modules")
        monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", cache)
        known, path = set(sys.modules), list(sys.path)
        model = tiny.make("gpt2")
        if request.param == "AutoModelForCausalLM":
            whole = AutoModelForCausalLM.from_config(model.config)
            whole.transformer.load_state_dict(model.state_dict())
            model = whole
        folder = tiny.save(model, tmp_path / f"odd_{request.param.lower()}")
        marker = str(tmp_path / "was_run")
        (folder / "modeling_odd.py").write_text(CODE.format(marker=marker))
        kind = request.param.replace("Auto", "Odd").replace("OddModelFor", "OddFor")
        auto = {"AutoConfig": "modeling_odd.OddConfig", request.param: f"modeling_odd.{kind}"}
        yield edit(folder, model_type="odd", auto_map=auto)
        sys.path[:] = path
        for name in set(sys.modules) - known:
            if name.startswith("transformers_modules"):
                del sys.modules[name]

    def test_it_is_not_run_unless_asked_for(self, folder: Path) -> None:
        with pytest.raises(ModelError, match="--trust-remote-code"):
            load(str(folder))
        assert not (folder.parent / "was_run").exists()

    def test_it_is_run_with_a_warning(self, folder: Path) -> None:
        with pytest.warns(HiddenscopeWarning, match="code from .*is run"):
            loaded = load(str(folder), trust_remote_code=True)
        assert (folder.parent / "was_run").exists()
        assert loaded.identity["code_from"] == [str(folder)]
        assert loaded.model.config.model_type == "odd"
        assert isinstance(loaded.model, GPT2Model)
        assert same(loaded.model, tiny.make("gpt2"))

    def test_a_model_without_any_needs_no_warning(self) -> None:
        assert load("demo", trust_remote_code=True).identity["code_from"] == []


class TestMemory:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tiny.save(tiny.make("llama").bfloat16(), tmp_path / "model")

    @pytest.mark.parametrize(
        ("dtype", "size"), [(None, 2), ("bfloat16", 2), ("float16", 2), ("float32", 4)]
    )
    def test_too_little_is_said_before_loading(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str | None, size: int
    ) -> None:
        needed = sum(p.numel() for p in tiny.make("llama").parameters()) * size
        monkeypatch.setattr(memory, "available", lambda _: needed)
        load(str(folder), dtype=dtype)
        monkeypatch.setattr(memory, "available", lambda _: needed - 1)
        monkeypatch.setattr(AutoModel, "from_pretrained", None)
        name = dtype or "bfloat16"
        with pytest.raises(ModelError, match=rf"0\.00 GiB in {name}, but cpu has .*device_map"):
            load(str(folder), dtype=dtype)

    def test_shards_count_once_and_a_head_not_at_all(self, tmp_path: Path) -> None:
        config = tiny.make("llama", tie_word_embeddings=False).config
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(tmp_path, max_shard_size="300KB")
        shards = sorted(tmp_path.glob("*.safetensors"))
        assert len(shards) > 2
        shutil.copy(shards[0], tmp_path / "consolidated.safetensors")
        stored = memory.stored_in(tmp_path)
        assert stored is not None
        expected = sum(p.numel() for p in model.model.parameters()) * 4
        assert memory.loaded_bytes(stored, None) == expected

    def test_integers_keep_their_size(self) -> None:
        stored = [
            memory.Stored("a", "I8", 10),
            memory.Stored("b", "BOOL", 10),
            memory.Stored("c", "F8_E4M3", 10),
            memory.Stored("d", "BF16", 10),
        ]
        assert memory.loaded_bytes(stored, None) == 50
        assert memory.loaded_bytes(stored, torch.float32) == 70

    def test_the_hubs_headers_are_asked_where_no_file_is_here(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tensor = SimpleNamespace(dtype="F32", parameter_count=10)
        held = {"model.safetensors": SimpleNamespace(tensors={"wte.weight": tensor})}
        metadata = SimpleNamespace(files_metadata=held)
        asked = []

        def answer(name: str, *, revision: str | None) -> SimpleNamespace:
            asked.append((name, revision))
            return metadata

        monkeypatch.setattr(memory, "get_safetensors_metadata", answer)
        assert memory.stored_on_hub("a/b", "v1") == [memory.Stored("wte.weight", "F32", 10)]
        assert asked == [("a/b", "v1")]

    def test_not_knowing_is_no_reason_to_refuse(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert memory.stored_on_hub("someone/offline", None) is None
        assert memory.stored_in(folder / "nowhere") is None
        assert memory.available(torch.device("meta")) is None
        monkeypatch.setattr(memory, "available", lambda _: None)
        load(str(folder))

    def test_a_model_that_is_spread_is_not_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "available", lambda _: 0)
        load(str(folder), device_map={"": "cpu"})

    def test_what_a_host_and_a_gpu_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        here = memory.available(torch.device("cpu"))
        assert here is not None
        assert 1 << 20 < here < 1 << 50
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 5000))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 300)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 100)
        assert memory.available(torch.device("cuda:1")) == 1200

        def absent(*_: object, **__: object) -> str:
            raise FileNotFoundError

        monkeypatch.setattr(Path, "read_text", absent)
        whole = memory.available(torch.device("cpu"))
        assert whole is not None
        assert whole >= here


@FOREIGN
class TestAdapters:
    @staticmethod
    def lora(*, headed: bool) -> tuple[Any, PreTrainedModel]:
        """Return a model with LoRA layers that do something, and the plain model."""
        import peft

        plain = tiny.make("llama")
        whole: PreTrainedModel = tiny.make("llama")
        if headed:
            head = AutoModelForCausalLM.from_config(plain.config).eval()
            head.model.load_state_dict(plain.state_dict())
            whole = head
        config = peft.LoraConfig(
            r=4,
            target_modules=["q_proj", "down_proj"],
            task_type="CAUSAL_LM" if headed else "FEATURE_EXTRACTION",
        )
        adapted = peft.get_peft_model(whole, config, adapter_name="mine").eval()
        torch.manual_seed(1)
        with torch.no_grad():
            for path, parameter in adapted.named_parameters():
                if "lora_B" in path:
                    parameter.normal_()
        return adapted, plain

    @pytest.mark.parametrize("headed", [True, False])
    def test_the_states_are_those_of_the_adapted_model(self, *, headed: bool) -> None:
        adapted, plain = self.lora(headed=headed)
        loaded = adopt(adapted, None)
        assert type(loaded.model).__name__ == "LlamaModel"
        assert same(loaded.model, adapted)
        assert not same(loaded.model, plain)
        assert loaded.identity["adapters"] == loaded.identity["active_adapters"] == ["mine"]

    def test_a_profile_measures_it(self, demo: LoadedModel) -> None:
        adapted, plain = self.lora(headed=True)
        made = hs.profile(adapted, tokenizer=demo.tokenizer, text=TEXT)
        other = hs.profile(plain, tokenizer=demo.tokenizer, text=TEXT)
        assert not made.moments().equals(other.moments())
        ids = torch.tensor([demo.tokenizer(TEXT)["input_ids"]])
        expected = states(adapted, ids)[2].flatten(0, 1).amax(0).tolist()
        assert made.channels("block.1.resid_post", "all")["max"].to_list() == expected
        assert made.manifest["model"]["active_adapters"] == ["mine"]

    def test_one_that_is_switched_off_is_noted(self) -> None:
        adapted, plain = self.lora(headed=True)
        with adapted.disable_adapter():
            loaded = adopt(adapted, None)
            assert same(loaded.model, plain)
        assert loaded.identity["adapters"] == ["mine"]
        assert loaded.identity["active_adapters"] == []

    def test_transformers_own_adapters_are_noted(self) -> None:
        import peft

        model = tiny.make("llama")
        model.add_adapter(peft.LoraConfig(target_modules=["q_proj"]), adapter_name="own")
        assert adopt(model, None).identity["active_adapters"] == ["own"]
        assert adopt(tiny.make("llama"), None).identity["adapters"] == []

    @pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
    def test_virtual_tokens_are_refused(self, kind: str) -> None:
        import peft

        whole = AutoModelForCausalLM.from_config(tiny.make("llama").config)
        config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4)
        with pytest.raises(ModelError, match=r"'default' \(P.*virtual tokens"):
            adopt(peft.get_peft_model(whole, config), None)

    @pytest.mark.parametrize(
        ("kind", "options"),
        [("PolyConfig", {}), ("LoraConfig", {"alora_invocation_tokens": [1, 2]})],
    )
    def test_what_is_steered_from_outside_is_refused(
        self, kind: str, options: dict[str, Any]
    ) -> None:
        import peft

        whole = AutoModelForCausalLM.from_config(tiny.make("llama").config)
        config = getattr(peft, kind)(task_type="CAUSAL_LM", target_modules=["q_proj"], **options)
        with pytest.raises(ModelError, match="steered from outside"):
            adopt(peft.get_peft_model(whole, config), None)

    def test_an_adapters_folder_is_told_from_a_models(self, tmp_path: Path) -> None:
        adapted, plain = self.lora(headed=False)
        adapted.save_pretrained(tmp_path)
        folder = tmp_path / "mine"
        with pytest.raises(ModelError, match=r"holds an adapter: .*peft"):
            load(str(folder))
        # With the base model beside it, transformers would load both and check neither.
        tiny.save(plain, folder)
        with pytest.raises(ModelError, match=r"holds an adapter: .*peft"):
            load(str(folder))


class TestWrappers:
    def test_a_compiled_model_is_measured_as_it_was(self) -> None:
        model = tiny.make("gpt2")
        loaded = adopt(torch.compile(model), None)
        assert loaded.model is model
        assert loaded.identity["compiled"] is True
        assert adopt(model, None).identity["compiled"] is False

    def test_what_is_compiled_in_place_hides_its_states(self) -> None:
        whole = AutoModelForCausalLM.from_config(tiny.make("gpt2").config)
        whole.compile()
        assert adopt(whole, None).identity["compiled"] is True
        whole.transformer.h[1].compile()
        with pytest.raises(ModelError, match=r"GPT2Model\.h\.1 is compiled in place"):
            adopt(whole, None)

    def test_copies_for_several_devices_are_one_model(self) -> None:
        model = tiny.make("gpt2")
        assert adopt(torch.nn.DataParallel(torch.compile(model)), None).model is model

    @pytest.fixture
    def group(self, tmp_path: Path) -> Iterator[None]:
        import torch.distributed as dist

        method = f"file://{tmp_path / 'group'}"
        dist.init_process_group("gloo", init_method=method, rank=0, world_size=1)
        yield
        dist.destroy_process_group()

    @pytest.mark.usefixtures("group")
    def test_data_parallel_training_holds_the_whole_model(self) -> None:
        model = tiny.make("gpt2")
        assert adopt(torch.nn.parallel.DistributedDataParallel(model), None).model is model

    @FOREIGN
    @pytest.mark.usefixtures("group")
    def test_sharded_weights_are_refused(self) -> None:
        from torch.distributed import fsdp

        model = tiny.make("gpt2")
        fsdp.fully_shard(model.h[1])
        with pytest.raises(ModelError, match=r"GPT2Model\.h\.1 is sharded by FSDP"):
            adopt(model, None)
        whole = fsdp.FullyShardedDataParallel(
            tiny.make("gpt2"),
            device_id=torch.device("cpu"),
            sharding_strategy=fsdp.ShardingStrategy.NO_SHARD,
        )
        with pytest.raises(ModelError, match="FullyShardedDataParallel is sharded by FSDP"):
            adopt(whole, None)


class TestContext:
    """Each of these families fails beyond its positions, at a length of its own."""

    LEARNED: ClassVar[dict[str, int]] = {
        **dict.fromkeys(["gpt2", "gptj", "codegen", "gpt_bigcode", "openai-gpt", "ctrl"], 64),
        **dict.fromkeys(["gpt_neo", "opt", "opt-projected", "mpt", "biogpt"], 64),
        **dict.fromkeys(["bert", "electra", "albert", "distilbert", "deberta"], 64),
        **dict.fromkeys(["roformer", "nystromformer", "xlm"], 64),
        **dict.fromkeys(["bart", "mbart", "pegasus", "marian", "led"], 64),
        # Positions start behind the padding index: 0 here, and 1 for MPNet.
        **dict.fromkeys(["roberta", "camembert", "ibert", "longformer", "esm", "luke"], 63),
        **{"mpnet": 62, "prophetnet": 62},
    }

    @pytest.mark.parametrize(("kind", "limit"), LEARNED.items())
    def test_the_longest_window_runs_and_a_longer_one_does_not(self, kind: str, limit: int) -> None:
        model = families.make(kind)
        assert context_length(model, None) == limit

        def run(length: int) -> None:
            ids = torch.full((1, length), 7)
            decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
            with torch.no_grad():
                model(input_ids=ids, attention_mask=torch.ones_like(ids), **decoder)

        run(limit)
        with pytest.raises((IndexError, RuntimeError)):
            run(limit + 1)

    @pytest.mark.parametrize("kind", ["bloom", "mamba", "t5", "xlnet"])
    def test_what_has_no_positions_has_no_limit(self, kind: str, demo: LoadedModel) -> None:
        model = families.make(kind)
        assert context_length(model, None) is None
        assert context_length(model, demo.tokenizer) == 256

    @pytest.mark.parametrize("kind", ["llama", "xglm", "rwkv", "dbrx"])
    def test_what_is_declared_holds_without_a_table(self, kind: str) -> None:
        assert context_length(families.make(kind), None) == 64

    def test_a_configuration_inside_another_counts(self) -> None:
        config = tiny.make("llama").config
        outer = SimpleNamespace(get_text_config=lambda: config, max_position_embeddings=9)
        model = SimpleNamespace(config=outer, named_modules=list)
        assert context_length(model, None) == 64  # type: ignore[arg-type]

    def test_a_table_is_read_where_nothing_is_declared(self) -> None:
        model = families.make("opt")
        bare = SimpleNamespace(model_type="mine")
        model.config = SimpleNamespace(get_text_config=lambda: bare)
        assert context_length(model, None) == 64

    @pytest.mark.parametrize("kind", ["gpt2", "roberta"])
    def test_a_profile_refuses_a_longer_window(self, kind: str, demo: LoadedModel) -> None:
        model = families.make(kind, vocab_size=4096)
        limit = self.LEARNED[kind]
        run = {"tokenizer": demo.tokenizer, "text": TEXT * 3}
        with pytest.raises(InputError, match=f"longer than the model's context of {limit}"):
            hs.profile(model, window=limit + 1, **run)
        assert hs.profile(model, window=limit, **run).manifest["model"]["name"]
