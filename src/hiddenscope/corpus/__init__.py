"""From sources to batches of tokens: documents, shards, windows, base strata."""

from hiddenscope.corpus.batching import batches, groups
from hiddenscope.corpus.chat import check_template
from hiddenscope.corpus.document import Document
from hiddenscope.corpus.encoding import BOS_MODES, adds_bos, check_tokenizer, special_ids
from hiddenscope.corpus.reading import Corpus
from hiddenscope.corpus.sharding import SHARD_BYTES, shards
from hiddenscope.corpus.sources import (
    DEFAULT_SOURCE,
    check_sources,
    documents,
    size,
    unread_files,
)
from hiddenscope.corpus.tally import Tally
from hiddenscope.corpus.windows import Windower, limit_tokens

__all__ = [
    "BOS_MODES",
    "DEFAULT_SOURCE",
    "SHARD_BYTES",
    "Corpus",
    "Document",
    "Tally",
    "Windower",
    "adds_bos",
    "batches",
    "check_sources",
    "check_template",
    "check_tokenizer",
    "documents",
    "groups",
    "limit_tokens",
    "shards",
    "size",
    "special_ids",
    "unread_files",
]
