"""From a name to a model and its tokenizer, or a clear refusal: never random weights."""

from __future__ import annotations

import shlex
import warnings
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_accelerate_available

from hiddenscope import arguments
from hiddenscope.errors import HiddenscopeWarning, ModelError
from hiddenscope.models import checkpoint, gguf_file, hub, memory
from hiddenscope.models.adopting import adopt
from hiddenscope.models.context import context_length
from hiddenscope.models.guard import attempt, quiet
from hiddenscope.models.heads import with_head
from hiddenscope.models.loaded import LoadedModel, describe
from hiddenscope.models.tokenizers import with_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

__all__ = ["DEMO", "DTYPES", "LoadedModel", "adopt", "context_length", "describe", "load"]

DEMO = "demo"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DTYPES |= {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


def load(
    name: str,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    revision: str | None = None,
    trust_remote_code: bool = False,
    device_map: str | dict[str, Any] | None = None,
) -> LoadedModel:
    """Load a base model and its tokenizer by name.

    Parameters
    ----------
    name : str
        ``demo``, a folder in Hugging Face format, a GGUF file, or the name of a model on the hub.
    tokenizer : PreTrainedTokenizerBase, optional
        In place of the model's own, which may then be missing.
    dtype : {'float32', 'bfloat16', 'float16'}, optional
        By default as the model's configuration says; float32 for a GGUF file.
    device : str
        Any device that torch knows (``cpu``, ``cuda``, ``cuda:1``, ``mps``), or ``auto``: the
        first of ``cuda``, ``mps`` and ``cpu`` that is there.
    revision : str, optional
        A branch, tag or commit of a model on the hub.
    trust_remote_code : bool
        Run code that comes with the model, where transformers has none for it.
    device_map : str or dict, optional
        Spread the model over several devices, as accelerate does: ``auto``, or module → device.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        The model or its revision does not exist or cannot be reached, has no tokenizer or no
        safetensors weights, lacks some weights, does not fit into memory, needs code or packages
        that are not there, is a GGUF file that is damaged or that transformers cannot read, or
        `dtype`, `device` or `device_map` cannot be used.

    Warns
    -----
    HiddenscopeWarning
        Code that comes with the model is run.
    """
    arguments.check({"name": arguments.TEXT}, {"name": name})
    if dtype is not None and dtype not in DTYPES:
        msg = f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}"
        raise ModelError(msg)
    device = _device(device, device_map)
    if name != DEMO and (gguf := gguf_file.find(name)):
        _check_revision(name, revision)
        precision = DTYPES[dtype] if dtype else None
        made = gguf_file.load(name, gguf, dtype=precision, device=device, device_map=device_map)
        return with_tokenizer(made, tokenizer)
    folder = _local_folder(name)
    # Where the hub cannot be asked, what is cached is all there is.
    where: dict[str, Any] = {}
    if folder is None:
        commit, reachable = hub.locate(name, revision)
        where = {"revision": commit, "local_files_only": not reachable}
    else:
        _check_revision(name, revision)
        checkpoint.check_folder(name, folder, tokenizer=tokenizer is None)
    source, what = str(folder) if folder else name, f"{name!r}{hub.at(revision)}"
    with quiet():
        owners = attempt(what, hub.owners_of_code, source, where) if trust_remote_code else []
        _warn_of_code(name, owners)
        code = {"trust_remote_code": trust_remote_code, **where}
        config = attempt(what, AutoConfig.from_pretrained, source, **code)
        if tokenizer is None:
            tokenizer = attempt(what, AutoTokenizer.from_pretrained, source, **code)
            checkpoint.check_tokenizer(name, tokenizer)
        method = attempt(what, checkpoint.check_quantisation, name, config)
        what += f", quantised with {method}" if method else ""
        if device_map is None:
            _check_memory(name, folder, where, _target(dtype, config, method), device)
            # Some quantised weights cannot be moved once they are loaded.
            if method and is_accelerate_available():
                device_map = {"": device}
        kind = _kind(config, owners)
        model, info = attempt(
            what,
            kind.from_pretrained,
            source,
            config=config,
            dtype=DTYPES[dtype] if dtype else "auto",
            use_safetensors=True,
            # Reported to us by name, and refused below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            device_map=device_map,
            **code,
        )
    checkpoint.check_loaded(name, model, info)
    model.eval().requires_grad_(False)
    if device_map is None:
        attempt(what, model.to, device)
    files_at = folder or hub.snapshot(name, where["revision"])
    identity = {
        "id": name,
        "source": "embedded" if name == DEMO else "folder" if folder else "hub",
        # A snapshot's folder is named after its commit.
        "revision": None if folder else files_at.name if files_at else where["revision"],
        "requested_revision": revision,
        "checkpoint_sha256": checkpoint.digest(files_at) if files_at else None,
        "quantisation": method,
        "code_from": owners,
        **checkpoint.unused_weights(model, info, files_at),
    }
    label = folder.resolve().name if folder and name != DEMO else name
    base, outer = (model, None) if kind is AutoModel else (model.base_model, model)
    return LoadedModel(base, tokenizer, label, identity, outer or with_head(base))


def _device(device: str, device_map: str | dict[str, Any] | None) -> str:
    if device_map is not None:
        _check_device_map(device, device_map)
    if device == "auto":
        there = {
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
            "cpu": True,
        }
        device = next(name for name, is_there in there.items() if is_there)
    try:
        # Reading it back shows that the device holds values, as "meta" does not.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        msg = (
            f"cannot use device {device!r} ({first_line}): choose 'cpu', 'auto' or an available "
            "device"
        )
        raise ModelError(msg) from error
    return device


def _check_device_map(device: str, device_map: str | dict[str, Any]) -> None:
    if device not in {"cpu", "auto"}:
        msg = f"device {device!r} and device_map cannot both be given: choose one"
        raise ModelError(msg)
    if isinstance(device_map, str) and device_map not in _DEVICE_MAPS:
        msg = (
            f"unknown device_map {device_map!r}: choose one of {', '.join(_DEVICE_MAPS)}, or a "
            "dictionary of module → device"
        )
        raise ModelError(msg)
    if not is_accelerate_available():
        msg = "device_map needs accelerate: pip install 'hiddenscope[accelerate]'"
        raise ModelError(msg)


def _check_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        kind = "the embedded model" if name == DEMO else "a folder or file"
        msg = (
            f"{name!r} is {kind}, which has no revisions: leave revision {revision!r} out, or "
            "name a model on the hub"
        )
        raise ModelError(msg)


def _warn_of_code(name: str, owners: list[str]) -> None:
    if owners:
        msg = f"code from {', '.join(map(repr, owners))} is run to load the model {name!r}"
        warnings.warn(msg, HiddenscopeWarning, stacklevel=3)


def _kind(config: PreTrainedConfig, owners: list[str]) -> Any:
    offered = getattr(config, "auto_map", None) or {}
    # Many models with code of their own offer nothing but a language model with its head.
    headed = owners and "AutoModel" not in offered and "AutoModelForCausalLM" in offered
    return AutoModelForCausalLM if headed else AutoModel


def _check_memory(
    name: str,
    folder: Path | None,
    where: dict[str, Any],
    dtype: torch.dtype | None,
    device: str,
) -> None:
    files_at = folder or hub.snapshot(name, where["revision"])
    stored = memory.stored_in(files_at) if files_at else None
    if stored is None and folder is None and not where["local_files_only"]:
        stored = memory.stored_on_hub(name, where["revision"])
    if stored is not None:
        memory.check_memory(name, stored, dtype, device)


def _target(dtype: str | None, config: PreTrainedConfig, method: str | None) -> torch.dtype | None:
    """Return what floating-point weights are loaded to, None for as they are stored."""
    if method is not None:
        return None
    declared = config.dtype if isinstance(config.dtype, torch.dtype) else None
    return DTYPES[dtype] if dtype else declared


def _local_folder(name: str) -> Path | None:
    if name == DEMO:
        return Path(str(files("hiddenscope") / "assets" / "demo"))
    path = Path(name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{name[:60]!r}… is no model's name ({reason}): for a text use --text"
        raise ModelError(msg) from error
    if is_folder:
        return path
    if is_file or name.startswith("sample:"):
        what = "a file" if is_file else "a text"
        msg = (
            f"{name!r} is {what}, but the first argument is the model: "
            f"say `hiddenscope profile demo {shlex.quote(name)}`"
        )
        raise ModelError(msg)
    if name.startswith(("/", "./", "../", "~")) or not name.strip():
        msg = f"there is no model folder {name!r}: check the path, or use 'demo'"
        raise ModelError(msg)
    return None
