"""What cannot be measured: refused in our own words, with nothing run, lost or left behind."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
)

import hiddenscope as hs
from hiddenscope import corpus
from hiddenscope.errors import HiddenscopeError, HiddenscopeWarning
from hiddenscope.measuring import choose_sites
from hiddenscope.models import find_structure, load
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Run

    from hiddenscope.models import LoadedModel, Structure

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
# A type with a configuration in transformers, but without a model of its own.
WITHOUT_MODEL = "align_text_model"


def with_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny.DEMO / name, folder / name)
    return folder


def edit(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def multimodal(folder: Path) -> Path:
    """Save a tiny model of images and text."""
    vision = CLIPVisionConfig(**SMALL, image_size=16, patch_size=8, projection_dim=16)
    text = LlamaConfig(**SMALL, vocab_size=4096)
    config = LlavaConfig(vision_config=vision.to_dict(), text_config=text.to_dict())
    AutoModel.from_config(config).save_pretrained(with_tokenizer(folder))
    return folder


class TestNoTextRunsCode:
    """A corpus on standard input must not answer a question of transformers."""

    @pytest.fixture(params=["model", "configuration", "tokenizer", "part of a composite"])
    def folder(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        folder = tmp_path / "odd"
        if request.param == "part of a composite":
            multimodal(folder)
            text = json.loads((folder / "config.json").read_text())["text_config"]
            text |= {"model_type": WITHOUT_MODEL, "_name_or_path": str(folder)}
            edit(folder, "config.json", text_config=text | {"auto_map": {"AutoModel": "odd.Model"}})
        else:
            tiny.save(tiny.make("gpt2"), folder)
            kind = {"model": "AutoModel", "configuration": "AutoConfig"}.get(request.param)
            if kind is None:
                auto = {"AutoTokenizer": ["odd.Slow", "odd.Fast"]}
                edit(folder, "tokenizer_config.json", auto_map=auto, tokenizer_class="Odd")
                edit(folder, "config.json", model_type=WITHOUT_MODEL)
            else:
                edit(folder, "config.json", auto_map={kind: f"odd.{kind}"}, model_type="odd")
                if kind == "AutoModel":
                    edit(folder, "config.json", model_type=WITHOUT_MODEL)
        marker = tmp_path / "was_run"
        (folder / "odd.py").write_text(f"open({str(marker)!r}, 'w')\n")
        return folder

    def test_its_first_line_stays_text(self, run: Run, folder: Path, tmp_path: Path) -> None:
        code, out, err = run("profile", folder, "-", "-o", "out", stdin=b"y\nwords to measure\n")
        assert code == 2
        assert "comes with code of its own" in err
        assert "--trust-remote-code" in err
        assert "[y/N]" not in out + err
        assert not (tmp_path / "was_run").exists()
        assert isinstance(sys.stdin, io.TextIOWrapper)
        assert sys.stdin.read() == "y\nwords to measure\n"


def refused(call: Callable[[], object], says: str | None = None) -> str:
    """Call what must be refused in our own words, and return them."""
    with pytest.raises(HiddenscopeError, match=says) as error:
        call()
    message = str(error.value)
    assert 10 < len(message) < 1200
    return message


class Strange:
    """Something that nobody expects."""


BYTES, TUPLE = b"words", ("words", 3)
ARGUMENTS: list[tuple[str, object, str]] = [
    ("sources", 3, "sources must be a text or Path or a list of them, got 3"),
    ("sources", BYTES, "sources must be .* got bytes .*decode them first"),
    ("sources", {"a.txt": 1}, "sources must be .* got a dict"),
    ("sources", [None], "sources must hold .* number 1 is None"),
    ("sources", ["sample:mixed", 4.5], "number 2 is 4.5"),
    ("sources", [["a.txt"]], "number 1 is a list"),
    ("sources", Strange(), "got a Strange"),
    ("sources", Path("none.txt"), "no file or folder 'none.txt'"),
    ("sources", [Path("none.txt"), "sample:mixed"], "no file or folder 'none.txt'"),
    ("sources", "a\0b", "cannot read|no file"),
    ("sources", "", "cannot be empty|holds no|no file|cannot read|no text"),
    ("sources", ["-", "-"], "only once"),
    ("sources", "sample:", "there is no sample ''"),
    ("text", BYTES, "text must be .* got bytes"),
    ("text", [BYTES], "number 1 is bytes"),
    ("text", Path("a.txt"), "text must be .* the path 'a.txt'"),
    ("text", [Path("a.txt")], "number 1 is the path"),
    ("text", {"a": "b"}, "text must be .* got a dict"),
    ("text", 7, "text must be"),
    ("text", TUPLE, "number 2 is 3"),
    ("text", [None, "a"], "number 1 is None"),
    ("text", np.arange(3), "number 1 is a int64"),
    ("text", True, "text must be a text or a list of them, got True"),
    ("window", "x", "window must be a whole number, or None, got the text 'x'"),
    ("window", "16", "window must be a whole number"),
    ("window", 16.0, "window must be a whole number"),
    ("window", True, "window must be a whole number"),
    ("window", [16], "window must be a whole number.* got a list"),
    ("window", float("nan"), "window must be a whole number"),
    ("window", 3, "window must be at least 4, got 3"),
    ("window", -16, "window must be at least 4"),
    ("max_tokens", 3.5, "max_tokens must be a whole number, or None, got 3.5"),
    ("max_tokens", float("inf"), "max_tokens must be a whole number"),
    ("max_tokens", "all", "max_tokens must be a whole number"),
    ("max_tokens", np.float64(9), "max_tokens must be a whole number"),
    ("max_tokens", 1, "max_tokens must be at least 2"),
    ("batch_tokens", None, "batch_tokens must be a whole number, got None"),
    ("batch_tokens", "many", "batch_tokens must be a whole number"),
    ("batch_tokens", 0.5, "batch_tokens must be a whole number"),
    ("batch_tokens", 0, "batch_tokens must be at least 1"),
    ("shard_bytes", None, "shard_bytes must be a whole number"),
    ("shard_bytes", 1e6, "shard_bytes must be a whole number"),
    ("shard_bytes", 0, "shard_bytes must be at least 1"),
    ("shard_bytes", -5, "shard_bytes must be at least 1"),
    ("dtype", 16, "dtype must be a name"),
    ("dtype", ["float32"], "dtype must be a name"),
    ("dtype", np.float32, "dtype must be a name"),
    ("dtype", "float7", "unknown dtype 'float7'"),
    ("dtype", torch.int8, "unknown dtype 'int8'"),
    ("device", None, "device must be a name"),
    ("device", 0, "device must be a name"),
    ("device", BYTES, "device must be a name"),
    ("device", "abacus", "cannot use device 'abacus'"),
    ("device", "meta", "cannot use device 'meta'"),
    ("device", "", "cannot use device ''"),
    ("device_map", 3, "device_map must be a name"),
    ("device_map", True, "device_map must be a name"),
    ("device_map", "everywhere", "unknown device_map 'everywhere'"),
    ("revision", 5, "revision must be a text"),
    ("revision", BYTES, "revision must be a text"),
    ("revision", "main", "has no revisions"),
    ("trust_remote_code", "False", "trust_remote_code must be True or False, got the text"),
    ("trust_remote_code", 1, "trust_remote_code must be True or False, got 1"),
    ("trust_remote_code", None, "trust_remote_code must be True or False"),
    ("column", 0, "column must be a text"),
    ("column", ["text"], "column must be a text"),
    ("split", None, "split must be a text"),
    ("split", 10, "split must be a text"),
    ("split", "words", "unknown split 'words'"),
    ("chat", "yes", "chat must be True or False"),
    ("chat", True, "chats are read from .jsonl"),
    ("bos", True, "bos must be a text"),
    ("bos", None, "bos must be a text"),
    ("pack", "no", "pack must be True or False"),
    ("pack", 0, "pack must be True or False"),
    ("progress", "bar", "progress must be True, False or a function"),
    ("progress", 1, "progress must be True, False or a function"),
    ("sample_mib", "8", "sample_mib must be a number, got the text '8'"),
    ("sample_mib", None, "sample_mib must be a number"),
    ("sample_mib", True, "sample_mib must be a number"),
    ("sample_mib", [8], "sample_mib must be a number"),
    ("sample_mib", -1, "at least 0 MiB"),
    ("sample_mib", float("nan"), "at least 0 MiB"),
    ("outlier", "6", "outlier must be a number"),
    ("outlier", 0, "outlier must be positive"),
    ("outlier", float("nan"), "outlier must be positive"),
    ("massive", None, "massive must be a number"),
    ("massive_ratio", "big", "massive_ratio must be a number"),
    ("massive_ratio", -1, "massive_ratio must be positive"),
    ("sample_mb", 8, "there is no option 'sample_mb': choose among sample_mib, outlier"),
    ("strata", ("a",), "there is no option 'strata'"),
    ("tokenizer", "gpt2", "tokenizer must be .* the name 'gpt2': pass .*AutoTokenizer"),
    ("tokenizer", "", "tokenizer must be"),
    ("tokenizer", Path("gpt2"), "tokenizer must be"),
    ("tokenizer", BYTES, "tokenizer must be"),
    ("tokenizer", Tokenizer(models.BPE()), "PreTrainedTokenizerFast"),
    ("tokenizer", str.split, "tokenizer must be"),
    ("model", None, "expected a transformers model or its name, got NoneType"),
    ("model", 7, "expected a transformers model"),
    ("model", BYTES, "expected a transformers model"),
    ("model", ["demo"], "expected a transformers model"),
    ("model", Strange, "expected a transformers model"),
    ("model", torch.nn.Linear(2, 2), "expected a transformers model.*Linear"),
    ("model", Path("none/there"), "none/there"),
    ("model", "", "folder"),
    ("model", "a\0b", "no model's name|cannot load"),
    ("model", "sample:mixed", "the first argument is the model"),
    ("model", "x" * 5000, "no model's name|cannot load"),
]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    ARGUMENTS,
    ids=[f"{name}-{index}" for index, (name, *_) in enumerate(ARGUMENTS)],
)
def test_arguments_of_profile(
    name: str,
    value: object,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"model": "demo"} | ({} if name in {"sources", "text"} else {"text": "Some words."})
    refused(lambda: hs.profile(**given | {name: value}), says)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def structure(demo: LoadedModel) -> Structure:
    return find_structure(demo.model)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "sites must be a text or a list of them, got None"),
        (5, "sites must be"),
        (BYTES, "sites must be"),
        ([None], "number 1 is None"),
        ([b"embed"], "number 1 is bytes"),
        ([], "no sites were asked for"),
        ("", "no site matches ''"),
        ("embed,", "no site matches ''"),
        ("block.77.resid_post", "no site matches"),
        ({"embed": 1}, "sites must be"),
        (["embed", 3], "number 2 is 3"),
        ("encoder/embed", "no stream 'encoder'"),
    ],
    ids=str,
)
def test_sites(structure: Structure, value: Any, says: str) -> None:
    refused(lambda: choose_sites(value, structure), says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tokenizer": None}, "needs its tokenizer"),
        ({"dtype": "float16"}, "for models loaded by name"),
        ({"device": "auto"}, "for models loaded by name"),
        ({"trust_remote_code": True}, "for models loaded by name"),
        ({"window": 9999}, "longer than the model's context"),
        ({"text": ""}, "no text|fewer than two tokens"),
        ({"text": "a"}, "fewer than two tokens"),
        ({"text": ["", " \n"]}, "fewer than two tokens"),
        ({"bos": "always"}, "unknown bos"),
    ],
    ids=str,
)
def test_arguments_beside_a_loaded_model(
    demo: LoadedModel, given: dict[str, object], says: str
) -> None:
    usual = {"text": "Some words.", "tokenizer": demo.tokenizer}
    refused(lambda: hs.profile(tiny.make("gpt2"), **usual | given), says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "demo"}, "expected a transformers model"),
        ({"model": None}, "expected a transformers model"),
        ({"tokenizer": "demo"}, "tokenizer must be"),
        ({"tokenizer": 3}, "tokenizer must be"),
        ({"outlier": "x"}, "outlier must be a number"),
        ({"sample": 3}, "there is no option 'sample'"),
        ({"strata": ("a",)}, "there is no option 'strata'"),
    ],
    ids=str,
)
def test_arguments_of_record(demo: LoadedModel, given: dict[str, Any], says: str) -> None:
    refused(lambda: hs.record(**{"model": demo.model} | given), says)


STATES = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
TENSOR = torch.from_numpy(STATES)
WHOLE_MASK = np.ones((2, 5), int)
FROM_STATES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"states": None}, "states must be .* got None"),
    "nothing": ({"states": {}}, "no states were given"),
    "array": ({"states": STATES}, "states must be .* got a ndarray: name each"),
    "tuple": ({"states": (STATES, STATES)}, "states must be .* got a tuple"),
    "tuple of tensors": ({"states": (TENSOR,)}, "states must be .* got a tuple"),
    "text": ({"states": "embed"}, "states must be"),
    "no site": ({"states": {"layer.0": STATES}}, "'layer.0' is not a site"),
    "number for a site": ({"states": {0: STATES}}, "'0' is not a site"),
    "site twice": ({"states": {"embed": STATES, Site("embed"): STATES}}, "given twice"),
    "two shapes": ({"states": {"embed": STATES, "final_norm": STATES[:1]}}, "one shape"),
    "two axes": ({"states": {"embed": STATES[0]}}, "expected .batch, pos, channel"),
    "four axes": ({"states": {"embed": STATES[None]}}, "expected .batch, pos, channel"),
    "no axis": ({"states": {"embed": np.float32(3)}}, "expected .batch, pos, channel"),
    "empty": ({"states": {"embed": STATES[:, :0]}}, "expected .batch, pos, channel"),
    "one token": ({"states": {"embed": STATES[:1, :1]}}, "at least two tokens"),
    "None inside": ({"states": {"embed": None}}, "object|no array"),
    "words inside": ({"states": {"embed": [[["a"]]]}}, "expected floating point"),
    "bytes inside": ({"states": {"embed": BYTES}}, "expected floating point"),
    "whole numbers": ({"states": {"embed": STATES.astype(int)}}, "int64: expected floating"),
    "booleans": ({"states": {"embed": STATES > 0}}, "bool: expected floating"),
    "complex": ({"states": {"embed": STATES + 0j}}, "complex64: expected floating"),
    "objects": ({"states": {"embed": STATES.astype(object)}}, "object: expected floating"),
    "whole tensor": ({"states": {"embed": TENSOR.int()}}, "int32: expected floating"),
    "complex tensor": ({"states": {"embed": TENSOR + 0j}}, "complex64: expected floating"),
    "ragged": ({"states": {"embed": [STATES, STATES[:1]]}}, "no array of numbers"),
    "ragged tensors": ({"states": {"embed": [TENSOR, TENSOR[:1]]}}, "no array of numbers"),
    "output tuple": ({"states": {"embed": (TENSOR, None)}}, "no array of numbers|object"),
    "meta": ({"states": {"embed": TENSOR.to("meta")}}, "meta tensor"),
    "nested": (
        {"states": {"embed": torch.nested.nested_tensor(list(TENSOR), layout=torch.jagged)}},
        "nested tensor",
    ),
    "masked": (
        {"states": {"embed": np.ma.masked_less(STATES, 0)}},
        "masked array: fill it",
    ),
    "dates": ({"states": {"embed": STATES.astype("M8[s]")}}, "expected floating point"),
    "structured": ({"states": {"embed": np.zeros((2, 5, 4), "f4,f4")}}, "expected floating"),
    "mask of another shape": ({"mask": WHOLE_MASK[:1]}, "mask has shape .1, 5."),
    "mask of four axes": ({"mask": WHOLE_MASK[:, None, None]}, "mask has shape"),
    "mask transposed": ({"mask": WHOLE_MASK.T}, "mask has shape .5, 2."),
    "mask of lengths": ({"mask": [5, 5]}, "mask has shape"),
    "mask ragged": ({"mask": [[1, 1], [1]]}, "mask: a list is no array"),
    "mask of words": ({"mask": [["1"] * 5] * 2}, "mask must hold 1"),
    "mask of None": ({"mask": [[None] * 5] * 2}, "mask must hold 1"),
    "mask with NaN": ({"mask": np.full((2, 5), np.nan)}, "mask must hold 1"),
    "mask additive": ({"mask": np.where(WHOLE_MASK, 0.0, -np.inf) - 1}, "mask must hold 1"),
    "mask additive in bfloat16": (
        {"mask": torch.full((2, 5), -3e38, dtype=torch.bfloat16)},
        "mask must hold 1",
    ),
    "mask of segments": ({"mask": WHOLE_MASK * 2}, "mask must hold 1"),
    "mask of a half": ({"mask": WHOLE_MASK * 0.5}, "mask must hold 1"),
    "mask empty": ({"mask": WHOLE_MASK * 0}, "at least two tokens"),
    "mask dict": ({"mask": {"full_attention": WHOLE_MASK}}, "mask has shape"),
    "mask scalar": ({"mask": True}, "mask has shape"),
    "mask on meta": ({"mask": torch.ones(2, 5, device="meta")}, "mask are a meta tensor"),
    "ids of another shape": ({"input_ids": WHOLE_MASK[:, :4]}, "input_ids has shape"),
    "ids of floats": ({"input_ids": WHOLE_MASK * 1.0}, "expected whole numbers"),
    "ids of words": ({"input_ids": [["a"] * 5] * 2}, "expected whole numbers"),
    "ids that are labels": ({"input_ids": WHOLE_MASK * -100}, "input_ids hold -100"),
    "ids out of range": ({"input_ids": WHOLE_MASK * 2**40}, "input_ids hold 1099511627776"),
    "ids are a text": ({"input_ids": "words"}, "input_ids has shape"),
    "tokenizer's name": ({"tokenizer": "gpt2"}, "tokenizer must be"),
    "causal word": ({"causal": "yes"}, "causal must be True or False"),
    "causal None": ({"causal": None}, "causal must be True or False"),
    "name None": ({"name": None}, "name must be a text"),
    "name bytes": ({"name": BYTES}, "name must be a text"),
    "option": ({"outliers": 6}, "there is no option 'outliers'"),
    "threshold": ({"outlier": "six"}, "outlier must be a number"),
}


@pytest.mark.parametrize("case", FROM_STATES)
def test_arguments_of_from_states(case: str) -> None:
    given, says = FROM_STATES[case]
    refused(lambda: hs.from_states(**{"states": {"embed": STATES}} | given), says)


@pytest.mark.parametrize(
    "values",
    [
        STATES.astype(">f4"),
        STATES.astype(">f8"),
        STATES.astype(np.longdouble),
        np.asfortranarray(STATES),
        STATES[::-1, ::-1][::-1, ::-1],
        STATES.tolist(),
        tuple(TENSOR),
        TENSOR.double(),
        TENSOR.clone().requires_grad_(),
        TENSOR.to_sparse(),
        TENSOR.transpose(0, 1).contiguous().transpose(0, 1),
        np.ma.masked_array(STATES, False),
    ],
    ids=lambda x: type(x).__name__,
)
def test_states_of_other_kinds_give_the_same_numbers(values: Any) -> None:
    expected = hs.from_states({"embed": STATES}).moments("all")
    found = hs.from_states({"embed": values}, mask=torch.ones(2, 5).bool()).moments("all")
    np.testing.assert_array_equal(found["std"], expected["std"])
    np.testing.assert_array_equal(found["max"], expected["max"])


def test_paths_and_numbers_of_numpy_do_as_well(saved: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("The river had risen.", "utf-8")
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    plain = hs.profile(str(saved), paths, window=4, sites="embed")
    given = hs.profile(
        saved,
        (tmp_path / name for name in ("a.txt", "b.txt")),
        text=None,
        window=np.int64(4),
        dtype=torch.float32,
        device=torch.device("cpu"),
        sites=("embed",),
        sample_mib=np.float32(8),
    )
    assert given.tokens == plain.tokens
    assert given.manifest["corpus"]["sources"] == plain.manifest["corpus"]["sources"]
    assert given.manifest["corpus"]["window"] == 4


@pytest.mark.parametrize(
    "path", [None, 3, BYTES, Strange(), [], "", "a\0b", "x" * 300, Path("none.nc"), "none"]
)
def test_paths_of_profiles(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(lambda: hs.open(path))
    if path not in ("none", Path("none.nc")):
        profile = hs.from_states({"embed": STATES})
        refused(lambda: profile.save(path))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two blocks with a head, saved with a tokenizer; tests copy it."""
    model = AutoModelForCausalLM.from_config(tiny.make("llama").config)
    return tiny.save(model, tmp_path_factory.mktemp("saved") / "model")


WEIGHTS, WORDS, KEY = "model.safetensors", "tokenizer.json", "model.layers.0.mlp.up_proj.weight"


def holding(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def config(**changes: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder, "config.json", **changes)


def renamed(name: str, to: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).rename(folder / to)


def without(folder: Path, key: str = KEY, rows: int = 0) -> None:
    """Take a tensor away, or all but some of its rows."""
    tensors = load_file(folder / WEIGHTS)
    tensor = tensors.pop(key)
    kept = {key: tensor[:rows].clone()} if rows else {}
    save_file(tensors | kept, folder / WEIGHTS, {"format": "pt"})


def in_a_folder_each(folder: Path) -> None:
    for step in ("checkpoint-1", "checkpoint-2"):
        shutil.copytree(folder, folder.parent / "all" / step)
    shutil.rmtree(folder)
    (folder.parent / "all").rename(folder)


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("words")


def indexed(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "a.safetensors")
    index = {"metadata": {}, "weight_map": {KEY: "b.safetensors"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "an adapter alone": (renamed("config.json", "adapter_config.json"), "holds an adapter"),
    "an adapter beside a model": (holding("adapter_config.json", b"{}"), "holds an adapter"),
    "folders of checkpoints": (in_a_folder_each, "checkpoint-1, .*checkpoint-2.: name one"),
    "no folder": (shutil.rmtree, "no model folder"),
    "an empty folder": (emptied, "without config.json"),
    "a file": (a_file, "is a file, but the first argument is the model"),
    "a pickle": (renamed(WEIGHTS, "pytorch_model.bin"), "no .*safetensors weights"),
    "another name of the weights": (renamed(WEIGHTS, "weights.safetensors"), "cannot load"),
    "weights of no bytes": (holding(WEIGHTS, b""), "cannot load"),
    "weights that are words": (holding(WEIGHTS, b"some words"), "cannot load"),
    "weights with a wild header": (holding(WEIGHTS, b"\xff" * 64), "cannot load"),
    "weights with a header alone": (holding(WEIGHTS, b"\2\0\0\0\0\0\0\0{}"), "lacks weights"),
    "a tensor missing": (without, "lacks weights"),
    "a tensor of another shape": (lambda folder: without(folder, rows=3), "other shapes"),
    "an index to nowhere": (indexed, "cannot load"),
    "a configuration of no bytes": (holding("config.json", b""), "cannot load"),
    "a configuration that is no JSON": (holding("config.json", b"{"), "cannot load"),
    "a configuration in Latin-1": (holding("config.json", b'{"a": "\xfc"}'), "cannot load"),
    "a configuration that is a list": (holding("config.json", b"[]"), "cannot load"),
    "a configuration without a type": (holding("config.json", b"{}"), "cannot load"),
    "a type that nobody knows": (config(model_type="nobody"), "cannot load"),
    "a type that is a number": (config(model_type=7), "cannot load"),
    "images": (config(model_type="vit"), "."),
    "more layers than weights": (config(num_hidden_layers=9), "lacks weights"),
    "heads that do not divide": (config(num_attention_heads=7, head_dim=None), "."),
    "a size that is a word": (config(hidden_size="wide"), "cannot load"),
    "a size below zero": (config(hidden_size=-8), "."),
    "a dtype that nobody knows": (config(dtype="float7"), "cannot load"),
    "a quantisation that nobody knows": (
        config(quantization_config={"quant_method": "nobody"}),
        "quantised with 'nobody'",
    ),
    "a quantisation that is a word": (config(quantization_config="4 bits"), "."),
    "no tokenizer": (lambda folder: (folder / WORDS).unlink(), "no tokenizer files"),
    "a tokenizer of no bytes": (holding(WORDS, b""), "cannot load"),
    "a tokenizer that is no JSON": (holding(WORDS, b"{"), "cannot load"),
    "a tokenizer of another kind": (holding(WORDS, b"{}"), "cannot load"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_checkpoints(saved: Path, tmp_path: Path, what: str) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    spoil, says = SPOILT[what]
    spoil(folder)
    assert str(folder) in refused(lambda: load(str(folder)), says)


FILES: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("a.txt", b"", "is empty"),
    "Latin-1": ("a.txt", b"an \xfcbermensch", "not UTF-8: byte 3 is 0xFC"),
    "a picture": ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not UTF-8: byte 0"),
    "a picture named a text": ("a.txt", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "not UTF-8: byte 0"),
    "gzip": ("a.txt.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb", "not UTF-8"),
    "zip": ("a.docx", b"PK\x03\x04\x14\0\0\0\x08\0\0\0", "full of NUL|not UTF-8"),
    "NUL": ("a.txt", b"\0" * 64, "full of NUL"),
    "UTF-16 without a mark": ("a.txt", "words".encode("utf-16-le"), "iconv -f utf-16le"),
    "half of UTF-16": ("a.txt", b"\xff\xfea", "not whole UTF-16"),
    "half of UTF-32": ("a.txt", b"\xff\xfe\0\0a\0", "not whole UTF-32"),
    "cut in a character": ("a.txt", "words of water: 水".encode()[:-1], "not UTF-8"),
    "a surrogate": ("a.txt", b"\xed\xa0\x80", "not UTF-8: byte 0 is 0xED"),
    "a table": ("a.csv", b"text\nwords\n", "not read as prose"),
    "a table with tabs": ("a.tsv", b"text\nwords\n", "not read as prose"),
    "a list": ("a.json", b'[{"text": "words"}]', "not read as prose"),
    "columns": ("a.parquet", b"PAR1", "not read as prose"),
    "no JSON": ("a.jsonl", b"words\n", "a.jsonl:1 is not JSON"),
    "half a row": ("a.jsonl", b'{"text": "one"}\n{"text": "tw', "a.jsonl:2 is not JSON"),
    "one list": ("a.jsonl", b'[{"text": "one"}]', "a.jsonl:1 has no column 'text'"),
    "a number": ("a.jsonl", b"7", "a.jsonl:1 has no column"),
    "no column": ("a.jsonl", b'{"body": "one"}', "no column 'text' .it has 'body'"),
    "a number for a text": ("a.ndjson", b'{"text": 3}', "a.ndjson:1: column 'text' holds int"),
    "null for a text": ("a.jsonl", b'{"text": null}', "holds NoneType"),
    "a list for a text": ("a.jsonl", b'{"text": ["one"]}', "holds list"),
    "Latin-1 in a row": ("a.jsonl", b'{"text": "\xfc"}', "a.jsonl:1. is not UTF-8"),
    "deep": ("a.jsonl", b"[" * 100_000, "a.jsonl:1 is not JSON"),
    "half of UTF-16 in rows": ("a.jsonl", '{"text": "a"}'.encode("utf-16")[:-1], "UTF-16"),
    "two objects": ("a.jsonl", b'{"text": "a"}{"text": "b"}', "a.jsonl:1 is not JSON"),
}


@pytest.mark.parametrize("what", FILES)
def test_files(tmp_path: Path, what: str) -> None:
    name, data, says = FILES[what]
    path = tmp_path / name
    path.write_bytes(data)
    assert str(path) in refused(lambda: list(corpus.documents([str(path)])), says)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "holds no text files"),
        (["a.png", "b.csv"], "1 left out as .png, no text .a.png.; 1 left out as .csv"),
        ([".hidden.txt"], "1 left out as hidden"),
        (["deep/er/a.json"], "1 left out as .json, no text .deep/er/a.json."),
    ],
    ids=str,
)
def test_folders(tmp_path: Path, names: list[str], says: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("words")
    refused(lambda: list(corpus.documents([str(tmp_path)])), says)


class TestLoadingSaysWhatItLeftOut:
    def test_layers_beyond_those_that_the_configuration_counts(
        self, saved: Path, tmp_path: Path
    ) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "model"))
        layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
        edit(folder, "config.json", num_hidden_layers=layers - 1)
        expected = sorted(
            key for key in load_file(folder / "model.safetensors") if f".{layers - 1}." in key
        )
        with pytest.warns(HiddenscopeWarning, match=f"holds {len(expected)} tensors that the"):
            p = hs.profile(folder, text="Some words to measure.")
        assert p.manifest["model"]["unused_weights"] == expected
        assert p.manifest["model"]["unused_heads"] == ["lm_head.weight"]
        (check,) = (c for c in p.checks if c["name"] == "checkpoint")
        assert not check["passed"]
        assert expected[0] in check["detail"]

    def test_more_weights_in_the_folder(self, saved: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "model"))
        for name in ("consolidated.safetensors", "q4.gguf"):
            shutil.copy(folder / "model.safetensors", folder / name)
        p = hs.profile(folder, text="Some words to measure.")
        assert p.manifest["model"]["unused_weights"] == []
        (check,) = (c for c in p.checks if c["name"].startswith("checkpoint"))
        assert check["name"] == "checkpoint files"
        assert check["detail"].endswith("not read: consolidated.safetensors, q4.gguf")

    def test_an_index_names_what_is_read(self, tmp_path: Path) -> None:
        model = tiny.make("llama")
        model.save_pretrained(with_tokenizer(tmp_path / "model"), max_shard_size="40KB")
        assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
        assert load(str(tmp_path / "model")).identity["unread_files"] == []
        (tmp_path / "model" / "old.safetensors").touch()
        assert load(str(tmp_path / "model")).identity["unread_files"] == ["old.safetensors"]

    def test_of_images_and_text_the_text_is_measured(self, tmp_path: Path) -> None:
        p = hs.profile(multimodal(tmp_path / "model"), text="Some words to measure.")
        assert p.sites == ["embed", "block.0.resid_post", "final_norm"]
        assert all(check["passed"] for check in p.checks)


@pytest.fixture(scope="module")
def measured() -> hs.Profile:
    return hs.from_states({"embed": STATES, "block.0.resid_post": 2 * STATES})


ASKED: dict[str, tuple[Callable[[hs.Profile], object], str]] = {
    "view number": (lambda p: p.moments(view=3), "view must be a text, got 3"),
    "view none": (lambda p: p.norms(view=None), "view must be a text, got None"),
    "view of a figure": (lambda p: p.plot.histogram(view=3), "view must be a text"),
    "bins part": (lambda p: p.histogram(bins=1.5), "bins must be a whole number, got 1.5"),
    "bins text": (lambda p: p.plot.histogram(bins="a"), "bins must be a whole number"),
    "range number": (lambda p: p.histogram(range=0), "two finite numbers"),
    "range of three": (lambda p: p.histogram(range=(0, 1, 2)), "two finite numbers"),
    "range text": (lambda p: p.histogram(range="ab"), "range must be a number or several"),
    "sites number": (lambda p: p.histogram(sites=3), "sites must be a text or a list"),
    "sites of a figure": (lambda p: p.plot.ridge(sites=3), "sites must be a text or a list"),
    "quantile text": (lambda p: p.quantiles("x"), "q must be a number or several, got the text"),
    "quantile true": (lambda p: p.quantiles([True]), "q must be a number or several"),
    "norm quantile": (lambda p: p.norms(q=1.5), "between 0 and 1"),
    "without text": (lambda p: p.covariance(without="3"), "without must be a whole number"),
    "without parts": (lambda p: p.r2(without=[1.5]), "without must be a whole number or several"),
    "k part": (lambda p: p.loudest(k=1.5), "k must be a whole number, or None, got 1.5"),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_a_profile_is_asked(measured: hs.Profile, name: str) -> None:
    ask, says = ASKED[name]
    refused(lambda: ask(measured), says)


def test_one_number_stands_for_several(measured: hs.Profile) -> None:
    assert measured.norms(q=0.5).columns.tolist() == ["tokens", "q0.5"]
    assert measured.covariance(without=3).equals(measured.covariance(without=[3]))
    small = hs.from_states({"embed": STATES}, sample_mib=np.int8(100))
    assert small.sample("all").sizes["token"] == 10


@pytest.mark.parametrize("name", [None, b"demo", 3])
def test_a_model_is_loaded_by_its_name(name: object) -> None:
    refused(lambda: load(name), "name must be a text")


@pytest.mark.parametrize("given", ["text", "sources", "sites"])
def test_an_array_without_axes_is_no_list(given: str) -> None:
    arguments = {"text": "Some words."} | {given: np.array(4)}
    refused(lambda: hs.profile("demo", **arguments), f"{given} must be")


@pytest.mark.parametrize("where", ["tokenizer", "model"])
def test_a_padding_token_that_the_model_does_not_know_is_never_read(
    where: str, tmp_path: Path
) -> None:
    options = {"pad_token_id": -1} if where == "model" else {}
    folder = tiny.save(tiny.make("llama", **options), tmp_path / "model")
    if where == "tokenizer":
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<extra>"}))
    p = hs.profile(str(folder), text=["Some text to be measured here. " * 4, "Short."])
    assert p.manifest["corpus"]["padding"] > 0
