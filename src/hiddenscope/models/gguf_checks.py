"""Checks of what transformers makes of a GGUF file: nothing missing, left out or packed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import transformers
from transformers import modeling_gguf_pytorch_utils as older_reader

from hiddenscope.errors import ModelError
from hiddenscope.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel

    from hiddenscope.models.gguf_header import Header

# The head comes after the last block and is not part of a base model. A file may lack it if it is
# the same as the embeddings.
_HEAD = "output."
_TOKENIZER_KEYS = ("tokenizer.ggml.model", "tokenizer.ggml.tokens")
_MODEL_KEYS = ("block_count", "embedding_length")


def check_packages(name: str) -> None:
    """Refuse to go on without what reads GGUF files."""
    missing = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if not hasattr(transformers, "GgufConfig"):
        missing.append("a newer transformers")
    if missing:
        msg = (
            f"reading the GGUF file {name!r} needs {' and '.join(missing)}: "
            "pip install 'hiddenscope[gguf]'"
        )
        raise ModelError(msg)


def check_architecture(name: str, header: Header) -> None:
    """Refuse an architecture that transformers cannot read."""
    listed = {*older_reader.GGUF_SUPPORTED_ARCHITECTURES, *_of_newer_reader()}
    # Two groups of keys stand in the list beside the architectures.
    known = {_plain(key): key for key in sorted(listed - {"general", "tokenizer"})}
    if _plain(header.architecture).removesuffix("encoder") not in known:
        msg = (
            f"{name!r} is of the GGUF architecture {header.architecture!r}, which transformers "
            f"{transformers.__version__} cannot read: expected one of {', '.join(known.values())}; "
            "use the model's safetensors instead"
        )
        raise ModelError(msg)


def check_keys(name: str, header: Header) -> None:
    """Refuse a header without the keys that a tokenizer and a model are made from."""
    needed = [*_TOKENIZER_KEYS, *(f"{header.architecture}.{key}" for key in _MODEL_KEYS)]
    missing = [key for key in needed if key not in header.metadata]
    if missing:
        msg = (
            f"the header of {name!r} lacks {', '.join(missing)}: convert the model to GGUF again, "
            "or use its safetensors instead"
        )
        raise ModelError(msg)


def _plain(architecture: str) -> str:
    # The file says qwen2moe or gpt-oss where transformers lists qwen2_moe and gpt_oss.
    return architecture.replace("_", "").replace("-", "")


def unused_weights(
    name: str, header: Header, model: PreTrainedModel, info: dict[str, Any]
) -> list[str]:
    """Return what a file holds but its model does not use; refuse a file that lacks weights.

    Parameters
    ----------
    name : str
    header : Header
    model : PreTrainedModel
    info : dict
        What transformers told of the loading.

    Returns
    -------
    list of str
        Tensors and keys of the file.

    Raises
    ------
    ModelError
        Of several tensors that are one weight of the model, some are not in the file.
    """
    in_file = {t.name for t in header.tensors if not t.name.startswith(_HEAD)}
    unused = set(info["unexpected_keys"])
    if header.architecture not in _of_newer_reader():
        kind = older_reader.TENSOR_PROCESSORS.get(header.architecture, older_reader.TensorProcessor)
        places = older_reader.get_gguf_hf_weights_map(model, kind())
        taken = {key for key in places if not key.startswith(_HEAD)}
        # Experts have a name without suffix.
        lacking = taken - in_file - {key.removesuffix(".weight") for key in in_file}
        if lacking:
            raise checkpoint.lacks(name, sorted(lacking))
        unused |= {k for k in in_file if not {k, k.removesuffix(".weight")} & taken}
    scaling = f"{header.architecture}.rope.scaling.type"
    if header.metadata.get(scaling, "none") != "none" and _plain_positions(model):
        unused.add(scaling)
    return sorted(unused)


def _of_newer_reader() -> frozenset[str]:
    """Return the architectures of transformers' newer reader, which tells what it left out."""
    # It came with GgufConfig.
    from transformers.integrations.gguf import GGUF_ARCHS  # noqa: PLC0415

    return frozenset(GGUF_ARCHS)


def _plain_positions(model: PreTrainedModel) -> bool:
    """Whether no rotary position of a model is scaled."""
    held = getattr(model.config, "rope_parameters", None) or {}
    each = [held] if "rope_type" in held else [x for x in held.values() if isinstance(x, dict)]
    return all(x.get("rope_type", "default") == "default" for x in each)


def check_dense(name: str, model: PreTrainedModel) -> None:
    """Refuse a model with weights that are still packed in blocks."""
    packed = [key for key, weight in model.named_parameters() if not weight.is_floating_point()]
    if packed:
        msg = (
            f"{few(packed)} of {name!r} would stay packed, and be run by other arithmetic than "
            "the model's: expected transformers to dequantise all weights"
        )
        raise ModelError(msg)


def few(names: Iterable[str]) -> str:
    """Return names for a message, not too many."""
    listed = list(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
