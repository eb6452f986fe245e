"""Writing GGUF files of tiny models, as llama.cpp's converter does, with a part of demo's words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gguf
import tiny
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from transformers import PreTrainedModel

# The first words of the demo's vocabulary, as the package gguf takes long to read each. They are in
# the order of the merges that make them.
TOKENIZER = json.loads((tiny.DEMO / "tokenizer.json").read_text())
WORDS = sorted(TOKENIZER["model"]["vocab"], key=TOKENIZER["model"]["vocab"].get)[:1152]
SINGLE = 257  # what is made by no merge: the special token and 256 bytes
MERGES = TOKENIZER["model"]["merges"][: len(WORDS) - SINGLE]
TOKENIZER["model"] |= {"vocab": {w: i for i, w in enumerate(WORDS)}, "merges": MERGES}


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer whose words and merges are written."""
    made = Tokenizer.from_str(json.dumps(TOKENIZER))
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=WORDS[0], eos_token=WORDS[0])


def make(kind: str, **options: object) -> PreTrainedModel:
    """Make a tiny random model for these words."""
    return tiny.make(kind, vocab_size=len(WORDS), **options)


def tensors(model: PreTrainedModel, architecture: str = "llama") -> dict[str, np.ndarray]:
    """Return a model's weights under llama.cpp's names and in its order of rows."""
    config = model.config
    kind = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    made = {}
    for key, weight in model.state_dict().items():
        values = weight.float().numpy()
        if key.endswith("experts.gate_up_proj"):
            gate, up = values[:, : values.shape[1] // 2], values[:, values.shape[1] // 2 :]
            block = key.split(".")[1]
            made |= {
                f"blk.{block}.ffn_gate_exps.weight": gate,
                f"blk.{block}.ffn_up_exps.weight": up,
            }
            continue
        if key.endswith("conv.conv.weight"):
            values = values.squeeze(1)
        stem, dot, ending = key.rpartition(".")
        name = names.get_name(f"model.{key}")
        name = f"{name}.weight" if name else f"{names.get_name(f'model.{stem}')}{dot}{ending}"
        if architecture == "llama" and ("attn_q" in name or "attn_k" in name):
            heads = config.num_attention_heads if "_q" in name else config.num_key_value_heads
            halves = values.reshape(heads, 2, -1, values.shape[-1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        made[name] = values
    return made


def write(
    path: Path,
    weights: Mapping[str, np.ndarray],
    config: Any,
    *,
    architecture: str = "llama",
    kind: str = "F32",
    **metadata: Any,
) -> Path:
    """Write a GGUF file; `metadata` is set last, under keys with ``__`` for a dot.

    None takes a key away.
    """
    heads = config.num_attention_heads
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(getattr(config, "rms_norm_eps", 1e-5))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(WORDS) - 1))
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for key, value in metadata.items():
        held = writer.kv_data[0]
        held.pop(key.replace("__", "."), None)
        if value is not None:
            adders = {
                bool: writer.add_bool,
                str: writer.add_string,
                int: writer.add_uint32,
                list: writer.add_array,
            }
            adders[type(value)](key.replace("__", "."), value)
    quantisation = gguf.GGMLQuantizationType[kind]
    for name, values in weights.items():
        whole = values.ndim > 1 and values.shape[-1] % 32 == 0
        packed = quantisation if whole else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(values, packed), raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
