"""The main job: a model, a text, one streaming pass."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope import corpus
from hiddenscope.capture import verify
from hiddenscope.errors import InputError, SourceError
from hiddenscope.models import DEMO, adopt, context_length, load
from hiddenscope.profiling.recorder import DEFAULT_SAMPLE_MIB, Recorder
from hiddenscope.stats import NO_TOKEN, OUTLIER, Fold, StreamState, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.corpus import TokenBatch
    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile

DEFAULT_WINDOW = 2048
DEFAULT_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    done, total : int
        Bytes of text; `total` is 0 where it cannot be known.
    tokens : int
        Tokens measured so far.
    """

    done: int
    total: int
    tokens: int


def profile(
    model: str | PreTrainedModel = DEMO,
    sources: str | Sequence[str] = (),
    *,
    text: str | Sequence[str] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    sites: str | Iterable[str] = "trunk",
    window: int | None = None,
    max_tokens: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    dtype: str | None = None,
    device: str = "cpu",
    column: str = "text",
    split: str = "document",
    sample_mib: float = DEFAULT_SAMPLE_MIB,
    outlier: float = OUTLIER,
    shard_bytes: int = corpus.SHARD_BYTES,
    progress: Callable[[Progress], None] | None = None,
) -> Profile:
    """Measure how a model's hidden states are distributed on a text, in one streaming pass.

    Parameters
    ----------
    model : str or PreTrainedModel
        ``demo``, a local folder, a name on the Hugging Face hub, or a loaded model (then with
        `tokenizer`).
    sources : str or sequence of str
        ``sample:NAME``, files, folders, ``.jsonl`` files, ``-``; ``sample:mixed`` where there
        is no `text` either.
    text : str or sequence of str
        Literal texts, a document each.
    tokenizer : PreTrainedTokenizerBase, optional
        For a loaded model.
    sites : str or iterable of str
        ``trunk`` (default), ``hf``, ``all``, sites or patterns.
    window : int, optional
        Tokens of a window; by default the model's context, at most 2,048.
    max_tokens : int, optional
        Stop after so many tokens.
    batch_tokens : int
        Tokens of a batch, padding included.
    dtype : {'float32', 'bfloat16', 'float16'}, optional
        To load the model in; by default as its configuration says.
    device : str
    column : str
        The key of a JSONL row that holds the text.
    split : {'document', 'lines', 'paragraphs'}
        Cut texts finer than a file or row.
    sample_mib : float
        Budget of the sample of whole hidden states.
    outlier : float
        The magnitude from which a value counts as an outlier.
    shard_bytes : int
        Bytes of text whose states are computed before they are folded.
    progress : callable, optional
        Called with a `Progress` when the model is loaded and after every batch.

    Returns
    -------
    Profile

    Raises
    ------
    InputError
        And its kinds: what was asked for cannot be done.
    """
    sources = [sources] if isinstance(sources, str) else list(sources)
    texts = [text] if isinstance(text, str) else list(text)
    if not sources and not texts:
        sources = [corpus.DEFAULT_SOURCE]
    _check_options(window=window, max_tokens=max_tokens, batch_tokens=batch_tokens)
    corpus.check_sources(sources, texts, split)
    loaded = _load(model, tokenizer, dtype, device)
    recorder = Recorder(loaded, sites=sites, sample_mib=sample_mib, outlier=outlier)
    length = _window(loaded, window)
    loop = _Loop(recorder, length, batch_tokens, max_tokens, progress)
    documents = corpus.documents(sources, texts, column=column, split=split)
    total = corpus.size(sources, texts)
    if progress is not None:
        progress(Progress(0, total, 0))
    with _evaluation(loaded.model), recorder:
        state = loop.run(corpus.shards(documents, shard_bytes), total)
    described = {
        "name": _corpus_name(sources, texts),
        "sources": sources,
        "texts": len(texts),
        "column": column,
        "split": split,
        "sha256": loop.windower.digest.hexdigest(),
        "documents": loop.windower.documents,
        "documents_cut": loop.windower.cut,
        "windows": loop.windower.windows,
        "window": length,
        "tokens": recorder.tokens,
        "padding": recorder.padding,
        "max_tokens": max_tokens,
        "shards": loop.shards,
        "shard_bytes": shard_bytes,
    }
    run = {"batch_tokens": batch_tokens, "threads": torch.get_num_threads(), "seeds": {}}
    return recorder.build(state, described, run)


class _Loop:
    """Shards in, one folded state out."""

    def __init__(
        self,
        recorder: Recorder,
        window: int | None,
        batch_tokens: int,
        max_tokens: int | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.recorder = recorder
        self.batch_tokens = batch_tokens
        self.max_tokens = max_tokens
        self.progress = progress
        loaded = recorder.loaded
        if loaded.tokenizer is None:
            msg = "a loaded model needs its tokenizer: profile(model, tokenizer=...)"
            raise InputError(msg)
        self.windower = corpus.Windower(loaded.tokenizer, window, causal=recorder.structure.causal)
        pad = loaded.tokenizer.pad_token_id
        self.pad_id = int(pad) if pad is not None else 0
        self.shards = 0
        self._seen = 0

    def run(self, shards: Iterator[list[corpus.Document]], total: int) -> StreamState:
        fold: Fold[StreamState] = Fold()
        for shard in shards:
            if self.max_tokens is not None and self._tokens() >= self.max_tokens:
                break
            fold.add(self._shard(shard, total))
        state = fold.result()
        if state is None or self._tokens() < 2:
            msg = (
                f"the text has fewer than two tokens ({self._tokens()}): give a longer one, "
                "a single token has nothing to be compared with"
            )
            raise SourceError(msg)
        return state

    def _tokens(self) -> int:
        return sum(self.recorder.tokens.values())

    def _shard(self, shard: list[corpus.Document], total: int) -> StreamState:
        left = None if self.max_tokens is None else self.max_tokens - self._tokens()
        windows = list(corpus.limit_tokens(self.windower(shard), left))
        size = sum(len(d.text.encode()) for d in shard)
        in_shard = max(sum(len(w.ids) for w in windows), 1)
        before = self._tokens()
        self.recorder.state = self.recorder.state.sibling()
        for batch in corpus.batches(windows, self.batch_tokens, self.pad_id):
            self._forward(batch)
            if self.progress is not None:
                share = (self._tokens() - before) / in_shard
                self.progress(Progress(self._seen + int(share * size), total, self._tokens()))
        self._seen += size
        self.shards += 1
        return self.recorder.state

    def _forward(self, batch: TokenBatch) -> None:
        model = self.recorder.loaded.model
        ids = torch.from_numpy(batch.input_ids).to(model.device)
        mask = torch.from_numpy(batch.attention_mask).to(model.device)
        _check_ids(model, ids)
        if not self.recorder.checks:
            self.recorder.checks = self._verify(ids, mask)
        positions = np.broadcast_to(np.arange(ids.shape[1]), batch.input_ids.shape)
        self.recorder.expect(
            Tokens(
                ids=np.where(batch.attention_mask != 0, batch.input_ids, NO_TOKEN),
                strata=batch.strata,
                positions=positions,
                document=batch.document,
                window=batch.window,
                digest=batch.digest,
            )
        )
        run_forward(model, ids, mask)

    def _verify(self, ids: torch.Tensor, mask: torch.Tensor) -> list[Any]:
        # The check's own forward passes are not counted: our hooks are off while they run.
        with self.recorder.paused():
            return verify(self.recorder.loaded.model, self.recorder.structure, ids, mask)


@torch.no_grad()
def run_forward(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> None:
    """Run the base model once: no cache, no head, no gradients."""
    model(input_ids=ids, attention_mask=mask, use_cache=False)


def _check_ids(model: PreTrainedModel, ids: torch.Tensor) -> None:
    """Refuse tokens that the model does not know, before torch fails over them."""
    known, largest = model.get_input_embeddings().num_embeddings, int(ids.max())
    if largest >= known:
        msg = (
            f"the tokenizer made token {largest:,}, but the model knows {known:,} tokens: "
            "they do not belong together"
        )
        raise InputError(msg)


def _load(
    model: str | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: str | None,
    device: str,
) -> LoadedModel:
    if isinstance(model, str):
        loaded = load(model, dtype=dtype, device=device)
        if tokenizer is None:
            return loaded
        return replace(loaded, tokenizer=tokenizer)
    if dtype is not None or device != "cpu":
        msg = "dtype and device are for models loaded by name: move the loaded model yourself"
        raise InputError(msg)
    return adopt(model, tokenizer)


def _window(loaded: LoadedModel, window: int | None) -> int | None:
    usable = context_length(loaded.model, loaded.tokenizer)
    if window is None:
        return min(usable, DEFAULT_WINDOW) if usable else DEFAULT_WINDOW
    if usable is not None and window > usable:
        msg = f"a window of {window:,} tokens is longer than the model's context of {usable:,}"
        raise InputError(msg)
    return window


def _check_options(*, window: int | None, max_tokens: int | None, batch_tokens: int) -> None:
    least = {
        "window": (window, 4),
        "max_tokens": (max_tokens, 2),
        "batch_tokens": (batch_tokens, 1),
    }
    for name, (value, minimum) in least.items():
        if value is not None and value < minimum:
            msg = f"{name} must be at least {minimum}, got {value}"
            raise InputError(msg)


def _corpus_name(sources: list[str], texts: list[str]) -> str:
    parts = [*([f"{len(texts)} given text{'s' * (len(texts) > 1)}"] if texts else []), *sources]
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")


@contextmanager
def _evaluation(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
