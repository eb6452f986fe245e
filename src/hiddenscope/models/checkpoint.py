"""Checks of a checkpoint's files and of what was loaded from them, and their digest."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel
from transformers.quantizers import AutoHfQuantizer

from hiddenscope.errors import ModelError
from hiddenscope.models.loaded import quantisation, quantisation_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES)


def check_folder(name: str, folder: Path, *, tokenizer: bool = True) -> None:
    """Refuse a folder that lacks a configuration, safetensors weights or a needed tokenizer."""
    if (folder / "adapter_config.json").is_file():
        # Without peft, transformers would leave it out and say nothing.
        raise _adapter(name)
    if not (folder / "config.json").is_file():
        inside = sorted(p.parent for p in folder.glob("*/config.json"))
        if inside:
            shown = ", ".join(map(str, inside[:5])) + ", …" * (len(inside) > 5)
            msg = f"{name!r} holds several folders of models ({shown}): name one of them"
            raise ModelError(msg)
        msg = (
            f"{name!r} is a folder without config.json: point at a folder saved by transformers; "
            f"if it holds texts, say `hiddenscope profile demo {shlex.quote(name)}`"
        )
        raise ModelError(msg)
    if tokenizer and not has_tokenizer(folder):
        msg = (
            f"{name!r} holds no tokenizer files (such as tokenizer.json): copy the tokenizer's "
            "files into the folder, or name its folder with --tokenizer (in Python "
            "hiddenscope.profile(model, tokenizer=...) takes one that is loaded)"
        )
        raise ModelError(msg)
    if not any(folder.glob("*.safetensors")):
        msg = (
            f"{name!r} holds no *.safetensors weights (pickles are not read): convert them with "
            "model.save_pretrained(folder)"
        )
        raise ModelError(msg)


def check_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without a vocabulary."""
    # Where the files are missing, transformers makes a tokenizer that knows special tokens only.
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        msg = (
            f"{name!r} comes without a vocabulary: its tokenizer files are missing or empty; name "
            "the folder of another tokenizer with --tokenizer (in Python "
            "hiddenscope.profile(model, tokenizer=...) takes one that is loaded)"
        )
        raise ModelError(msg)


def check_quantisation(name: str, config: PreTrainedConfig) -> str | None:
    """Return the method that a checkpoint is quantised with; refuse one that nobody knows."""
    settings, method = quantisation_settings(config), quantisation(config)
    # Transformers would take the quantised numbers for weights.
    if settings is not None and not AutoHfQuantizer.supports_quant_method(
        {"quant_method": method} | settings
    ):
        msg = (
            f"{name!r} is quantised with {method!r}, which transformers does not know: use a "
            "checkpoint with another quantisation, or without"
        )
        raise ModelError(msg)
    return method


def check_loaded(name: str, model: Any, info: dict[str, Any]) -> None:
    """Refuse what is no transformers model, has an adapter, or lacks weights."""
    if not isinstance(model, PreTrainedModel):
        msg = f"the code of {name!r} makes a {type(model).__name__}, which is no transformers model"
        raise ModelError(msg)
    if model._hf_peft_config_loaded:
        # What was missing in the base model is not reported beside an adapter.
        raise _adapter(name)
    # A pooler stands behind the last block and is often left out of a checkpoint.
    missing = sorted(k for k in info["missing_keys"] if "pooler" not in k)
    mismatched = sorted(k[0] for k in info["mismatched_keys"])
    if missing or mismatched:
        raise lacks(name, missing or mismatched, "lacks" if missing else "has other shapes for")


def lacks(name: str, weights: Sequence[str], what: str = "lacks") -> ModelError:
    """Return the error for a checkpoint that does not hold all that the model needs."""
    more = f" and {len(weights) - 3} more" if len(weights) > 3 else ""
    return ModelError(
        f"the checkpoint of {name!r} {what} weights that the model needs "
        f"({', '.join(weights[:3])}{more}): they would be random, so nothing is measured; check "
        "its configuration against the weights"
    )


def unused_weights(
    model: PreTrainedModel, info: dict[str, Any], folder: Path | None
) -> dict[str, Any]:
    """Return what of a checkpoint was not loaded, for the manifest.

    Returns
    -------
    dict
        ``unused_weights``: tensors of the model's body that it has no place for, as of layers
        beyond those that its configuration counts; ``unused_heads``: what stands behind the
        body; ``unread_files``: further checkpoints in the folder.
    """
    prefix = f"{model.base_model_prefix}."
    unused = sorted(info["unexpected_keys"])
    # Old checkpoints keep tables of rotations that are computed now.
    unused = [key for key in unused if not key.endswith("rotary_emb.inv_freq")]
    body = [key for key in unused if key.startswith(prefix) or re.search(r"\.\d+\.", key)]
    return {
        "unused_weights": body,
        "unused_heads": sorted(set(unused) - set(body)),
        "unread_files": _unread(folder) if folder else [],
    }


def _unread(folder: Path) -> list[str]:
    """Return the weights beside those that transformers reads: one whole file, or the index's."""
    read = {"model.safetensors"}
    index = folder / "model.safetensors.index.json"
    if not (folder / "model.safetensors").is_file() and index.is_file():
        read = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    held = (p.name for suffix in ("safetensors", "gguf") for p in folder.glob(f"*.{suffix}"))
    return sorted(set(held) - read)


def digest(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's configuration and weights."""
    total = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        total.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def _adapter(name: str) -> ModelError:
    return ModelError(
        f"{name!r} holds an adapter: load it onto its base model yourself with "
        "peft.PeftModel.from_pretrained and call hiddenscope.profile(model, tokenizer=...)"
    )
