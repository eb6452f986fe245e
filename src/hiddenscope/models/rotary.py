"""Rotary tables that depend on the longest row of a batch, so that it changes all rows' states.

``dynamic`` tables are computed anew for each greater length and kept until a shorter call, so
that states also depend on earlier calls; ``longrope`` has one table for short calls and one for
long ones (`transformers.modeling_rope_utils.dynamic_rope_update`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

Item = TypeVar("Item")
DYNAMIC, LONGROPE = "dynamic", "longrope"


@dataclass(frozen=True, eq=False)
class Rotary:
    """Where a model's rotary tables switch.

    Attributes
    ----------
    kind : {'dynamic', 'longrope'}
    length : int
        Up to how many tokens a call is computed with the tables of the original length.
    tables : tuple of (Module, str)
        The dynamic tables: their module and what their names start with.
    """

    kind: str
    length: int
    tables: tuple[tuple[torch.nn.Module, str], ...]

    def groups(self, items: Sequence[Item], length_of: Callable[[Item], int]) -> list[list[Item]]:
        """Sort texts into groups within which no text changes another's states."""
        long = [x for x in items if length_of(x) > self.length]
        short = [x for x in items if length_of(x) <= self.length]
        groups = [long] if self.kind == LONGROPE else [[x] for x in long]
        return [group for group in (*groups, short) if group]

    def reset(self) -> None:
        """Forget the lengths of earlier calls."""
        for module, prefix in self.tables:
            held = getattr(module, f"{prefix}inv_freq")
            original = getattr(module, f"{prefix}original_inv_freq").to(held.device)
            module.register_buffer(f"{prefix}inv_freq", original, persistent=False)
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def find_rotary(model: torch.nn.Module) -> Rotary | None:
    """Return how a model's rotary tables follow the length of a call, or None if they do not."""
    lengths: dict[str, list[int]] = {DYNAMIC: [], LONGROPE: []}
    tables = []
    for module, layer_type, kind in _tables(model):
        if DYNAMIC in kind:
            lengths[DYNAMIC].append(int(module.original_max_seq_len))
            tables.append((module, "" if layer_type is None else f"{layer_type}_"))
        elif kind == LONGROPE:
            settings: Any = module.config.rope_parameters
            settings = settings if layer_type is None else settings[layer_type]
            lengths[LONGROPE].append(int(settings["original_max_position_embeddings"]))
    for kind, found in lengths.items():
        if found:
            return Rotary(kind, min(found), tuple(tables))
    return None


def has_known_rotary(model: torch.nn.Module) -> bool:
    """Whether a model's positions are rotary tables of transformers, whose kinds are known."""
    return any(True for _ in _tables(model))


def _tables(model: torch.nn.Module) -> Iterator[tuple[Any, str | None, str]]:
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        by_layer = kinds if isinstance(kinds, dict) else {None: kinds}
        for layer_type, kind in by_layer.items():
            if isinstance(kind, str):
                yield module, layer_type, kind
