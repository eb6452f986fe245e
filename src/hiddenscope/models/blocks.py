"""Which modules of a model may be its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers.utils.output_capturing import OutputRecorder

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

BLOCK_LISTS = ("h", "layers", "blocks", "layer", "block")
"""What the list of blocks is called in classes that do not declare them."""

FILLED = ("LongformerModel", "LEDEncoder")
"""Owners that fill their tokens up with padding, to whole windows, and cut their output back."""

RESCALED = {"RwkvModel": 0.5}
"""What owners multiply the stream by behind some blocks: RWKV every sixth, outside of training."""

_XLM = ("attentions.{}", "layer_norm1.{}", "ffns.{}", "layer_norm2.{}")
PARTS = {
    "XLMModel": _XLM,
    "FlaubertModel": _XLM,
    # It runs its blocks by their `forward`, past every hook on them.
    "SqueezeBertModel": ("encoder.layers.{}",),
    # Where a convolution stands beside the first block, it changes what that returned.
    "DebertaV2Model": ("encoder.layer.{}",),
}
"""What block number {} is made of where no module is called for it, by the owner's class."""


def candidates(
    owner: torch.nn.Module, paths: Mapping[torch.nn.Module, str]
) -> tuple[dict[torch.nn.Module, int], bool]:
    """Find the modules that may be blocks.

    Parameters
    ----------
    owner : Module
        Whose forward pass runs through them.
    paths : mapping of Module to str
        The modules below it, by name.

    Returns
    -------
    dict of Module to int
        Which entry of what the module returns is the hidden state.
    bool
        Whether transformers declares them.
    """
    recorders = _declaration(owner)
    if recorders:
        found = {
            module: recorder.index
            for module, path in paths.items()
            for recorder in recorders
            if _is_block(module, path, recorder)
        }
        return found, True
    named = {
        block: 0
        for module, path in paths.items()
        if isinstance(module, torch.nn.ModuleList) and path.rpartition(".")[2] in BLOCK_LISTS
        for block in module
    }
    return named, False


def fills_up(owner: torch.nn.Module) -> bool:
    """Whether a stream's owner is of a class in `FILLED`."""
    return any(c.__name__ in FILLED for c in type(owner).__mro__)


def rescaling(owner: torch.nn.Module) -> float | None:
    """Return what a stream's owner multiplies it by behind some blocks, by `RESCALED`."""
    return _said(owner, RESCALED)


def parts_of_blocks(
    owner: torch.nn.Module, paths: Mapping[torch.nn.Module, str]
) -> list[dict[str, torch.nn.Module]]:
    """Return the modules that each block is made of, by path, for the classes in `PARTS`."""
    named = _said(owner, PARTS) or ()
    below = dict(owner.named_modules())
    blocks: list[dict[str, torch.nn.Module]] = []
    while named and named[0].format(len(blocks)) in below:
        parts = [below[name.format(len(blocks))] for name in named]
        blocks.append({paths[part]: part for part in parts})
    return blocks


def _said(owner: torch.nn.Module, table: Mapping[str, T]) -> T | None:
    """Return what a table says of an owner's class, or of one that it is made from."""
    return next((table[c.__name__] for c in type(owner).__mro__ if c.__name__ in table), None)


def _declaration(owner: torch.nn.Module) -> list[OutputRecorder]:
    declared = (getattr(owner, "_can_record_outputs", None) or {}).get("hidden_states")
    if not declared:
        return []
    # A hybrid declares several kinds of blocks (Jamba: attention and Mamba).
    return [_recorder(d) for d in (declared if isinstance(declared, list) else [declared])]


def _recorder(declared: Any) -> OutputRecorder:
    if isinstance(declared, OutputRecorder):
        return declared
    if isinstance(declared, str):
        return OutputRecorder(target_class=None, class_name=declared)
    return OutputRecorder(target_class=declared)


def _is_block(module: torch.nn.Module, path: str, recorder: OutputRecorder) -> bool:
    of_class = recorder.target_class is not None and isinstance(module, recorder.target_class)
    of_name = recorder.class_name is not None and path.endswith(recorder.class_name)
    if not (of_class or of_name):
        return False
    layer = recorder.layer_name
    return layer is None or f".{layer.strip('.')}." in f".{path}."
