"""Models in GGUF files, the format of llama.cpp: weights and tokenizer in one file."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
)
from transformers import modeling_gguf_pytorch_utils as older_reader

from hiddenscope.errors import ModelError
from hiddenscope.models import checkpoint, gguf_checks, memory
from hiddenscope.models.gguf_header import is_gguf, read_header
from hiddenscope.models.gguf_tokenizer import rebuild
from hiddenscope.models.guard import attempt, quiet
from hiddenscope.models.heads import with_head
from hiddenscope.models.loaded import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".gguf"


def find(name: str) -> Path | None:
    """Return the GGUF file that a name stands for, or None where it stands for something else.

    Parameters
    ----------
    name : str
        A file, or a folder with one GGUF file and no safetensors.

    Raises
    ------
    ModelError
        The file does not exist, or the folder holds several.
    """
    path = Path(name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # too long for a path
        return None
    if is_folder:
        return _only_file(name, path)
    if is_file:
        return path if name.lower().endswith(SUFFIX) or is_gguf(path) else None
    if name.lower().endswith(SUFFIX):
        msg = f"there is no file {name!r}: check the path"
        raise ModelError(msg)
    return None


def load(
    name: str,
    path: Path,
    *,
    dtype: torch.dtype | None,
    device: str,
    device_map: str | dict[str, Any] | None,
) -> LoadedModel:
    """Load a base model and its tokenizer from a GGUF file, all weights dequantised.

    Parameters
    ----------
    name : str
        How the user called it.
    path : Path
    dtype : torch.dtype, optional
        By default float32, which holds what any quantisation stands for.
    device : str
    device_map : str or dict, optional
        As in `hiddenscope.models.load`.

    Returns
    -------
    LoadedModel
        Its identity says which parts of the file transformers left out, if any, and whether the
        tokenizer is known to be rebuilt rightly.

    Raises
    ------
    ModelError
        A package is missing; the file is damaged, of an architecture that transformers cannot
        read, lacks weights, or does not fit into memory.
    """
    gguf_checks.check_packages(name)
    header = read_header(path)
    gguf_checks.check_architecture(name, header)
    gguf_checks.check_keys(name, header)
    dtype = dtype or torch.float32
    if device_map is None:
        stored = [memory.Stored(t.name, "F32", t.values) for t in header.tensors]
        memory.check_memory(name, stored, dtype, device)
    tokenizer, whole, info = _read(name, path, dtype, device_map)
    checkpoint.check_loaded(name, whole, info)
    gguf_checks.check_dense(name, whole)
    left_out = gguf_checks.unused_weights(name, header, whole, info)
    model = whole.base_model
    model.config.name_or_path = tokenizer.name_or_path = name
    model.eval().requires_grad_(False)
    if device_map is None:
        attempt(repr(name), model.to, device)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    identity = {
        "id": name,
        "source": "gguf",
        "file": path.name,
        "revision": None,
        "requested_revision": None,
        "checkpoint_sha256": digest,
        "quantisation": header.quantisation,
        "left_out": left_out,
        "tokenizer_pre": header.metadata.get("tokenizer.ggml.pre"),
        "tokenizer_known": rebuild(tokenizer, header.metadata),
        "code_from": [],
    }
    label = path.name.removesuffix(SUFFIX)
    return LoadedModel(model, tokenizer, label, identity, with_head(model))


def _read(
    name: str, path: Path, dtype: torch.dtype, device_map: str | dict[str, Any] | None
) -> tuple[Any, Any, dict[str, Any]]:
    """Return what transformers makes of a file: tokenizer, model, and what it tells of the latter.

    Transformers is given an empty folder, so that no other file next to the GGUF file is read, such
    as another model's tokenizer_config.json.
    """
    what = repr(name)
    with quiet(), _one_reading(), tempfile.TemporaryDirectory() as empty:
        options = {"gguf_file": str(path.resolve()), "trust_remote_code": False}
        config = attempt(what, AutoConfig.from_pretrained, empty, **options)
        tokenizer = attempt(what, AutoTokenizer.from_pretrained, empty, **options)
        checkpoint.check_tokenizer(name, tokenizer)
        # Transformers knows some tensors by the names that they have under a head.
        headed = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        model, info = attempt(
            what,
            (AutoModelForCausalLM if headed else AutoModel).from_pretrained,
            empty,
            config=config,
            dtype=dtype,
            # Else layers could stay packed, and other arithmetic than the model's would run.
            quantization_config=transformers.GgufConfig(dequantize=True),
            # Reported to us by name, and refused.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            device_map=device_map,
            **options,
        )
    return tokenizer, model, info


def _only_file(name: str, folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() == SUFFIX)
    if not found or any(folder.glob("*.safetensors")):
        return None
    if len(found) > 1:
        shown = gguf_checks.few(path.name for path in found)
        msg = (
            f"{name!r} holds {len(found)} GGUF files ({shown}): name one of them, such as "
            f"{str(found[0])!r}"
        )
        raise ModelError(msg)
    return found[0]


@contextmanager
def _one_reading() -> Iterator[None]:
    """Parse a file once for all three calls, and keep the bar of the third off the terminal.

    Transformers parses it anew for the configuration, the tokenizer and the weights, which takes
    seconds each time, and its own switch does not reach that bar.
    """
    import gguf  # noqa: PLC0415 - optional

    bar = older_reader.tqdm
    better = [
        (gguf, "GGUFReader", cache(gguf.GGUFReader)),
        (older_reader, "tqdm", partial(bar, disable=True)),
    ]
    before = [(module, key, getattr(module, key)) for module, key, _ in better]
    try:
        for module, key, value in better:
            setattr(module, key, value)
        yield
    finally:
        for module, key, value in before:
            setattr(module, key, value)
