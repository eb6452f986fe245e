"""Streaming statistics of hidden states: one accumulator a file, and their contract."""

from hiddenscope.stats.base import Accumulator
from hiddenscope.stats.batch import OUTLIER, OUTLIER_RMS, Batch, Layout, gather
from hiddenscope.stats.cross import COMPACT_BYTES
from hiddenscope.stats.fold import ACCUMULATORS, Fold, StreamState
from hiddenscope.stats.massive import find_massive

__all__ = [
    "ACCUMULATORS",
    "COMPACT_BYTES",
    "OUTLIER",
    "OUTLIER_RMS",
    "Accumulator",
    "Batch",
    "Fold",
    "Layout",
    "StreamState",
    "find_massive",
    "gather",
]
