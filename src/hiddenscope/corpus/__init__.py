"""From sources to token batches: documents, shards, windows, strata."""

from hiddenscope.corpus.batches import TokenBatch, batches
from hiddenscope.corpus.shards import SHARD_BYTES, shards
from hiddenscope.corpus.sources import (
    DEFAULT_SOURCE,
    SPLITS,
    Document,
    check_sources,
    documents,
    size,
)
from hiddenscope.corpus.windows import (
    Window,
    Windower,
    adds_bos,
    limit_tokens,
    special_ids,
    stratify,
)

__all__ = [
    "DEFAULT_SOURCE",
    "SHARD_BYTES",
    "SPLITS",
    "Document",
    "TokenBatch",
    "Window",
    "Windower",
    "adds_bos",
    "batches",
    "check_sources",
    "documents",
    "limit_tokens",
    "shards",
    "size",
    "special_ids",
    "stratify",
]
