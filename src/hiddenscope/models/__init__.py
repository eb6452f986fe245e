"""Models: loading them, and finding where their hidden states are."""

from hiddenscope.models.loading import (
    DEMO,
    DTYPES,
    LoadedModel,
    adopt,
    context_length,
    describe,
    load,
)
from hiddenscope.models.structure import Structure, block_input, hidden_state, inspect, same_bits

__all__ = [
    "DEMO",
    "DTYPES",
    "LoadedModel",
    "Structure",
    "adopt",
    "block_input",
    "context_length",
    "describe",
    "hidden_state",
    "inspect",
    "load",
    "same_bits",
]
