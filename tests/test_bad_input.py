"""What cannot be measured: refused in our own words, with nothing run, lost or left behind."""

from __future__ import annotations

import io
import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import tiny
from transformers import AutoModel, CLIPVisionConfig, LlamaConfig, LlavaConfig

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run

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
