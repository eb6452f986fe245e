"""Streaming statistics of hidden states: one accumulator a file, and their contract."""

from hiddenscope.stats.base import Accumulator
from hiddenscope.stats.batch import NO_TOKEN, OUTLIER, OUTLIER_RMS, Batch, Layout, Tokens
from hiddenscope.stats.cross import COMPACT_BYTES
from hiddenscope.stats.fold import ACCUMULATORS, Fold, States, StreamState
from hiddenscope.stats.massive import find_massive

__all__ = [
    "ACCUMULATORS",
    "COMPACT_BYTES",
    "NO_TOKEN",
    "OUTLIER",
    "OUTLIER_RMS",
    "Accumulator",
    "Batch",
    "Fold",
    "Layout",
    "States",
    "StreamState",
    "Tokens",
    "find_massive",
]
