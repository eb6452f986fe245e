"""Tiny random models that go with the demo's tokenizer, and saving them with it."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import families

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEMO = Path(str(files("hiddenscope") / "assets" / "demo"))
# The demo's tokenizer has one special token, 0.
WITH_DEMO = {"vocab_size": 4096, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def make(kind: str, **options: object) -> PreTrainedModel:
    """Make a random model in evaluation mode; the same every time."""
    return families.make(kind, **(WITH_DEMO | options))


def save(model: PreTrainedModel, folder: Path) -> Path:
    """Save a model with the demo's tokenizer beside it."""
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder / name)
    return folder
