"""From a name to a model and its tokenizer, or a clear refusal: never random weights."""

from __future__ import annotations

import hashlib
import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hiddenscope.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

DEMO = "demo"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

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
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    identity: dict[str, Any]


def load(name: str, *, dtype: str | None = None, device: str = "cpu") -> LoadedModel:
    """Load a base model and its tokenizer by name.

    Parameters
    ----------
    name : str
        ``demo``, a folder in Hugging Face format, or the name of a model on the hub.
    dtype : {'float32', 'bfloat16', 'float16'}, optional
        By default as the model's configuration says.
    device : str
        Any device that torch knows.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        The model does not exist or cannot be reached, has no tokenizer or no safetensors
        weights, lacks some weights, or `dtype` or `device` is unknown.
    """
    if dtype is not None and dtype not in DTYPES:
        msg = f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}"
        raise ModelError(msg)
    _check_device(device)
    folder = _local_folder(name)
    # Where the hub cannot be asked, what is cached is all there is.
    where: dict[str, Any] = {}
    if folder is None:
        where = {"local_files_only": not _reachable(name)}
    else:
        _check_folder(name, folder)
    source = str(folder) if folder else name
    with _quiet():
        config = _attempt(name, AutoConfig.from_pretrained, source, **where)
        tokenizer = _attempt(name, AutoTokenizer.from_pretrained, source, **where)
        _check_tokenizer(name, tokenizer)
        model, info = _attempt(
            name,
            AutoModel.from_pretrained,
            source,
            config=config,
            dtype=DTYPES[dtype] if dtype else "auto",
            use_safetensors=True,
            # Reported to us by name, and refused below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **where,
        )
    _check_weights(name, info)
    model.eval().requires_grad_(False).to(device)
    revision = getattr(config, "_commit_hash", None)
    files_at = folder or _snapshot(name, revision)
    identity = {
        "id": name,
        "source": "embedded" if name == DEMO else "folder" if folder else "hub",
        "revision": revision,
        "checkpoint_sha256": _digest(files_at) if files_at else None,
    }
    label = folder.resolve().name if folder and name != DEMO else name
    return LoadedModel(model, tokenizer, label, identity)


def adopt(
    model: Any, tokenizer: PreTrainedTokenizerBase | None, name: str | None = None
) -> LoadedModel:
    """Take a model that the user has loaded; a head, if it has one, is left aside.

    Raises
    ------
    ModelError
        `model` is not a transformers model.
    """
    if not isinstance(model, PreTrainedModel):
        msg = (
            f"expected a transformers model or its name, got {type(model).__name__}: "
            "for arrays from elsewhere use hiddenscope.from_states"
        )
        raise ModelError(msg)
    base = model.base_model
    known = name or getattr(model.config, "_name_or_path", "") or type(model).__name__
    identity = {"id": known, "source": "object", "revision": None, "checkpoint_sha256": None}
    return LoadedModel(base, tokenizer, Path(known).name or known, identity)


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the longest window that the model can use, or None where nothing limits it.

    RoBERTa and its kin start positions behind their padding index, so they can use fewer
    positions than their table has.
    """
    limits = []
    declared = getattr(model.config, "max_position_embeddings", None)
    if isinstance(declared, int) and declared > 0:
        limits.append(declared)
    for path, module in model.named_modules():
        is_table = isinstance(module, torch.nn.Embedding) and "position_embedding" in path
        if is_table and module.padding_idx is not None:
            limits.append(int(module.num_embeddings) - module.padding_idx - 1)
    # Tokenizers without a limit declare one of about 10³⁰.
    if tokenizer is not None and 0 < tokenizer.model_max_length < 1 << 30:
        limits.append(int(tokenizer.model_max_length))
    return min(limits) if limits else None


def describe(loaded: LoadedModel) -> dict[str, Any]:
    """Return the manifest's description of a model."""
    model = loaded.model
    return {
        "name": loaded.name,
        **loaded.identity,
        "architecture": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weight_dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "attention": getattr(model.config, "_attn_implementation", None),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def _local_folder(name: str) -> Path | None:
    if name == DEMO:
        return Path(str(files("hiddenscope") / "assets" / "demo"))
    path = Path(name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        msg = f"{name[:60]!r}… is no model's name ({error}): for a text use --text"
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


def _reachable(name: str) -> bool:
    """Ask the hub once: transformers would go on asking for minutes where there is no network."""
    cached = None
    try:
        cached = try_to_load_from_cache(name, "config.json")
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
    except HfHubHTTPError:
        # The hub answered; what is wrong with the name is said best by transformers.
        return True
    except Exception as error:
        if isinstance(cached, str):
            return False
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _not_loaded(name, reason) from error
    return True


def _snapshot(name: str, revision: str | None) -> Path | None:
    """Return the folder of the cache that a hub model was loaded from."""
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def _check_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    # Where the files are missing, transformers makes a tokenizer that knows special tokens only.
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        msg = (
            f"{name!r} comes without a vocabulary: its tokenizer files are missing or empty; load "
            "model and tokenizer yourself and call hiddenscope.profile(model, tokenizer=...)"
        )
        raise ModelError(msg)


def _check_folder(name: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        msg = (
            f"{name!r} is a folder without config.json: point at a folder saved by transformers; "
            f"if it holds texts, say `hiddenscope profile demo {shlex.quote(name)}`"
        )
        raise ModelError(msg)
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        msg = (
            f"{name!r} holds no tokenizer files (such as tokenizer.json): copy the tokenizer's "
            "files into the folder, or load both yourself and call "
            "hiddenscope.profile(model, tokenizer=...)"
        )
        raise ModelError(msg)
    if not any(folder.glob("*.safetensors")):
        msg = (
            f"{name!r} holds no *.safetensors weights (pickles are not read): convert them with "
            "model.save_pretrained(folder)"
        )
        raise ModelError(msg)


def _check_weights(name: str, info: dict[str, Any]) -> None:
    # A pooler stands behind the last block and is often left out of a checkpoint.
    missing = sorted(k for k in info["missing_keys"] if "pooler" not in k)
    mismatched = sorted(k[0] for k in info["mismatched_keys"])
    broken = missing or mismatched
    if broken:
        what = "lacks" if missing else "has other shapes for"
        shown = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
        msg = (
            f"the checkpoint of {name!r} {what} weights that the model needs ({shown}): they "
            "would be random, so nothing is measured; check config.json against the weights"
        )
        raise ModelError(msg)


def _check_device(device: str) -> None:
    try:
        # Reading it back shows that the device holds values, as "meta" does not.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        msg = f"cannot use device {device!r} ({first_line}): choose 'cpu' or an available device"
        raise ModelError(msg) from error


def _attempt(name: str, load_part: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return load_part(*args, **kwargs)
    except Exception as error:
        # Whatever a broken file or configuration makes transformers raise is the input's fault.
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= 300 else reason[:300] + "…"
        raise _not_loaded(name, reason) from error


def _not_loaded(name: str, reason: str) -> ModelError:
    return ModelError(
        f"cannot load the model {name!r}: {reason} (expected 'demo', a local folder, or a name "
        "on the Hugging Face hub that can be reached or is cached)"
    )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own loading bars and reports off the terminal."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
