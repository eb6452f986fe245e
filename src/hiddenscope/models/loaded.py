"""A model that is ready to run, and what the manifest says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedModel:
    """A base model ready to run, with its tokenizer.

    Attributes
    ----------
    model : PreTrainedModel
        Without a language-modelling head, in evaluation mode.
    tokenizer : PreTrainedTokenizerBase or None
    name : str
        How the model is called in captions.
    identity : dict
        What the manifest says of where it came from.
    outer : PreTrainedModel, optional
        The same model with its head, by whose names linear layers are called; its head may be
        without weights.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    identity: dict[str, Any]
    outer: PreTrainedModel | None = None


def describe(loaded: LoadedModel) -> dict[str, Any]:
    """Return the manifest's description of a model."""
    model = loaded.model
    # Quantised weights have several dtypes, spread ones several devices: the most used first.
    dtypes: Counter[str] = Counter()
    devices: Counter[str] = Counter()
    for parameter in model.parameters():
        dtypes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
        # accelerate leaves a shell where it moved a weight away until it is needed.
        device = "offloaded" if parameter.is_meta else str(parameter.device)
        devices[device] += parameter.numel()
    return {
        "name": loaded.name,
        **loaded.identity,
        "architecture": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": dtypes.total(),
        "weight_dtype": ", ".join(name for name, _ in dtypes.most_common()),
        "device": ", ".join(name for name, _ in devices.most_common()),
        "attention": getattr(model.config, "_attn_implementation", None),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def quantisation(config: PreTrainedConfig) -> str | None:
    """Return the method that a checkpoint is quantised with, or None."""
    settings = quantisation_settings(config)
    if settings is None:
        return None
    # Early bitsandbytes checkpoints say only how many bits they have.
    method = settings.get("quant_method", "bitsandbytes")
    return str(getattr(method, "value", method))


def quantisation_settings(config: PreTrainedConfig) -> dict[str, Any] | None:
    """Return what a configuration says of its quantisation, or None."""
    for held in (config, config.get_text_config()):
        found = getattr(held, "quantization_config", None)
        if found:
            settings: dict[str, Any] = found if isinstance(found, dict) else found.to_dict()
            return settings
    return None
