"""Whether a model's weights fit into memory, told from the files' headers before loading."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from huggingface_hub import get_safetensors_metadata
from safetensors import safe_open

from hiddenscope.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

GIB = 1 << 30
# Stored beside the base model in checkpoints of language models, and not loaded.
_HEADS = ("lm_head.", "embed_out.")
_FLOATS = {"F64", "F32", "F16", "BF16"}


class Stored(NamedTuple):
    """A tensor of a checkpoint as its file's header tells it."""

    name: str
    dtype: str
    values: int


def stored_in(folder: Path) -> list[Stored] | None:
    """Return the tensors of a folder's checkpoint, or None where that cannot be known."""
    try:
        return [tensor for path in _weight_files(folder) for tensor in _header(path)]
    except Exception:
        # What is wrong with the file is said when it is loaded.
        return None


def stored_on_hub(name: str, revision: str | None) -> list[Stored] | None:
    """Return the tensors of a hub model's checkpoint, or None where that cannot be known."""
    try:
        metadata = get_safetensors_metadata(name, revision=revision)
    except Exception:
        # Not knowing is no reason to refuse.
        return None
    return [
        Stored(key, tensor.dtype, tensor.parameter_count)
        for file in metadata.files_metadata.values()
        for key, tensor in file.tensors.items()
    ]


def loaded_bytes(tensors: Iterable[Stored], dtype: torch.dtype | None) -> int:
    """Return the bytes that tensors take once loaded.

    Parameters
    ----------
    tensors : iterable of Stored
    dtype : torch.dtype or None
        What floating-point weights are loaded to; None for as they are stored.

    Returns
    -------
    int
    """
    total = 0.0
    for tensor in tensors:
        if tensor.name.startswith(_HEADS):
            continue
        if dtype is not None and tensor.dtype in _FLOATS:
            total += tensor.values * dtype.itemsize
        else:
            # "BOOL" has no number in its name.
            bits = re.search(r"\d+", tensor.dtype)
            total += tensor.values * (int(bits.group()) if bits else 8) / 8
    return math.ceil(total)


def available(device: torch.device) -> int | None:
    """Return the bytes that can still be had on a device, or None where nobody says."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        # Held by torch from earlier tensors, to be used again.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # Apple's GPUs share the host's memory.
    return _host_memory() if device.type in {"cpu", "mps"} else None


def check_memory(
    name: str, tensors: Iterable[Stored], dtype: torch.dtype | None, device: str
) -> None:
    """Refuse a model whose weights alone do not fit.

    Parameters
    ----------
    name : str
    tensors : iterable of Stored
    dtype : torch.dtype or None
        What floating-point weights are loaded to; None for as they are stored.
    device : str

    Raises
    ------
    ModelError
        Says how much is needed and how much there is.
    """
    # Files are mapped into memory while they are read, so that loading needs the weights once.
    needed, there = loaded_bytes(tensors, dtype), available(torch.device(device))
    if there is not None and needed > there:
        kind = f" in {str(dtype).removeprefix('torch.')}" if dtype else ""
        msg = (
            f"the weights of {name!r} need {needed / GIB:.2f} GiB{kind}, but {device} has "
            f"{there / GIB:.2f} GiB available: choose a smaller dtype (bfloat16), another device, "
            "or device_map='auto' to spread them over all devices"
        )
        raise ModelError(msg)


def _weight_files(folder: Path) -> list[Path]:
    # As transformers chooses: a folder may hold the same weights a second time.
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def _header(path: Path) -> list[Stored]:
    with safe_open(path, framework="pt") as file:
        slices = ((key, file.get_slice(key)) for key in file.keys())  # noqa: SIM118 - no mapping
        return [Stored(key, s.get_dtype(), math.prod(s.get_shape())) for key, s in slices]


def _host_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        # Elsewhere only the total memory is known: it is too large, but refuses no model wrongly.
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kib) * 1024 if kib else None
