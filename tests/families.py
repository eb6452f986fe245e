"""Tiny random models of the text architectures in transformers, one configuration a family.

Every configuration is as small as its architecture allows (width 32, 4 heads, mostly 3 blocks), so
that a test can build any of them in a moment, without a network and on a CPU. A value in FAMILIES
names only what the family needs beyond SMALL; a key that is no model type of transformers is a
variant, and its ``"model_type"`` entry says of what.
"""

from copy import deepcopy

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

# The usual initialisation, 0.02, suits widths in the thousands: at width 32 it would leave every
# sublayer's contribution a rounding error beside the residual stream.
SMALL: dict[str, object] = {
    "vocab_size": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}

LIKE_GPT2: dict[str, object] = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}

LIKE_BERT: dict[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}

LIKE_LLAMA: dict[str, object] = LIKE_BERT | {"num_key_value_heads": 2}

LIKE_BART: dict[str, object] = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
    "init_std": 0.2,
}

LIKE_T5: dict[str, object] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 3,
    "num_decoder_layers": 3,
    "num_heads": 4,
}

LIKE_OPT: dict[str, object] = {
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "init_std": 0.2,
}
LIKE_FALCON: dict[str, object] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
RELATIVE: dict[str, object] = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_relative_positions": 16,
}
# A mixture of four experts, two of which each token visits.
MOE: dict[str, object] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
LOCAL_MOE: dict[str, object] = {"num_local_experts": 4, "num_experts_per_tok": 2}

ROUTED: dict[str, object] = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
# Attention through low-rank latents, of which only a part of each head is rotated.
LATENT: dict[str, object] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
}
LIKE_DEEPSEEK: dict[str, object] = (
    LIKE_BERT | LATENT | ROUTED | {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.5}
)
# Attention to the few earlier tokens that an indexer picks.
INDEXED: dict[str, object] = {"index_topk": 4, "index_head_dim": 8, "index_n_heads": 2}
INDEX_SHARED: dict[str, object] = INDEXED | {"indexer_types": ["full", "shared", "full"]}
DENSE_FIRST: dict[str, object] = {"mlp_layer_types": ["dense", "sparse", "sparse"]}

HEADED: dict[str, object] = LIKE_LLAMA | {"head_dim": 8}
# Of families in which every block's feed-forward is a mixture, and which have no other width.
NO_DENSE: dict[str, object] = {k: v for k, v in HEADED.items() if k != "intermediate_size"}
LOCAL_GLOBAL: dict[str, object] = {
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
LAST_GLOBAL: dict[str, object] = {
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}
# What decoders of images and text take for the positions of text: all of the sections the same.
SECTIONS: dict[str, object] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
}
HALF_SECTIONS: dict[str, object] = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [1, 1, 0],
    }
}
GRANITE_SCALES: dict[str, object] = {
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.4,
}
LIKE_BAMBA: dict[str, object] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
LINEAR_ATTENTION: dict[str, object] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
}
LINEAR_FULL_LINEAR: dict[str, object] = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"]
}
LIKE_INKLING: dict[str, object] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "swa_head_dim": 8,
    "sliding_window_size": 4,
    "d_rel": 4,
    "rel_extent": 16,
    "layer_types": ["hybrid_sliding", "hybrid", "hybrid_sliding"],
    "route_scale": 1.5,
}
LIKE_BLT: dict[str, object] = LIKE_BERT | {
    "vocab_size": 128,
    "hidden_size_global": 32,
    "cross_attn_k": 1,
    "initializer_range": 0.2,
}
LIKE_FUNNEL: dict[str, object] = {
    "architectures": ["FunnelModel"],
    "block_sizes": [1, 1, 1],
    "num_decoder_layers": 1,
    "d_model": 32,
    "n_head": 4,
    "d_head": 8,
    "d_inner": 64,
    "initializer_std": 0.2,
}
LIKE_XLM: dict[str, object] = {
    "emb_dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "max_position_embeddings": 64,
    "init_std": 0.2,
    "embed_init_std": 0.2,
}

T5GEMMA2_ENCODER: dict[str, object] = {
    "text_config": SMALL
    | HEADED
    | LOCAL_GLOBAL
    | {"query_pre_attn_scalar": 8, "dropout_rate": 0.0},
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": 8,
    },
    "mm_tokens_per_image": 4,
    "image_token_index": 127,
    "boi_token_index": 126,
    "eoi_token_index": 125,
}

FAMILIES: dict[str, dict[str, object]] = {
    # Decoders with attention
    "gpt2": LIKE_GPT2,
    "gpt-sw3": LIKE_GPT2,
    "gptj": LIKE_GPT2 | {"rotary_dim": 4},
    "codegen": LIKE_GPT2 | {"rotary_dim": 4, "n_ctx": 64},
    "gpt_bigcode": LIKE_GPT2,
    "openai-gpt": LIKE_GPT2,
    "ctrl": LIKE_GPT2 | {"dff": 64},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 3,
        "num_heads": 4,
        "attention_types": [[["global", "local", "global"], 1]],
        "window_size": 4,
        "max_position_embeddings": 64,
    },
    "gpt_neox": LIKE_BERT,
    "gpt_neox-sequential": LIKE_BERT | {"model_type": "gpt_neox", "use_parallel_residual": False},
    "gpt_neox_japanese": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_multiple_size": 2,
        "max_position_embeddings": 64,
    },
    "opt": LIKE_OPT,
    "opt-postnorm": LIKE_OPT | {"model_type": "opt", "do_layer_norm_before": False},
    # Embeds into a narrower space than its blocks', and projects back behind the last, so that the
    # tuple's last entry is the narrower one.
    "opt-projected": LIKE_OPT
    | {"model_type": "opt", "do_layer_norm_before": False, "word_embed_proj_dim": 16},
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "bloom-postnorm": {
        "model_type": "bloom",
        "hidden_size": 32,
        "n_layer": 3,
        "n_head": 4,
        "apply_residual_connection_post_layernorm": True,
    },
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3, "expansion_ratio": 2, "max_seq_len": 64},
    "falcon": LIKE_FALCON,
    "falcon-sequential": LIKE_FALCON | {"model_type": "falcon", "parallel_attn": False},
    "falcon-alibi": LIKE_FALCON
    | {"model_type": "falcon", "parallel_attn": False, "alibi": True, "multi_query": False},
    "falcon-new": LIKE_FALCON
    | {"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2},
    "biogpt": LIKE_BERT,
    "xglm": {
        "d_model": 32,
        "ffn_dim": 64,
        "num_layers": 3,
        "attention_heads": 4,
        "max_position_embeddings": 64,
        "init_std": 0.2,
    },
    "llama": LIKE_LLAMA,
    "internlm3": HEADED,
    "iquestcoder": HEADED,
    "hyperclovax": LIKE_LLAMA | GRANITE_SCALES,
    "cwm": HEADED | LOCAL_GLOBAL,
    "mistral": LIKE_LLAMA | {"sliding_window": 4},
    "ministral": HEADED | LOCAL_GLOBAL,
    "ministral3": HEADED | {"sliding_window": 4},
    "qwen2": LIKE_LLAMA,
    "qwen3": HEADED,
    "gemma": HEADED,
    "gemma2": HEADED | LOCAL_GLOBAL | {"query_pre_attn_scalar": 8},
    "gemma3_text": HEADED | LOCAL_GLOBAL | {"query_pre_attn_scalar": 8},
    # Three parallel residual streams, which the tuple's entries carry as a dimension before the
    # batch; the last entry too, before they are merged and normalised. The last two blocks reuse
    # the keys and values of the two before.
    "gemma3n_text": HEADED
    | {
        "num_hidden_layers": 4,
        "sliding_window": 4,
        "layer_types": [
            "sliding_attention",
            "full_attention",
            "sliding_attention",
            "full_attention",
        ],
        "vocab_size_per_layer_input": 128,
        "hidden_size_per_layer_input": 8,
        "altup_num_inputs": 3,
        "num_kv_shared_layers": 2,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "gemma4_text": HEADED
    | LAST_GLOBAL
    | {
        "vocab_size_per_layer_input": 128,
        "hidden_size_per_layer_input": 8,
        "per_layer_config": {2: {"head_dim": 16}},
    },
    "gemma4_text-moe": HEADED
    | LAST_GLOBAL
    | {
        "model_type": "gemma4_text",
        "vocab_size_per_layer_input": 128,
        "hidden_size_per_layer_input": 8,
        "per_layer_config": {2: {"head_dim": 16}},
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 32,
    },
    "gemma4_unified_text": HEADED | LAST_GLOBAL | {"per_layer_config": {2: {"head_dim": 16}}},
    "embedding_gemma2_text": HEADED
    | LAST_GLOBAL
    | {
        "hidden_size_per_layer_input": 8,
        "embedding_dim": 32,
        "per_layer_config": {2: {"head_dim": 16, "num_key_value_heads": 1}},
    },
    "vaultgemma": HEADED | LOCAL_GLOBAL | {"query_pre_attn_scalar": 8},
    "phi": LIKE_LLAMA,
    "phi3": LIKE_LLAMA | {"original_max_position_embeddings": 64},
    "stablelm": LIKE_LLAMA,
    "stablelm-parallel": LIKE_LLAMA | {"model_type": "stablelm", "use_parallel_residual": True},
    "stablelm-qknorm": LIKE_LLAMA
    | {"model_type": "stablelm", "qk_layernorm": True, "use_qkv_bias": True},
    "starcoder2": LIKE_LLAMA,
    "olmo": LIKE_LLAMA,
    "olmo2": LIKE_LLAMA,
    "olmo3": LIKE_LLAMA | LOCAL_GLOBAL,
    "granite": LIKE_LLAMA | GRANITE_SCALES,
    "granite_swa": LIKE_LLAMA | GRANITE_SCALES | LOCAL_GLOBAL,
    "granite_docling_text": LIKE_LLAMA | GRANITE_SCALES,
    "cohere": LIKE_LLAMA,
    "cohere2": LIKE_LLAMA | LOCAL_GLOBAL,
    "cohere_compass_text": LIKE_LLAMA
    | LOCAL_GLOBAL
    | {
        "rope_parameters": {
            "full_attention": None,
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        }
    },
    "glm": HEADED,
    "glm4": HEADED,
    "nemotron": LIKE_LLAMA,
    "persimmon": LIKE_BERT,
    "arcee": LIKE_LLAMA,
    "apertus": LIKE_LLAMA,
    "exaone4": LIKE_LLAMA | LOCAL_GLOBAL,
    "smollm3": LIKE_LLAMA | {"no_rope_layers": [1, 1, 0]},
    "hunyuan_v1_dense": HEADED,
    "hunyuan_vl_text": HEADED | SECTIONS,
    "helium": HEADED,
    "bitnet": LIKE_LLAMA,
    "seed_oss": HEADED,
    "diffllama": LIKE_LLAMA,
    "ernie4_5": HEADED,
    "nanochat": LIKE_LLAMA,
    "jais2": LIKE_LLAMA,
    "cosmos3_edge_text": HEADED | SECTIONS,
    "qwen2_vl_text": LIKE_LLAMA | SECTIONS,
    "qwen2_5_vl_text": LIKE_LLAMA | SECTIONS,
    "qwen3_vl_text": HEADED | SECTIONS,
    "glm_ocr_text": LIKE_LLAMA | SECTIONS,
    "glm_image_text": LIKE_LLAMA | SECTIONS | {"vision_vocab_size": 16},
    "glm4v_text": LIKE_LLAMA | HALF_SECTIONS,
    "molmo2_text": HEADED | {"additional_vocab_size": 8},
    "molmo2_text-postnorm": HEADED
    | {"model_type": "molmo2_text", "additional_vocab_size": 8, "norm_after": True},
    "muse_glimmer_text": HEADED | LAST_GLOBAL,
    "minicpm3": LIKE_BERT | LATENT | {"scale_emb": 2},
    "youtu": LIKE_BERT | LATENT | {"embedding_initializer_range": 0.2},
    "doge": LIKE_LLAMA | {"keep_window_size": 4},
    "modernbert-decoder": LIKE_BERT
    | {
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 8,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    # Calls its blocks again and again: twice over, its low stack three times and its high stack
    # once. The tuple has an entry for every call.
    "hrm_text": LIKE_BERT | {"head_dim": 8, "num_layers_per_stack": 2},
    # Bytes in, patches between: the tuple is the decoder's over bytes, not the global blocks'.
    "blt": {
        "patch_in_forward": False,
        "cross_attn_k": 1,
        "encoder_hash_byte_group_size": [3],
        "encoder_hash_byte_group_vocab": 64,
        "encoder_config": LIKE_BLT | {"num_hidden_layers": 1},
        "global_config": LIKE_BLT,
        "decoder_config": LIKE_BLT,
        "patcher_config": LIKE_BLT | {"num_hidden_layers": 1},
    },
    # Puts a prompt of eight positions before the text, and leaves them out of the tuple.
    "cpmant": {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "dim_head": 8,
        "dim_ff": 64,
        "num_hidden_layers": 3,
        "prompt_length": 8,
        "init_std": 0.2,
    },
    # Two streams, reversible: the tuple has the second one alone, of width 32, last_hidden_state
    # both side by side, normalised, of width 64. In training mode alone can it have gradients.
    # Its hashes are random: without a seed no two runs agree, and with one each run reseeds torch.
    "reformer": {
        "hidden_size": 32,
        "attention_head_size": 8,
        "num_attention_heads": 4,
        "feed_forward_size": 64,
        "attn_layers": ["local", "lsh", "local"],
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "axial_norm_std": 0.2,
        "lsh_attn_chunk_length": 4,
        "local_attn_chunk_length": 4,
        "max_position_embeddings": 64,
        "num_buckets": 4,
        "hash_seed": 0,
    },
    # Decoders with mixtures of experts
    "mixtral": LIKE_LLAMA | LOCAL_MOE,
    "qwen2_moe": LIKE_LLAMA | MOE | {"shared_expert_intermediate_size": 32},
    "qwen3_moe": LIKE_LLAMA | MOE | {"mlp_only_layers": [0]},
    "olmoe": LIKE_LLAMA | {"num_experts": 4, "num_experts_per_tok": 2},
    "flex_olmo": LIKE_LLAMA | {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": LIKE_LLAMA | GRANITE_SCALES | LOCAL_MOE,
    "granitemoeshared": LIKE_LLAMA | GRANITE_SCALES | LOCAL_MOE | {"shared_intermediate_size": 32},
    "granitemoe_swa": LIKE_LLAMA
    | GRANITE_SCALES
    | LOCAL_MOE
    | LOCAL_GLOBAL
    | {"shared_intermediate_size": 32},
    "gpt_oss": HEADED | LOCAL_MOE | LOCAL_GLOBAL,
    "phimoe": LIKE_LLAMA | LOCAL_MOE,
    "minimax_m2": HEADED | LOCAL_MOE,
    "jetmoe": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "kv_channels": 8,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    | LOCAL_MOE,
    "dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 3,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": LIKE_DEEPSEEK | {"first_k_dense_replace": 1, "head_dim": 4},
    "deepseek_v3": LIKE_DEEPSEEK | {"first_k_dense_replace": 1},
    "axk1": LIKE_DEEPSEEK | DENSE_FIRST,
    "axk2": LIKE_DEEPSEEK | INDEXED | DENSE_FIRST | {"gated_norm_rank": 4},
    "deepseek_v32": LIKE_DEEPSEEK | INDEXED | DENSE_FIRST,
    "glm_moe_dsa": LIKE_DEEPSEEK | INDEX_SHARED | DENSE_FIRST,
    "mistral_large4_text": {k: v for k, v in LIKE_DEEPSEEK.items() if k != "q_lora_rank"}
    | INDEX_SHARED
    | DENSE_FIRST
    | {"no_rope_layers": [1, 1, 0], "kv_source_layers": [0, 0, 2]},
    "dots3_note_text": LIKE_DEEPSEEK
    | INDEXED
    | DENSE_FIRST
    | {
        "head_dim": 8,
        "sliding_window": 4,
        "shared_experts_intermediate_size": 32,
        "layer_types": ["indexed_attention", "sliding_attention", "indexed_attention"],
        "per_layer_config": {1: LATENT | {"head_dim": 8, "num_attention_heads": 4}},
    },
    # Two parallel residual streams, which the tuple's entries carry as a dimension before the
    # width, all but the last.
    "deepseek_v4": ROUTED
    | INDEXED
    | {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "q_lora_rank": 16,
        "max_position_embeddings": 64,
        "o_groups": 2,
        "o_lora_rank": 8,
        "partial_rotary_factor": 0.5,
        "sliding_window": 4,
        "compress_rates": {
            "compressed_sparse_attention": 2,
            "heavily_compressed_attention": 4,
        },
        "layer_types": [
            "sliding_attention",
            "heavily_compressed_attention",
            "compressed_sparse_attention",
            "heavily_compressed_attention",
        ],
        "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
        "hc_mult": 2,
    },
    # Two parallel residual streams, as above.
    "hy_v4": LIKE_DEEPSEEK | INDEX_SHARED | DENSE_FIRST | {"hc_mult": 2},
    # Shortcuts around the mixture: two attentions and two feed-forwards a block.
    "longcat_flash": LATENT
    | {
        "hidden_size": 32,
        "num_layers": 3,
        "num_attention_heads": 4,
        "head_dim": 4,
        "max_position_embeddings": 64,
        "ffn_hidden_size": 64,
        "expert_ffn_hidden_size": 32,
        "moe_topk": 2,
        "n_routed_experts": 4,
        "zero_expert_num": 2,
        "routed_scaling_factor": 1.5,
    },
    "glm4_moe_lite": LIKE_DEEPSEEK | DENSE_FIRST,
    "mistral4": LIKE_DEEPSEEK | {"first_k_dense_replace": 1},
    "glm4_moe": LIKE_LLAMA | ROUTED | {"first_k_dense_replace": 1},
    "solar_open": NO_DENSE | ROUTED,
    "dots1": LIKE_LLAMA | ROUTED | {"first_k_dense_replace": 1},
    "ernie4_5_moe": LIKE_LLAMA
    | {
        "moe_num_experts": 4,
        "moe_k": 2,
        "moe_num_shared_experts": 1,
        "moe_intermediate_size": 32,
        "moe_layer_start_index": 1,
    },
    "hunyuan_v1_moe": HEADED | {"num_experts": 4, "moe_topk": 2},
    "afmoe": HEADED
    | MOE
    | LOCAL_GLOBAL
    | {"num_shared_experts": 1, "num_dense_layers": 1, "mup_enabled": True},
    "exaone_moe": LIKE_LLAMA | MOE | LOCAL_GLOBAL | DENSE_FIRST | {"num_shared_experts": 1},
    "hy_v3": HEADED | MOE | DENSE_FIRST | {"num_shared_experts": 1},
    "aria_text": LIKE_LLAMA | {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
    "qwen3_vl_moe_text": HEADED | MOE | SECTIONS,
    "glm4v_moe_text": LIKE_LLAMA | ROUTED | HALF_SECTIONS | {"first_k_dense_replace": 1},
    "minimax_m3_vl_text": HEADED
    | LOCAL_MOE
    | DENSE_FIRST
    | {
        "dense_intermediate_size": 64,
        "shared_intermediate_size": 32,
        "rotary_dim": 4,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_block_size": 4,
        "index_topk_blocks": 2,
        "layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
    },
    "muse_spark_text": HEADED
    | LOCAL_MOE
    | LAST_GLOBAL
    | DENSE_FIRST
    | {"moe_intermediate_size": 32, "moe_hidden_size": 16},
    "mimo_v2_flash": HEADED
    | LOCAL_GLOBAL
    | DENSE_FIRST
    | {
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    },
    "mellum": HEADED | MOE | LOCAL_GLOBAL | DENSE_FIRST,
    "laguna": HEADED | MOE | LOCAL_GLOBAL | DENSE_FIRST | {"shared_expert_intermediate_size": 32},
    "beam": HEADED | MOE | LAST_GLOBAL | DENSE_FIRST | {"n_group": 1, "topk_group": 1},
    "flint": HEADED
    | MOE
    | LOCAL_GLOBAL
    | {"mlp_only_layers": [0], "shared_expert_intermediate_size": 32},
    "kolibri1": NO_DENSE | MOE | LOCAL_GLOBAL | {"shared_expert_intermediate_size": 32},
    "zaya": NO_DENSE | MOE | {"num_experts_per_tok": 1, "router_hidden_size": 16},
    "inkling_text": LIKE_INKLING
    | DENSE_FIRST
    | {"intermediate_size": 64, "n_shared_experts": 1, "logits_mup_width_multiplier": 2.0},
    "inkling2_text": LIKE_INKLING | {"unpadded_vocab_size": 128, "n_layers_per_attn_res_block": 2},
    "cohere2_moe": HEADED
    | LOCAL_GLOBAL
    | DENSE_FIRST
    | {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "num_shared_experts": 1,
        "prefix_dense_intermediate_size": 64,
    },
    "llama4_text": HEADED
    | {
        "intermediate_size_mlp": 64,
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 8,
        "no_rope_layers": [1, 1, 0],
    },
    # Recurrent decoders and hybrids of recurrence and attention
    # The tuples of mamba, falcon_mamba, mamba2 and rwkv lack the embedding: they have every block's
    # output, the last one's too, and then that normalised.
    "mamba": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 3},
    "falcon_mamba": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 3},
    "mamba2": {
        "hidden_size": 32,
        "state_size": 8,
        "num_hidden_layers": 3,
        "num_heads": 4,
        "head_dim": 16,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 3, "context_length": 64},
    # Halves the residual stream after every second block, where the tuple has it halved, and at its
    # first run divides the weights of the blocks behind to match.
    "rwkv-rescaled": {
        "model_type": "rwkv",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "context_length": 64,
        "rescale_every": 2,
    },
    "jamba": LIKE_LLAMA
    | {
        "num_hidden_layers": 4,
        "num_experts": 4,
        "attn_layer_period": 3,
        "attn_layer_offset": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "bamba": LIKE_LLAMA | LIKE_BAMBA | {"attn_layer_indices": [1]},
    "falcon_h1": LIKE_LLAMA
    | LIKE_BAMBA
    | {
        "mamba_d_ssm": 64,
        "embedding_multiplier": 2.0,
        "mlp_multipliers": [0.5, 2.0],
        "key_multiplier": 0.5,
        "attention_out_multiplier": 1.5,
        "attention_in_multiplier": 0.5,
        "ssm_multipliers": [0.5, 1.5, 0.5, 1.5, 0.5],
        "ssm_in_multiplier": 0.5,
        "ssm_out_multiplier": 1.5,
    },
    "granitemoehybrid": LIKE_LLAMA
    | GRANITE_SCALES
    | LIKE_BAMBA
    | LOCAL_MOE
    | {"shared_intermediate_size": 32, "layer_types": ["mamba", "attention", "mamba"]},
    "recurrent_gemma": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "lru_width": 32,
        "attention_window_size": 4,
        "w_init_variance_scale": 1.0,
    },
    "qwen3_next": HEADED | MOE | LINEAR_ATTENTION | {"shared_expert_intermediate_size": 32},
    "qwen3_5_text": HEADED | LINEAR_ATTENTION,
    "qwen3_5_moe_text": NO_DENSE | MOE | LINEAR_ATTENTION | {"shared_expert_intermediate_size": 32},
    "olmo_hybrid": LIKE_LLAMA | LINEAR_ATTENTION,
    "minimax": LIKE_LLAMA
    | LOCAL_MOE
    | {
        "block_size": 8,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "full_attn_alpha_factor": 1.5,
        "full_attn_beta_factor": 0.5,
        "linear_attn_alpha_factor": 1.25,
        "linear_attn_beta_factor": 0.75,
        "mlp_alpha_factor": 1.5,
        "mlp_beta_factor": 0.5,
    },
    "lfm2": LIKE_LLAMA
    | {
        "block_multiple_of": 8,
        "layer_types": ["conv", "full_attention", "conv"],
    },
    "lfm2_moe": LIKE_LLAMA
    | MOE
    | {"num_dense_layers": 1, "layer_types": ["conv", "full_attention", "conv"]},
    "lfm3": HEADED
    | {
        "sliding_window": 4,
        "conv_L_cache": 3,
        "layer_types": ["conv", "sliding_attention", "full_attention"],
    },
    "xlstm": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_heads": 4,
        "chunk_size": 4,
        "ffn_round_up_to_multiple_of": 8,
    },
    # One attention block, called at two places, in front of those places' own recurrent blocks.
    "zamba": LIKE_LLAMA
    | {
        "num_hidden_layers": 6,
        "num_key_value_heads": 4,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
        "layers_block_type": [
            "linear_attention",
            "linear_attention",
            "hybrid",
            "linear_attention",
            "hybrid",
            "linear_attention",
        ],
    },
    # Two attention blocks in turn, called at three places.
    "zamba2": LIKE_BERT
    | {
        "num_hidden_layers": 6,
        "mamba_d_state": 8,
        "n_mamba_heads": 4,
        "chunk_size": 8,
        "use_mamba_kernels": False,
        "num_mem_blocks": 2,
        "adapter_rank": 8,
        "use_mem_rope": True,
        "layers_block_type": [
            "linear_attention",
            "hybrid",
            "linear_attention",
            "hybrid",
            "linear_attention",
            "hybrid",
        ],
    },
    # Every block is one sublayer.
    "nemotron_h": {k: v for k, v in HEADED.items() if k != "num_hidden_layers"}
    | {
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 8,
        "use_mamba_kernels": False,
        "n_routed_experts": 4,
        "moe_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 32,
        "routed_scaling_factor": 1.5,
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
    },
    "kimi_linear": {k: v for k, v in LIKE_DEEPSEEK.items() if k != "n_routed_experts"}
    | LINEAR_FULL_LINEAR
    | DENSE_FIRST
    | {"num_local_experts": 4, "linear_head_dim": 8, "linear_num_heads": 4},
    "bailing_hybrid": {
        k: v for k, v in LIKE_DEEPSEEK.items() if k not in {"n_routed_experts", "q_lora_rank"}
    }
    | LINEAR_FULL_LINEAR
    | DENSE_FIRST
    | {"num_local_experts": 4, "head_dim": 8},
    # Two parallel residual streams, which the tuple's entries carry as a dimension before the
    # width, all but the last.
    "glm5_next_text": LIKE_DEEPSEEK
    | INDEXED
    | DENSE_FIRST
    | {
        "qk_rope_head_dim": 0,
        "qk_nope_head_dim": 8,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "hc_mult": 2,
        "index_kpool": 2,
        "layer_types": ["linear_attention", "indexed_attention", "linear_attention"],
    },
    # Two parallel residual streams, side by side in the tuple's entries, of width 64, all but the
    # last.
    "qwen4_exp_text": NO_DENSE
    | MOE
    | LINEAR_ATTENTION
    | {
        "shared_expert_intermediate_size": 32,
        "layer_types": ["linear_attention", "linear_attention", "indexed_attention"],
        "hc_count": 2,
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
        "ple_layer_ids": [2],
        "heads_per_ngram": 2,
        "ngram_vocab_size_base": 64,
        "split_ngram_parts": 1,
    },
    # Encoders
    "bert": LIKE_BERT,
    "bert-generation": LIKE_BERT,
    "roberta": LIKE_BERT,
    "xlm-roberta": LIKE_BERT,
    "xlm-roberta-xl": LIKE_BERT,
    "camembert": LIKE_BERT,
    "data2vec-text": LIKE_BERT,
    "roberta-prelayernorm": LIKE_BERT,
    "xmod": LIKE_BERT | {"default_language": "en_XX"},
    "xmod-prenorm": LIKE_BERT
    | {"model_type": "xmod", "default_language": "en_XX", "pre_norm": True},
    "ernie": LIKE_BERT,
    "ernie-task": LIKE_BERT | {"model_type": "ernie", "use_task_id": True},
    "roc_bert": LIKE_BERT
    | {
        "pronunciation_embed_dim": 16,
        "pronunciation_vocab_size": 128,
        "shape_embed_dim": 16,
        "shape_vocab_size": 128,
    },
    "electra": LIKE_BERT | {"embedding_size": 16},
    # One block, called three times.
    "albert": LIKE_BERT | {"embedding_size": 16},
    # Three groups of two blocks: the tuple has an entry for each of the six.
    "albert-groups": LIKE_BERT
    | {
        "model_type": "albert",
        "embedding_size": 16,
        "num_hidden_groups": 3,
        "inner_group_num": 2,
    },
    "distilbert": {
        "dim": 32,
        "hidden_dim": 64,
        "n_layers": 3,
        "n_heads": 4,
        "max_position_embeddings": 64,
    },
    "deberta": LIKE_BERT,
    "deberta-relative": LIKE_BERT | RELATIVE | {"model_type": "deberta"},
    "deberta-v2": LIKE_BERT,
    # A convolution beside the first block changes its output before the second reads it.
    "deberta-v2-relative": LIKE_BERT
    | RELATIVE
    | {"model_type": "deberta-v2", "conv_kernel_size": 3, "conv_act": "gelu"},
    "modernbert": LIKE_BERT
    | {
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 8,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    "mpnet": LIKE_BERT,
    "rembert": LIKE_BERT | {"input_embedding_size": 16, "output_embedding_size": 16},
    "roformer": LIKE_BERT | {"embedding_size": 16},
    "convbert": LIKE_BERT | {"embedding_size": 16, "conv_kernel_size": 3},
    "squeezebert": LIKE_BERT
    | {
        "embedding_size": 32,
        "q_groups": 2,
        "k_groups": 2,
        "v_groups": 2,
        "intermediate_groups": 2,
        "output_groups": 2,
    },
    "mobilebert": LIKE_BERT
    | {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
    "fnet": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "max_position_embeddings": 64,
        "tpu_short_seq_length": 12,
    },
    "megatron-bert": LIKE_BERT,
    "ibert": LIKE_BERT,
    "splinter": LIKE_BERT | {"question_token_id": 3},
    "eurobert": LIKE_LLAMA | {"mask_token_id": 4},
    "nomic_bert": LIKE_BERT,
    "gte": LIKE_BERT,
    "jina_embeddings_v3": LIKE_BERT,
    "ultrabert": LIKE_LLAMA | LOCAL_GLOBAL | {"prediction_head_size": 32},
    "esm": LIKE_BERT | {"mask_token_id": 4},
    "esm-rotary": LIKE_BERT
    | {
        "model_type": "esm",
        "mask_token_id": 4,
        "position_embedding_type": "rotary",
        "emb_layer_norm_before": True,
    },
    "esmc": LIKE_BERT | {"mask_token_id": 4},
    "nystromformer": LIKE_BERT | {"segment_means_seq_len": 4, "num_landmarks": 4},
    # Without its CUDA kernels its attention is silently zero, all but the output's bias.
    "mra": LIKE_BERT,
    "yoso": LIKE_BERT,
    "longformer": LIKE_BERT | {"attention_window": 4},
    "big_bird": LIKE_BERT | {"attention_type": "original_full", "sep_token_id": 3},
    # Characters at both ends, a quarter as many positions between: the tuple joins those of its
    # three encoders, and its entries differ in length. The vocabulary is hashed. Fewer tokens than
    # that quarter takes, four, raise.
    "canine": LIKE_BERT | {"num_hash_buckets": 64, "local_transformer_stride": 4},
    "luke": LIKE_BERT | {"entity_vocab_size": 16, "entity_emb_size": 16},
    "markuplm": LIKE_BERT
    | {
        "max_xpath_tag_unit_embeddings": 16,
        "tag_pad_id": 15,
        "max_xpath_subs_unit_embeddings": 16,
        "subs_pad_id": 15,
        "xpath_unit_hidden_size": 4,
        "max_depth": 4,
    },
    "tapas": LIKE_BERT,
    # Of documents and of images, but run on text alone too. The width of lilt is of six parts.
    "layoutlm": LIKE_BERT | {"max_2d_position_embeddings": 64},
    "layoutlmv3": LIKE_BERT
    | {
        "visual_embed": False,
        "coordinate_size": 4,
        "shape_size": 8,
        "max_2d_position_embeddings": 64,
    },
    "lilt": LIKE_BERT | {"hidden_size": 48, "max_2d_position_embeddings": 64},
    "visual_bert": LIKE_BERT,
    # last_hidden_state is normalised, the tuple's last entry is not.
    "clip_text_model": LIKE_BERT | {"projection_dim": 32, "initializer_factor": 2.0},
    "tipsv2_text_model": LIKE_BERT,
    # Convolutions are the first and the last block, and the tuple does not have their outputs.
    "sam3_lite_text_text_model": LIKE_BERT
    | {
        "num_hidden_layers": 4,
        "projection_dim": 32,
        "repmixer_kernel_size": 3,
        "layer_scale_init_value": 0.5,
    },
    # Gives no last_hidden_state, only the first token's, as pooler_output.
    "dpr": LIKE_BERT,
    "openai_privacy_filter": HEADED | LOCAL_MOE | {"sliding_window": 4},
    "t5gemma2_encoder": T5GEMMA2_ENCODER,
    "xlm": LIKE_XLM,
    "xlm-causal": LIKE_XLM | {"model_type": "xlm", "causal": True},
    "flaubert": LIKE_XLM,
    "flaubert-prenorm": LIKE_XLM | {"model_type": "flaubert", "pre_norm": True},
    # Its blocks have the tokens first and the batch second, the tuple has them in the usual order.
    "xlnet": {"d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 64},
    # Halves the sequence from block to block, and repeats the last states at the full length for a
    # last block, in front of which it adds those of the first: entries differ in length. Fewer
    # than five tokens raise.
    "funnel": LIKE_FUNNEL,
    "funnel-deep": LIKE_FUNNEL | {"model_type": "funnel", "block_sizes": [2, 2]},
    "funnel-base": LIKE_FUNNEL | {"model_type": "funnel", "architectures": ["FunnelBaseModel"]},
    # Encoders with decoders
    "t5": LIKE_T5,
    "t5-gated": LIKE_T5 | {"model_type": "t5", "feed_forward_proj": "gated-gelu"},
    "mt5": LIKE_T5,
    "umt5": LIKE_T5,
    "longt5": LIKE_T5 | {"local_radius": 3, "global_block_size": 4},
    "longt5-global": LIKE_T5
    | {
        "model_type": "longt5",
        "local_radius": 3,
        "global_block_size": 4,
        "encoder_attention_type": "transient-global",
    },
    "switch_transformers": LIKE_T5
    | {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4},
    "bart": LIKE_BART,
    "mbart": LIKE_BART,
    "plbart": LIKE_BART,
    "mvp": LIKE_BART,
    "pegasus": LIKE_BART,
    # The last of encoder_hidden_states is a pair: the tokens' states and the global tokens'.
    "pegasus_x": LIKE_BART | {"num_global_tokens": 4, "block_size": 4},
    "bigbird_pegasus": LIKE_BART | {"attention_type": "original_full"},
    "m2m_100": LIKE_BART | {"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0},
    "marian": LIKE_BART,
    "blenderbot": LIKE_BART,
    "blenderbot-small": LIKE_BART,
    "nllb-moe": LIKE_BART
    | {
        "num_experts": 4,
        "expert_capacity": 64,
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
    },
    "led": {k: v for k, v in LIKE_BART.items() if k != "max_position_embeddings"}
    | {
        "max_encoder_position_embeddings": 64,
        "max_decoder_position_embeddings": 64,
        "attention_window": 4,
    },
    # Its last_hidden_state is the projection of the last state onto the vocabulary. Its blocks have
    # the tokens first and the batch second, the tuples have them in the usual order.
    "fsmt": LIKE_BART | {"src_vocab_size": 128, "tgt_vocab_size": 128},
    # Its decoder's blocks carry a stream for every token ahead behind the main one, along the
    # sequence; the tuple has the main one alone.
    "prophetnet": {
        "hidden_size": 32,
        "num_encoder_layers": 3,
        "num_encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "num_decoder_layers": 3,
        "num_decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "init_std": 0.2,
    },
    "t5gemma": {
        "encoder": SMALL | HEADED | LOCAL_GLOBAL | {"query_pre_attn_scalar": 8},
        "decoder": SMALL
        | HEADED
        | LOCAL_GLOBAL
        | {"query_pre_attn_scalar": 8, "cross_attention_hidden_size": 32},
    },
    # Its encoder always has a tower for images, here unused.
    "t5gemma2": {
        "encoder": T5GEMMA2_ENCODER,
        "decoder": SMALL | HEADED | LOCAL_GLOBAL | {"query_pre_attn_scalar": 8},
        "image_token_index": 127,
        "eoi_token_index": 125,
    },
}

LEFT_OUT: dict[str, str] = {
    "flaubert-prenorm": "flaubert with pre_norm indexes its cache by block, which raises",
    "diffusion_gemma": "has a tower for images, and a decoder that refines a canvas of tokens",
    "evolla": "cross-attends to a protein's encoding",
    "bros": "wants a box for every token",
    "layoutlmv2": "wants a box for every token, an image, and the package detectron2",
    "udop": "wants a box for every token",
    "lxmert": "wants the features of an image's regions",
    "imagegpt": "its tokens are the colours of pixels",
    "vits": "its text encoder ends in speech",
    "fastspeech2_conformer": "its text encoder ends in speech",
    "nezha": "is not in transformers any more",
    "neobert": "is not in transformers",
}


def make(kind: str, **options: object) -> PreTrainedModel:
    """Build the family's model, random but the same each time, in evaluation mode."""
    # A configuration changes what it is given, its rope parameters for one.
    chosen = deepcopy(SMALL | FAMILIES[kind] | options)
    config = AutoConfig.for_model(str(chosen.pop("model_type", kind)), **chosen)
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    # What starts constant (biases, norms, layer scales, some projections) would hide a mistake:
    # a bias of zero cannot be missed, nor a weight of one, and a scale of zero silences its branch.
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.numel() and tensor.min() == tensor.max():
                tensor.add_(torch.randn_like(tensor) * 0.1)
    return model.eval()
