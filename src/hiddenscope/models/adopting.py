"""Models that the user has loaded: out of their wrappers, with what the wrappers did noted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from hiddenscope.errors import ModelError
from hiddenscope.models.loaded import LoadedModel, quantisation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PARALLEL = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
_SHARDED = {"FullyShardedDataParallel", "FSDPModule"}
# Adapters whose own model decides, before each pass, what the layers inside do.
_OUTSIDE = {"XLORA", "POLY"}


def adopt(
    model: Any, tokenizer: PreTrainedTokenizerBase | None, name: str | None = None
) -> LoadedModel:
    """Take a model that the user has loaded; a head, if it has one, is left aside.

    Parameters
    ----------
    model : PreTrainedModel
        Or one inside ``torch.compile``, ``DataParallel``, ``DistributedDataParallel`` or
        ``peft.PeftModel``, whose adapter is then measured with it.
    tokenizer : PreTrainedTokenizerBase or None
    name : str, optional
        How the model is called in captions; by default as its configuration says.

    Returns
    -------
    LoadedModel
        Its identity says whether the model came compiled, and which adapters it has and uses.

    Raises
    ------
    ModelError
        `model` is not a transformers model, its weights are sharded (FSDP), parts of it are
        compiled, or its adapter acts outside of its blocks (prompt and prefix tuning).
    """
    whole, compiled, adapters = _unwrap(model)
    _check_sharded(whole)
    if not isinstance(whole, PreTrainedModel):
        msg = (
            f"expected a transformers model or its name, got {type(whole).__name__}: "
            "for arrays from elsewhere use hiddenscope.from_states"
        )
        raise ModelError(msg)
    if whole._hf_peft_config_loaded:
        adapters = _adapters(whole)
    base = whole.base_model
    _check_compiled(base)
    known = name or getattr(whole.config, "_name_or_path", "") or type(whole).__name__
    identity = {
        "id": known,
        "source": "object",
        "revision": None,
        "checkpoint_sha256": None,
        "quantisation": quantisation(whole.config),
        "compiled": compiled,
        **adapters,
    }
    return LoadedModel(base, tokenizer, Path(known).name or known, identity, whole)


def _unwrap(model: Any) -> tuple[Any, bool, dict[str, list[str]]]:
    compiled = False
    adapters: dict[str, list[str]] = {"adapters": [], "active_adapters": []}
    # Who has not imported peft has no model of its kind.
    peft = sys.modules.get("peft")
    while isinstance(model, torch.nn.Module):
        compiled |= model._compiled_call_impl is not None
        if "OptimizedModule" in _kinds(model):
            model, compiled = model._orig_mod, True
        elif isinstance(model, _PARALLEL):
            model = model.module
        elif peft is not None and isinstance(model, peft.PeftModel | peft.PeftMixedModel):
            _check_adapter(model)
            adapters = _adapters(model)
            model = model.get_base_model()
        else:
            break
    return model, compiled, adapters


def _kinds(module: torch.nn.Module) -> set[str]:
    # Told by name: importing these classes loads a compiler and a cluster's machinery.
    return {kind.__name__ for kind in type(module).__mro__}


def _check_adapter(model: Any) -> None:
    for name in model.active_adapters:
        config = model.peft_config[name]
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if config.is_prompt_learning:
            why = "puts virtual tokens before the text, outside of the model"
        elif kind in _OUTSIDE or getattr(config, "alora_invocation_tokens", None):
            why = "is steered from outside of the model, by each input"
        else:
            continue
        msg = (
            f"the adapter {name!r} ({kind}) {why}, so its states cannot be measured: pass "
            "model.get_base_model() to measure the model without it, or an adapter that lives in "
            "the model's layers, such as LoRA"
        )
        raise ModelError(msg)


def _adapters(model: Any) -> dict[str, list[str]]:
    status = sys.modules["peft"].get_model_status(model)
    # "irregular" where layers differ; then some of them are at work.
    active = status.active_adapters if status.enabled else []
    return {
        "adapters": list(status.available_adapters),
        "active_adapters": [active] if isinstance(active, str) else list(active),
    }


def _check_sharded(model: Any) -> None:
    modules = model.named_modules() if isinstance(model, torch.nn.Module) else ()
    for path, module in modules:
        if _kinds(module) & _SHARDED:
            msg = (
                f"{_part(model, path)} is sharded by FSDP, so that no process holds its weights: "
                "load the model without FSDP (device_map='auto' spreads it over devices)"
            )
            raise ModelError(msg)


def _check_compiled(model: PreTrainedModel) -> None:
    for path, module in model.named_modules():
        if module._compiled_call_impl is not None or "OptimizedModule" in _kinds(module):
            msg = (
                f"{_part(model, path)} is compiled in place, where its inner states cannot be "
                "reached: pass the model as it was before, or what torch.compile(model) returns"
            )
            raise ModelError(msg)


def _part(model: torch.nn.Module, path: str) -> str:
    return f"{type(model).__name__}.{path}" if path else type(model).__name__
