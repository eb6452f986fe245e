"""Tiny random models of many architectures, with the demo's tokenizer."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig, AutoModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEMO = Path(str(files("hiddenscope") / "assets" / "demo"))

_LIKE_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
ARCHITECTURES: dict[str, dict[str, object]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "llama": _LIKE_LLAMA,
    "qwen3": _LIKE_LLAMA,
    "gemma2": _LIKE_LLAMA | {"sliding_window": 16},
    "gpt_neox": {k: v for k, v in _LIKE_LLAMA.items() if "key_value" not in k},
    "jamba": {
        **{
            k: v for k, v in _LIKE_LLAMA.items() if k not in {"head_dim", "max_position_embeddings"}
        },
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
    },
    "bert": {k: v for k, v in _LIKE_LLAMA.items() if k not in {"num_key_value_heads", "head_dim"}},
}


def make(kind: str, **options: object) -> PreTrainedModel:
    """Make a random model in evaluation mode; the same every time."""
    small = {"vocab_size": 4096, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **(small | ARCHITECTURES[kind] | options))
    torch.manual_seed(0)
    return AutoModel.from_config(config).eval()


def save(model: PreTrainedModel, folder: Path) -> Path:
    """Save a model with the demo's tokenizer beside it."""
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder / name)
    return folder
