"""The loop of a run: shards of text through the engine, batch by batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from hiddenscope import corpus
from hiddenscope.capture import verify
from hiddenscope.errors import InputError, SourceError
from hiddenscope.measuring.independence import Independence
from hiddenscope.measuring.interrupt import Interrupt
from hiddenscope.models import forward_arguments, forward_pass, padding_id, vocabulary
from hiddenscope.progress import Progress
from hiddenscope.stats import Fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transformers import PreTrainedModel

    from hiddenscope.measuring.recorder import Recorder
    from hiddenscope.measuring.state import RunState
    from hiddenscope.tokens import Tokens

    Group: TypeAlias = tuple[list[Tokens], corpus.Tally]


class Loop:
    """Shards in, one folded state out.

    Parameters
    ----------
    recorder : Recorder
    windower : Windower
    batch_tokens : int
    max_tokens : int or None
    progress : callable or None
        Told of every batch, and of an early end.

    Attributes
    ----------
    again : callable
        Puts the model back before a batch.
    independence : Independence
    shards : int
        Shards that were measured.
    reached : Progress
    ended : bool
        Whether Ctrl-C ended the run before the text did.
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
        self.interrupt = Interrupt()
        self.shards = 0
        self.reached = Progress(0, 0, 0)
        self.ended = False

    def run(self, shards: Iterable[list[corpus.Document]], total: int) -> RunState:
        """Measure shards, in order, until the wanted tokens are counted or Ctrl-C is pressed.

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
        self.reached = Progress(0, total, 0)
        with self.interrupt:
            for shard in shards:
                if self.max_tokens is not None and self.reached.tokens >= self.max_tokens:
                    break
                # What the first batch has settled holds for every shard.
                state = state.sibling()
                plan = self._plan(shard, state)
                self.ended = self._may_end
                if not self.ended:
                    self._shard(shard, plan, state)
                    fold.add(state)
                if self.ended:
                    self._tell(replace(self.reached, ended=True))
                    break
            else:
                # As many tokens as were wanted can be less than all of the text.
                self._tell(replace(self.reached, done=self.reached.total))
        folded = fold.result()
        if folded is None or self.reached.tokens < 2:
            msg = (
                f"the text has fewer than two tokens ({self.reached.tokens}): give a longer one, "
                "a single token has nothing to be compared with"
            )
            raise SourceError(msg)
        return folded

    def partial(self, read: corpus.Tally) -> dict[str, Any] | None:
        """Say how far a run came that was ended early, as the manifest keeps it."""
        if not self.ended:
            return None
        done, total, tokens = self.reached.done, self.reached.total, self.reached.tokens
        shares = [
            (done / total if total else 0.0, "the text"),
            (
                tokens / self.max_tokens if self.max_tokens else 0.0,
                f"{self.max_tokens or 0:,} tokens",
            ),
        ]
        # The run would have ended with the one that is nearer to its end.
        share, of = max(shares)
        return {
            "tokens": tokens,
            "documents": read.documents,
            "windows": read.windows,
            "share": share or None,
            "of": of,
        }

    def _plan(self, shard: list[corpus.Document], state: RunState) -> list[Group]:
        """Cut a shard into groups, each with what was read of the shard up to its end."""
        left = None if self.max_tokens is None else self.max_tokens - self.reached.tokens
        windows = corpus.limit_tokens(self.windower(shard, state.corpus), left)
        return [(g, replace(state.corpus)) for g in corpus.groups(windows, self.batch_tokens)]

    def _shard(self, shard: list[corpus.Document], plan: list[Group], state: RunState) -> None:
        before = self.reached
        size = sum(len(d.text.encode()) for d in shard)
        in_shard = sum(w.length for group, _ in plan for w in group)
        for number, (group, read) in enumerate(plan, 1):
            self.interrupt.arm()
            for batch in self._batches(group):
                self._measure(batch, state)
                tokens = state.main.total
                done = before.done + int(tokens / in_shard * size)
                self.reached = replace(before, done=done, tokens=before.tokens + tokens)
                self._tell(self.reached)
            if self._may_end and number < len(plan):
                self.ended, state.corpus = True, read
                break
        else:
            self.reached = replace(self.reached, done=before.done + size)
        self.shards += 1

    @property
    def _may_end(self) -> bool:
        """Whether Ctrl-C was pressed and there is something to keep."""
        return self.interrupt.wanted and self.reached.tokens > 1

    def _tell(self, step: Progress) -> None:
        if self.progress is not None:
            self.progress(step)

    def _batches(self, group: list[Tokens]) -> Iterator[Tokens]:
        parts, padded = self.independence.groups(group), self.independence.padded
        for part in parts:
            yield from corpus.batches(part, self.batch_tokens, padded=padded)

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
