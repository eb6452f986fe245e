"""GGUF files as models: the states of the model they were written from, or a clear refusal."""

from __future__ import annotations

import hashlib
import shutil
import struct
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gguf
import gguf_files
import numpy as np
import pytest
import tiny
import torch
from conftest import TEXT
from test_loading import same

import hiddenscope as hs
from hiddenscope.cli import main
from hiddenscope.errors import HiddenscopeWarning, ModelError
from hiddenscope.models import describe, gguf_checks, gguf_header, load, memory

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

# torchao and torch's compiler warn at import about their own dependencies.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch.*", "ignore::FutureWarning:torch.*"
)


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return gguf_files.make("llama")


@pytest.fixture(scope="module")
def weights(llama: PreTrainedModel) -> dict[str, np.ndarray]:
    return gguf_files.tensors(llama)


@pytest.fixture(scope="module")
def whole(
    llama: PreTrainedModel, weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file with all its weights in float32; tests must leave it as it is."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return gguf_files.write(path, weights, llama.config)


class TestLoading:
    def test_its_states_are_those_of_the_model_it_was_written_from(
        self, whole: Path, llama: PreTrainedModel
    ) -> None:
        loaded = load(str(whole))
        assert same(loaded.model, llama)
        assert type(loaded.model).__name__ == "LlamaModel"
        assert not loaded.model.training
        assert loaded.name == "tiny"

    def test_its_tokenizer_is_in_the_file(self, whole: Path) -> None:
        original, rebuilt = gguf_files.tokenizer(), load(str(whole)).tokenizer
        assert rebuilt is not None
        for text in (TEXT, "  1812\n\n  and 12 apples<|endoftext|> é"):
            assert rebuilt(text)["input_ids"] == original(text)["input_ids"]

    @pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "BF16"])
    @pytest.mark.parametrize("dtype", [None, "bfloat16"])
    def test_weights_are_dequantised(
        self,
        tmp_path: Path,
        llama: PreTrainedModel,
        weights: dict[str, np.ndarray],
        kind: str,
        dtype: str | None,
    ) -> None:
        path = gguf_files.write(tmp_path / "q.gguf", weights, llama.config, kind=kind)
        model = load(str(path), dtype=dtype).model
        block = gguf.GGMLQuantizationType[kind]
        stored = gguf.quantize(weights["blk.1.ffn_down.weight"], block)
        expected = torch.from_numpy(gguf.dequantize(stored, block))
        held = model.layers[1].mlp.down_proj.weight
        assert held.dtype == (torch.bfloat16 if dtype else torch.float32)
        assert torch.equal(held, expected.to(held.dtype))
        assert not torch.equal(held.float(), llama.layers[1].mlp.down_proj.weight)

    def test_kernels_for_packed_layers_are_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the package kernels, transformers leaves layers of some architectures packed."""
        from transformers import AutoModelForCausalLM
        from transformers.quantizers import quantizer_gguf

        kernel = SimpleNamespace(supports=lambda _: True)
        monkeypatch.setattr(quantizer_gguf, "get_gguf_kernel", lambda: kernel)
        path = lfm2(tmp_path / "lfm2.gguf")
        packed = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=str(path))
        with pytest.raises(ModelError, match=r"w1\.weight.* would stay packed"):
            gguf_checks.check_dense("x", packed)
        model = load(str(path)).model
        assert {type(m).__name__ for m in model.modules() if "Gguf" in type(m).__name__} == set()
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    def test_what_lies_beside_it_or_in_the_current_folder_is_not_read(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        llama: PreTrainedModel,
        weights: dict[str, np.ndarray],
        whole: Path,
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir()
        there.mkdir()
        other = weights | {"blk.0.ffn_up.weight": weights["blk.0.ffn_up.weight"] + 1}
        gguf_files.write(here / "tiny.gguf", other, llama.config)
        shutil.copy(whole, there)
        (there / "tokenizer_config.json").write_text('{"eos_token": "the"}')
        (there / "adapter_config.json").write_text("{}")
        monkeypatch.chdir(here)
        loaded = load("../there/tiny.gguf")
        assert same(loaded.model, llama)
        assert loaded.tokenizer is not None
        assert loaded.tokenizer.eos_token == "<|endoftext|>"
        assert not same(load("tiny.gguf").model, llama)

    def test_a_name_without_suffix_is_known_by_its_first_bytes(
        self, tmp_path: Path, whole: Path, llama: PreTrainedModel
    ) -> None:
        blob = tmp_path / "sha256-0123"
        shutil.copy(whole, blob)
        assert same(load(str(blob)).model, llama)

    def test_the_manifest_says_what_was_loaded(self, whole: Path) -> None:
        described = describe(load(str(whole)))
        expected = {
            "id": str(whole),
            "source": "gguf",
            "file": "tiny.gguf",
            "checkpoint_sha256": hashlib.sha256(whole.read_bytes()).hexdigest(),
            "quantisation": "F32",
            "weight_dtype": "float32",
            "tokenizer_pre": "gpt-2",
            "tokenizer_known": True,
            "left_out": [],
        }
        assert expected.items() <= described.items()

    @pytest.mark.parametrize(
        ("file_type", "named"), [(3, "Q4_1"), (15, "Q4_K_M"), (1024, "Q8_0"), (None, "Q8_0")]
    )
    def test_the_quantisation_is_what_the_file_says_or_what_most_weights_have(
        self,
        tmp_path: Path,
        llama: PreTrainedModel,
        weights: dict[str, np.ndarray],
        file_type: int | None,
        named: str,
    ) -> None:
        path = gguf_files.write(
            tmp_path / "q.gguf", weights, llama.config, kind="Q8_0", general__file_type=file_type
        )
        assert gguf_header.read_header(path).quantisation == named

    def test_memory_is_needed_for_the_weights_as_they_run(
        self, whole: Path, llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        needed = sum(p.numel() for p in llama.parameters()) * 4
        monkeypatch.setattr(memory, "available", lambda _: needed)
        load(str(whole))
        monkeypatch.setattr(memory, "available", lambda _: needed - 1)
        with pytest.raises(ModelError, match=r"need 0\.00 GiB in float32, but cpu has"):
            load(str(whole))
        load(str(whole), dtype="bfloat16")


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"", "is no GGUF file: it is empty"),
            (b"GG", "begins with b'GG', expected b'GGUF'"),
            (b"version https://git-lfs.github.com/spec/v1", "no GGUF file: it begins with b'vers'"),
            (b"GGUF\x03\x00", "is truncated: it has 6 bytes"),
            (b"GGUF\x03\x00\x00\x00abc", "its header does not end in its 11 bytes"),
            (struct.pack("<4sIQQ", b"GGUF", 1, 1, 1), "of GGUF version 1, expected 2 or 3"),
            (struct.pack(">4sIQQ", b"GGUF", 3, 1, 1), "is big-endian.*gguf-convert-endian"),
            (struct.pack("<4sIQQ", b"GGUF", 3, 0, 0), "holds no weights"),
            (
                struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1 << 63),
                "its header does not end in its 32",
            ),
            (
                struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"k", 77),
                "damaged: a value of kind 77",
            ),
            (
                struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 9, 1),
                "damaged: an array of values of kind 9",
            ),
            (
                struct.pack("<4sIQQQ1sIQIQ", b"GGUF", 3, 1, 0, 1, b"t", 1, 32, 99, 0),
                "the tensor 't' in the format 99.*pip install -U gguf",
            ),
            (
                struct.pack("<4sIQQQ1sI", b"GGUF", 3, 1, 0, 1, b"t", 0xFFFFFFFF),
                "its header does not end in its 37 bytes",
            ),
        ],
    )
    def test_what_is_no_whole_file_is_named(
        self, tmp_path: Path, content: bytes, match: str
    ) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=match):
            load(str(path))

    @pytest.mark.parametrize("missing", [1, 1000, 100_000])
    def test_a_truncated_file_says_how_much_is_there(
        self, tmp_path: Path, whole: Path, missing: int
    ) -> None:
        content = whole.read_bytes()
        path = tmp_path / "cut.gguf"
        path.write_bytes(content[:-missing])
        size = len(content)
        with pytest.raises(ModelError, match=f"truncated: {size - missing:,} of {size:,} bytes"):
            load(str(path))

    def test_a_file_is_whole_without_the_padding_at_its_end(
        self, tmp_path: Path, llama: PreTrainedModel, weights: dict[str, np.ndarray]
    ) -> None:
        last = {"rope_freqs.weight": np.ones(4, np.float32)}
        path = gguf_files.write(tmp_path / "padded.gguf", weights | last, llama.config)
        content = path.read_bytes()
        assert content.endswith(bytes(16))
        path.write_bytes(content[:-16])
        assert same(load(str(path)).model, llama)

    @pytest.mark.parametrize("end", [8, 100, 5000])
    def test_one_cut_inside_its_header_is_truncated_too(
        self, tmp_path: Path, whole: Path, end: int
    ) -> None:
        path = tmp_path / "cut.gguf"
        path.write_bytes(whole.read_bytes()[:end])
        with pytest.raises(ModelError, match=f"truncated: its header does not end in its {end:,}"):
            load(str(path))

    @pytest.mark.parametrize(
        "lost", ["blk.1.ffn_down.weight", "output_norm.weight", "token_embd.weight"]
    )
    def test_a_missing_weight_is_never_random(
        self, tmp_path: Path, llama: PreTrainedModel, weights: dict[str, np.ndarray], lost: str
    ) -> None:
        kept = {k: v for k, v in weights.items() if k != lost}
        path = gguf_files.write(tmp_path / "lacks.gguf", kept, llama.config)
        with pytest.raises(ModelError, match="lacks weights that the model needs"):
            load(str(path))

    def test_half_of_the_experts_are_never_zeros(self, tmp_path: Path) -> None:
        """Transformers puts two tensors into one, and leaves zeros where one is missing."""
        # It does not read the width of an expert, and takes Qwen's.
        model = gguf_files.make("qwen3_moe", mlp_only_layers=[], moe_intermediate_size=768)
        weights = gguf_files.tensors(model, "qwen3moe")
        options: dict[str, Any] = {
            "architecture": "qwen3moe",
            "qwen3moe__expert_count": 4,
            "qwen3moe__expert_used_count": 2,
            "qwen3moe__attention__key_length": 8,
        }
        whole = gguf_files.write(tmp_path / "moe.gguf", weights, model.config, **options)
        loaded = load(str(whole))
        assert loaded.identity["left_out"] == []
        assert torch.equal(
            loaded.model.layers[1].mlp.experts.gate_up_proj,
            model.layers[1].mlp.experts.gate_up_proj,
        )
        del weights["blk.1.ffn_up_exps.weight"]
        half = gguf_files.write(tmp_path / "half.gguf", weights, model.config, **options)
        with pytest.raises(ModelError, match=r"lacks weights .*blk\.1\.ffn_up_exps"):
            load(str(half))

    def test_other_shapes_than_the_header_says_are_refused(
        self, tmp_path: Path, llama: PreTrainedModel, weights: dict[str, np.ndarray]
    ) -> None:
        changed = weights | {"blk.0.ffn_up.weight": np.ones((32, 32), np.float32)}
        path = gguf_files.write(tmp_path / "shapes.gguf", changed, llama.config)
        with pytest.raises(ModelError, match=r"has other shapes for .*up_proj"):
            load(str(path))

    @pytest.mark.parametrize(
        ("metadata", "match"),
        [
            (
                {"general__architecture": "rwkv7"},
                r"GGUF architecture 'rwkv7', which transformers .* cannot read: expected one of "
                r".*llama.*qwen2.*safetensors",
            ),
            ({"general__architecture": None}, "GGUF architecture ''"),
            ({"split__count": 3}, "one of 3 parts.*llama-gguf-split --merge"),
            ({"llama__block_count": None}, r"header of .* lacks llama\.block_count: convert"),
            ({"llama__embedding_length": None}, r"lacks llama\.embedding_length"),
            ({"tokenizer__ggml__tokens": None}, r"lacks tokenizer\.ggml\.tokens"),
            ({"tokenizer__ggml__model": "odd"}, "cannot load the model .*'odd'"),
            ({"general__alignment": "x"}, "damaged: an alignment of 'x'"),
        ],
    )
    def test_what_cannot_be_read_is_named(
        self,
        tmp_path: Path,
        llama: PreTrainedModel,
        weights: dict[str, np.ndarray],
        metadata: dict[str, Any],
        match: str,
    ) -> None:
        path = gguf_files.write(tmp_path / "model.gguf", weights, llama.config, **metadata)
        with pytest.raises(ModelError, match=match):
            load(str(path))

    @pytest.mark.parametrize("package", ["gguf", "accelerate"])
    def test_a_missing_package_gets_the_command(
        self, whole: Path, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        found = gguf_checks.find_spec
        monkeypatch.setattr(gguf_checks, "find_spec", lambda x: None if x == package else found(x))
        with pytest.raises(ModelError, match=rf"{package}: pip install 'hiddenscope\[gguf\]'"):
            load(str(whole))

    def test_a_transformers_without_the_option_gets_the_command(
        self, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gguf_checks, "transformers", SimpleNamespace(__version__="5.3.0"))
        with pytest.raises(ModelError, match=r"newer transformers: pip install 'hiddenscope\[gguf"):
            load(str(whole))

    def test_one_that_is_not_there_is_no_name_on_the_hub(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"there is no file .*nothing\.gguf"):
            load(str(tmp_path / "nothing.gguf"))

    def test_it_has_no_revisions(self, whole: Path) -> None:
        with pytest.raises(ModelError, match="no revisions"):
            load(str(whole), revision="main")


class TestFolders:
    def test_the_only_file_is_the_model(
        self, tmp_path: Path, whole: Path, llama: PreTrainedModel
    ) -> None:
        shutil.copy(whole, tmp_path / "Some-1B.Q4_1.gguf")
        (tmp_path / "config.json").write_text("{}")
        loaded = load(str(tmp_path))
        assert same(loaded.model, llama)
        assert loaded.name == "Some-1B.Q4_1"

    def test_of_several_one_must_be_named(self, tmp_path: Path, whole: Path) -> None:
        for name in ("b.gguf", "a.gguf", "c.gguf"):
            shutil.copy(whole, tmp_path / name)
        with pytest.raises(
            ModelError, match=r"3 GGUF files \(a\.gguf, b\.gguf, c\.gguf\): name one"
        ):
            load(str(tmp_path))

    def test_safetensors_come_first(self, tmp_path: Path, whole: Path) -> None:
        tiny.save(tiny.make("gpt2"), tmp_path)
        shutil.copy(whole, tmp_path / "a.gguf")
        shutil.copy(whole, tmp_path / "b.gguf")
        assert type(load(str(tmp_path)).model).__name__ == "GPT2Model"

    def test_the_demo_stays_the_demo(
        self, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "demo").mkdir()
        shutil.copy(whole, tmp_path / "demo")
        monkeypatch.chdir(tmp_path)
        assert load("demo").identity["source"] == "embedded"


class TestTokenizers:
    @pytest.fixture
    def write(self, tmp_path: Path, llama: PreTrainedModel, weights: dict[str, np.ndarray]) -> Any:
        return partial(gguf_files.write, tmp_path / "model.gguf", weights, llama.config)

    @pytest.fixture
    def pieces(self, write: Any) -> Any:
        def split(text: str, **metadata: Any) -> list[str]:
            tokenizer = load(str(write(**metadata))).tokenizer
            assert tokenizer is not None
            return list(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]))

        return split

    def test_smollm_splits_digits_from_all_else(self, pieces: Any) -> None:
        text = "in 1990"
        assert pieces(text) != pieces(text, tokenizer__ggml__pre="smollm")
        made = pieces(text, tokenizer__ggml__pre="smollm")
        assert made == ["in", "Ġ", "1", "9", "9", "0"]

    def test_qwen_composes_letters_and_accents(self, pieces: Any) -> None:
        apart, together = "the\u0301", "th\u00e9"
        assert pieces(apart) != pieces(together)
        made = pieces(apart, tokenizer__ggml__pre="qwen2")
        assert made == pieces(together, tokenizer__ggml__pre="qwen2")

    def test_llama_takes_whole_words_without_merges(self, pieces: Any) -> None:
        """A word that is in the vocabulary and that no merges lead to."""
        # The last word is what the last merge makes.
        words = [*gguf_files.WORDS[:-1], "zzqzz"]
        merges = [" ".join(pair) for pair in gguf_files.MERGES[:-1]]
        options = {"tokenizer__ggml__tokens": words, "tokenizer__ggml__merges": merges}
        assert pieces("zzqzz", **options) != ["zzqzz"]
        assert pieces("zzqzz", **options, tokenizer__ggml__pre="llama-bpe") == ["zzqzz"]

    @pytest.mark.parametrize(
        ("metadata", "known"),
        [
            ({}, True),
            ({"tokenizer__ggml__pre": "smollm"}, True),
            ({"tokenizer__ggml__pre": "poro-chat"}, False),
            ({"tokenizer__ggml__pre": None}, False),
        ],
    )
    def test_a_rule_that_is_not_known_is_a_warning(
        self,
        write: Any,
        recwarn: pytest.WarningsRecorder,
        metadata: dict[str, Any],
        *,
        known: bool,
    ) -> None:
        path = write(**metadata)
        made = hs.profile(str(path), text=TEXT)
        (check,) = [c for c in made.checks if c["name"] == "tokenizer"]
        assert check["passed"] == known
        assert check["level"] == "warning"
        warned = [w for w in recwarn if w.category is HiddenscopeWarning]
        assert len(warned) == (not known)
        assert made.manifest["model"]["tokenizer_known"] == known
        if not known:
            assert "may not be followed" in str(warned[0].message)
            # The original one is beyond doubt.
            again = hs.profile(str(path), text=TEXT, tokenizer=gguf_files.tokenizer())
            assert "tokenizer" not in {c["name"] for c in again.checks}

    def test_whether_a_bos_is_added_is_what_the_file_says(self, pieces: Any) -> None:
        assert pieces("the", tokenizer__ggml__add_bos_token=True) == ["<|endoftext|>", "the"]
        assert pieces("the", tokenizer__ggml__add_bos_token=False) == ["the"]


class TestWhatIsLeftOut:
    @pytest.mark.parametrize("extra", ["rope_freqs.weight", "blk.1.attn_q.bias"])
    def test_a_tensor_without_a_place_is_a_failed_check(
        self, tmp_path: Path, llama: PreTrainedModel, weights: dict[str, np.ndarray], extra: str
    ) -> None:
        more = weights | {
            extra: np.ones(32, np.float32),
            "output.weight": weights["token_embd.weight"],
        }
        path = gguf_files.write(tmp_path / "more.gguf", more, llama.config)
        with pytest.warns(
            HiddenscopeWarning, match=f"GGUF: {extra} of more.gguf could not be load"
        ):
            made = hs.profile(str(path), text=TEXT)
        (check,) = [c for c in made.checks if c["name"] == "GGUF"]
        assert (check["passed"], check["level"]) == (False, "check")
        assert made.manifest["model"]["left_out"] == [extra]

    def test_scaled_positions_that_are_not_scaled_are_one_too(
        self, tmp_path: Path, llama: PreTrainedModel, weights: dict[str, np.ndarray]
    ) -> None:
        options = {"llama__rope__scaling__type": "yarn"}
        path = gguf_files.write(tmp_path / "yarn.gguf", weights, llama.config, **options)
        assert load(str(path)).identity["left_out"] == ["llama.rope.scaling.type"]

    def test_of_a_newer_reader_as_well(self, tmp_path: Path) -> None:
        assert load(str(lfm2(tmp_path / "a.gguf"))).identity["left_out"] == []
        path = lfm2(tmp_path / "b.gguf", {"blk.0.odd.weight": np.ones(4, np.float32)})
        (left_out,) = load(str(path)).identity["left_out"]
        assert left_out.endswith("odd.weight")


class TestUse:
    def test_profile_and_sites_take_it(
        self,
        tmp_path: Path,
        whole: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        shutil.copy(whole, tmp_path / "tiny.gguf")
        arguments = ["profile", "tiny.gguf", "-t", TEXT, "--no-figures"]
        monkeypatch.setattr("sys.argv", ["hiddenscope", *arguments])
        main_ends_well()
        out, err = capfd.readouterr()
        assert "hiddenscope-runs/tiny-001/profile.nc" in out
        assert "de-quantizing" not in err
        made = hs.open(tmp_path / "hiddenscope-runs" / "tiny-001" / "profile.nc")
        assert made.manifest["model"]["file"] == "tiny.gguf"
        assert all(c["passed"] for c in made.checks)
        monkeypatch.setattr("sys.argv", ["hiddenscope", "sites", "tiny.gguf"])
        main_ends_well()
        assert "block.2.resid_post" in capfd.readouterr().out

    def test_its_numbers_are_those_of_the_model(self, whole: Path, llama: PreTrainedModel) -> None:
        by_file = hs.profile(str(whole), text=TEXT)
        by_object = hs.profile(llama, tokenizer=gguf_files.tokenizer(), text=TEXT)
        assert by_file.moments().equals(by_object.moments())
        assert by_file.r2().equals(by_object.r2())


def main_ends_well() -> None:
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code


def lfm2(path: Path, extra: dict[str, np.ndarray] | None = None) -> Path:
    """Write a tiny LFM2, one of the architectures that transformers can keep packed."""
    model = gguf_files.make("lfm2", intermediate_size=96, block_multiple_of=32)
    config = deepcopy(model.config)
    config.intermediate_size = model.layers[0].feed_forward.w1.out_features
    return gguf_files.write(
        path,
        gguf_files.tensors(model, "lfm2") | (extra or {}),
        config,
        architecture="lfm2",
        kind="Q8_0",
        lfm2__attention__head_count_kv=[0, 2, 0],
        lfm2__shortconv__l_cache=3,
    )
