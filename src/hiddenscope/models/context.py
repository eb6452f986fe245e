"""How many tokens a model can see at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.models.rotary import DYNAMIC

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_DECLARED = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "context_length",
    "max_source_positions",
    "max_target_positions",
    "max_encoder_position_embeddings",
    "max_decoder_position_embeddings",
)
_TABLES = ("wpe", "position_embeddings", "positions_embed", "embed_positions")


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the longest window that the model can use, or None where nothing limits it.

    The smallest of what the configuration declares, what the position tables hold and what the
    tokenizer allows. RoBERTa and its kin start positions behind their padding index, so they can
    use fewer positions than their table has.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizerBase or None

    Returns
    -------
    int or None
        In tokens.
    """
    config = model.config.get_text_config()
    limits = [*_declared(config), *_behind_padding(model)] or _table_sizes(model)
    # Tokenizers without a limit declare one of about 10³⁰.
    if tokenizer is not None and 0 < tokenizer.model_max_length < 1 << 30:
        limits.append(int(tokenizer.model_max_length))
    if config.model_type == "prophetnet":
        # Its decoder also looks up the position after the last one.
        limits = [limit - 1 for limit in limits]
    return min(limits) if limits else None


def _declared(config: PreTrainedConfig) -> list[int]:
    found = {name: getattr(config, name, None) for name in _DECLARED}
    # Dynamic rotary tables stretch what is declared; the other kinds declare it stretched.
    stretch = _stretch(getattr(config, "rope_parameters", None) or {})
    if isinstance(found["max_position_embeddings"], int):
        found["max_position_embeddings"] = int(found["max_position_embeddings"] * stretch)
    return [n for n in found.values() if isinstance(n, int) and n > 0]


def _stretch(settings: dict[str, Any]) -> float:
    # The settings of a model, or those of each kind of its layers.
    several = [s for s in settings.values() if isinstance(s, dict)] or [settings]
    return min(
        float(s.get("factor") or 1) if DYNAMIC in str(s.get("rope_type")) else 1.0 for s in several
    )


def _behind_padding(model: PreTrainedModel) -> list[int]:
    return [
        len(table) - padding - 1
        for module, table in _tables(model)
        if isinstance(padding := getattr(module, "padding_idx", None), int)
    ]


def _table_sizes(model: PreTrainedModel) -> list[int]:
    # OPT and BART keep their first two rows for something else.
    return [len(table) - getattr(module, "offset", 0) for module, table in _tables(model)]


def _tables(model: PreTrainedModel) -> list[tuple[torch.nn.Module, torch.Tensor]]:
    """Return the modules that look up positions, with their weights [position, channel]."""
    # I-BERT's is a class of its own, so what counts is the name and a table of two axes.
    found = (
        (module, getattr(module, "weight", None))
        for path, module in model.named_modules()
        if path.rpartition(".")[2] in _TABLES
    )
    return [(m, w) for m, w in found if isinstance(w, torch.Tensor) and w.ndim == 2]
