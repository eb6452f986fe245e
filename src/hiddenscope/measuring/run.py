"""The main job: a model, a text, one streaming pass."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope import arguments, corpus
from hiddenscope.errors import InputError
from hiddenscope.measuring.layouts import make_options
from hiddenscope.measuring.loop import Loop
from hiddenscope.measuring.recorder import Recorder
from hiddenscope.measuring.unread import unread_checks
from hiddenscope.models import DEMO, adopt, context_length, evaluation, load, repeatable
from hiddenscope.progress import Meter, Progress
from hiddenscope.strata import CHAT, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile

DEFAULT_WINDOW = 2048
DEFAULT_BATCH_TOKENS = 4096

_KINDS = {
    "window": arguments.optional(arguments.WHOLE),
    "max_tokens": arguments.optional(arguments.WHOLE),
    "batch_tokens": arguments.WHOLE,
    "shard_bytes": arguments.WHOLE,
    "dtype": arguments.optional(arguments.DTYPE),
    "device": arguments.DEVICE,
    "device_map": arguments.optional(arguments.DEVICE_MAP),
    "revision": arguments.optional(arguments.TEXT),
    "trust_remote_code": arguments.FLAG,
    "column": arguments.optional(arguments.TEXT),
    "split": arguments.TEXT,
    "chat": arguments.FLAG,
    "bos": arguments.TEXT,
    "pack": arguments.FLAG,
    "progress": arguments.optional(arguments.FLAG_OR_FUNCTION),
}


def profile(
    model: str | os.PathLike[str] | PreTrainedModel = DEMO,
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = (),
    *,
    text: str | Iterable[str] | None = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    sites: str | Iterable[str] = "trunk",
    window: int | None = None,
    max_tokens: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    dtype: str | None = None,
    device: str = "cpu",
    revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    trust_remote_code: bool = False,
    column: str | None = None,
    split: str = "document",
    chat: bool = False,
    bos: str = "auto",
    pack: bool = False,
    shard_bytes: int = corpus.SHARD_BYTES,
    progress: bool | Callable[[Progress], None] | None = None,
    **options: float,
) -> Profile:
    """Measure how a model's hidden states are distributed on a text, in one streaming pass.

    Parameters
    ----------
    model : str, Path or PreTrainedModel
        ``demo``, a local folder, a GGUF file, a name on the Hugging Face hub, or a loaded model
        (then with `tokenizer`).
    sources : str, Path or iterable of them
        ``sample:NAME``, files, folders, ``.jsonl`` files, ``-``; ``sample:mixed`` where there
        is no `text` either.
    text : str or iterable of str
        Literal texts, a document each.
    tokenizer : PreTrainedTokenizerBase, optional
        For a loaded model.
    sites : str or iterable of str
        ``trunk`` (default), ``hf``, ``all``, sites or patterns such as ``block.*.attn_out``; of
        an encoder-decoder also of one stream: ``decoder/block.*.cross_out``.
    window : int, optional
        Tokens of a window; by default the model's context, at most 2,048.
    max_tokens : int, optional
        Stop after this number of tokens.
    batch_tokens : int
        Tokens of a batch, padding included.
    dtype : {'float32', 'bfloat16', 'float16'}, optional
        To load the model in; by default as its configuration says.
    device : str
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the best that there is.
    revision, device_map, trust_remote_code
        As in `hiddenscope.models.load`.
    column : str, optional
        The key of a JSONL row that holds the text (``text``) or the conversation (``messages``).
    split : {'document', 'lines', 'paragraphs'}
        Cut texts finer than a file or row.
    chat : bool
        The sources are JSONL of conversations; the tokenizer's chat template writes them, and
        each token belongs to the stratum of who wrote it.
    bos : {'auto', 'add', 'never'}
        Whether windows start with a BOS: as the tokenizer does, always, or never.
    pack : bool
        Join documents and cut them into full windows, as in GPT-2's training.
    shard_bytes : int
        Bytes of text in a shard; the statistics of each shard are folded into those of the run.
    progress : bool or callable, optional
        By default a bar on standard error in terminals and notebooks; True elsewhere too, as a
        line every 10 seconds; False never. A function is called with a `Progress` when the model
        is loaded and after every batch.
    **options : float
        ``sample_mib``, the budget of the sample of whole hidden states; the thresholds
        ``outlier``, ``outlier_rms``, ``massive`` and ``massive_ratio``.

    Returns
    -------
    Profile

    Raises
    ------
    InputError
        And its kinds: what was asked for cannot be done.
    """
    arguments.check(_KINDS, locals())
    origins = arguments.texts("sources", sources, paths=True)
    texts = arguments.texts("text", text)
    if tokenizer is not None:
        corpus.check_tokenizer(tokenizer)
    if not origins and not texts:
        origins = [corpus.DEFAULT_SOURCE]
    window, max_tokens, batch_tokens, shard_bytes = _at_least(
        window=(window, 4),
        max_tokens=(max_tokens, 2),
        batch_tokens=(batch_tokens, 1),
        shard_bytes=(shard_bytes, 1),
    )
    chosen = make_options(CHAT if chat else PLAIN, options)
    corpus.check_sources(origins, texts, split, chat=chat)
    with _showing(progress, model) as tell:
        loaded = _load(
            model,
            tokenizer,
            dtype=None if dtype is None else str(dtype).removeprefix("torch."),
            device=str(device),
            revision=revision,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
        )
        if loaded.tokenizer is None:
            msg = "a loaded model needs its tokenizer: profile(model, tokenizer=...)"
            raise InputError(msg)
        length = _window(loaded, window)
        windower = corpus.Windower(loaded.tokenizer, length, bos=bos, pack=pack, chat=chat)
        recorder = Recorder(loaded, chosen, sites=sites)
        loop = Loop(recorder, windower, batch_tokens, max_tokens, tell)
        documents = corpus.documents(origins, texts, column=column, split=split, chat=chat)
        total = corpus.size(origins, texts, chat=chat)
        not_read = corpus.unread_files(origins, chat=chat)
        if tell is not None:
            tell(Progress(0, total, 0))
        with evaluation(loaded.model), repeatable(loaded.model) as loop.again:
            state = loop.run(corpus.shards(documents, shard_bytes), total)
    described = {
        "name": _corpus_name(origins, texts),
        "sources": origins,
        "texts": len(texts),
        "column": column,
        "left_out": not_read,
        "split": split,
        "chat": chat,
        "bos": bos,
        "pack": pack,
        **state.corpus.describe(),
        "window": length,
        "max_tokens": max_tokens,
        "shards": loop.shards,
        "shard_bytes": shard_bytes,
    }
    run = {"batch_tokens": batch_tokens, "threads": torch.get_num_threads(), "seeds": {}}
    left = unread_checks(not_read, loaded.identity)
    return recorder.build(state, described, run, lambda: [*left, *loop.independence.checks()])


@contextmanager
def _showing(
    progress: bool | Callable[[Progress], None] | None, model: Any
) -> Iterator[Callable[[Progress], None] | None]:
    """Yield what is told of every batch: the user's function, a meter, or nothing."""
    if callable(progress) or progress is False:
        yield progress or None
        return
    with Meter(lines=progress is True) as meter:
        if isinstance(model, str | os.PathLike):
            meter.show(f"loading {os.fsdecode(model)}")
        yield meter


def _load(
    model: str | os.PathLike[str] | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    **options: Any,
) -> LoadedModel:
    if isinstance(model, str | os.PathLike):
        loaded = load(os.fsdecode(model), **options)
        if tokenizer is None:
            return loaded
        # What the loader says of the model's own tokenizer does not hold for another.
        kept = {k: v for k, v in loaded.identity.items() if not k.startswith("tokenizer_")}
        return replace(loaded, tokenizer=tokenizer, identity=kept)
    usual = {"dtype": None, "device": "cpu", "revision": None, "device_map": None}
    given = [key for key, value in options.items() if value != usual.get(key, False)]
    if given:
        msg = f"{' and '.join(given)} are for models loaded by name: load the model so yourself"
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


def _at_least(**bounds: tuple[Any, int]) -> list[Any]:
    """Return whole numbers, each of which is None or not below its bound."""
    for name, (value, minimum) in bounds.items():
        if value is not None and value < minimum:
            msg = f"{name} must be at least {minimum}, got {value}"
            raise InputError(msg)
    return [None if value is None else int(value) for value, _ in bounds.values()]


def _corpus_name(sources: list[str], texts: list[str]) -> str:
    parts = [*([f"{len(texts)} given text{'s' * (len(texts) > 1)}"] if texts else []), *sources]
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
