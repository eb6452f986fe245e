"""The loop of a run: shards of text through the engine, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hiddenscope import corpus
from hiddenscope.capture import verify
from hiddenscope.errors import InputError, SourceError
from hiddenscope.measuring.independence import Independence
from hiddenscope.models import forward_arguments, forward_pass, padding_id, vocabulary
from hiddenscope.progress import Progress
from hiddenscope.stats import Fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transformers import PreTrainedModel

    from hiddenscope.measuring.recorder import Recorder
    from hiddenscope.measuring.state import RunState
    from hiddenscope.tokens import Tokens


class Loop:
    """Shards in, one folded state out.

    Parameters
    ----------
    recorder : Recorder
    windower : Windower
    batch_tokens : int
    max_tokens : int or None
    progress : callable or None
        Told of every batch.

    Attributes
    ----------
    again : callable
        Puts the model back before a batch.
    independence : Independence
    shards : int
        Shards that were measured.
    """

    def __init__(
        self,
        recorder: Recorder,
        windower: corpus.Windower,
        batch_tokens: int,
        max_tokens: int | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.recorder = recorder
        self.batch_tokens = batch_tokens
        self.max_tokens = max_tokens
        self.progress = progress
        self.windower = windower
        tokenizer = recorder.loaded.tokenizer
        pad = tokenizer.pad_token_id if tokenizer is not None else None
        self.pad_id = padding_id(recorder.loaded.model, pad)
        self.independence = Independence(recorder.loaded.model, self.pad_id)
        self.again: Callable[[], None] = lambda: None
        self.shards = 0
        self._bytes = self._tokens = 0

    def run(self, shards: Iterable[list[corpus.Document]], total: int) -> RunState:
        """Measure shards, in order, until the wanted tokens are counted.

        Parameters
        ----------
        shards : iterable of list of Document
        total : int
            Bytes of text, 0 where nobody knows.

        Raises
        ------
        SourceError
            There are fewer than two tokens.
        """
        fold: Fold[RunState] = Fold()
        state = self.recorder.engine.fresh()
        for shard in shards:
            if self.max_tokens is not None and self._tokens >= self.max_tokens:
                break
            # What the first batch has settled holds for every shard.
            state = state.sibling()
            self._shard(shard, state, total)
            fold.add(state)
        folded = fold.result()
        if folded is None or self._tokens < 2:
            msg = (
                f"the text has fewer than two tokens ({self._tokens}): give a longer one, "
                "a single token has nothing to be compared with"
            )
            raise SourceError(msg)
        return folded

    def _shard(self, shard: list[corpus.Document], state: RunState, total: int) -> None:
        left = None if self.max_tokens is None else self.max_tokens - self._tokens
        windows = list(corpus.limit_tokens(self.windower(shard, state.corpus), left))
        size = sum(len(d.text.encode()) for d in shard)
        in_shard = max(sum(w.length for w in windows), 1)
        groups, padded = self.independence.groups(windows), self.independence.padded
        for batch in (
            batch
            for group in groups
            for batch in corpus.batches(group, self.batch_tokens, padded=padded)
        ):
            self._measure(batch, state)
            if self.progress is not None:
                done = self._bytes + int(state.main.total / in_shard * size)
                self.progress(Progress(done, total, self._tokens + state.main.total))
        self._bytes += size
        self._tokens += state.main.total
        self.shards += 1

    def _measure(self, batch: Tokens, state: RunState) -> None:
        recorder = self.recorder
        model = recorder.loaded.model
        ids = torch.from_numpy(batch.input_ids(self.pad_id)).to(model.device)
        mask = torch.from_numpy(batch.attention_mask).to(model.device)
        _check_ids(model, ids)
        call = forward_arguments(model, ids, mask)
        with forward_pass(recorder.loaded.name, _describe(batch)):
            if not recorder.checks:
                recorder.checks = verify(recorder.engine.model, recorder.engine.structure, call)
            # What earlier batches changed in the model must not change this one.
            self.again()
            self.independence.reset()
            with recorder.watching():
                recorder.engine.measure(call, batch, state)


def _describe(batch: Tokens) -> str:
    """Say in words what a batch holds."""
    rows, length = batch.ids.shape
    documents = batch.document[batch.real]
    first, last = int(documents.min()), int(documents.max())
    where = f"document {first}" if first == last else f"documents {first} to {last}"
    return f"a batch of {rows} windows of up to {length} tokens ({where}, counted from 0)"


def _check_ids(model: PreTrainedModel, ids: torch.Tensor) -> None:
    """Refuse tokens that the model does not know, before torch fails over them."""
    known, largest = vocabulary(model), int(ids.max())
    if largest >= known:
        msg = (
            f"the tokenizer made token {largest:,}, but the model knows {known:,} tokens: "
            "they do not belong together"
        )
        raise InputError(msg)
