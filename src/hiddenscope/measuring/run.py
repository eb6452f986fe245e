"""The main job: a model, a text, one streaming pass."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope import arguments, corpus
from hiddenscope.errors import InputError
from hiddenscope.measuring.layouts import make_options
from hiddenscope.measuring.loop import Loop
from hiddenscope.measuring.recorder import Recorder
from hiddenscope.measuring.subject import subject, window_length
from hiddenscope.measuring.unread import unread_checks
from hiddenscope.models import DECODER, DEMO, evaluation, repeatable
from hiddenscope.progress import Meter, Progress
from hiddenscope.strata import CHAT, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.measuring.engine import Engine
    from hiddenscope.profiles import Profile

DEFAULT_BATCH_TOKENS = 4096

_KINDS = {
    "window": arguments.optional(arguments.WHOLE),
    "max_tokens": arguments.optional(arguments.WHOLE),
    "sample_tokens": arguments.optional(arguments.WHOLE),
    "seed": arguments.optional(arguments.WHOLE),
    "name": arguments.optional(arguments.TEXT),
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
    sample_tokens: int | None = None,
    seed: int | None = None,
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
    name: str | None = None,
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
        For a loaded model, or one that comes without; in place of its own otherwise.
    sites : str or iterable of str
        ``trunk`` (default), ``hf``, ``linear`` (what linear layers read), ``all``, sites or
        patterns such as ``block.*.attn_out``; of an encoder-decoder also of one stream:
        ``decoder/block.*.cross_out``.
    window : int, optional
        Tokens of a window; by default the model's context, at most 2,048.
    max_tokens : int, optional
        Stop after this number of tokens, those at the beginning of the text.
    sample_tokens : int, optional
        Measure this number of tokens from all over the text instead. It is read once and cut at
        ends of paragraphs into pieces of at most 64 KiB, and never whole in memory. Pieces with
        the smallest hash of seed, document and place are taken until they hold the tokens (of
        the last one only its first tokens), and measured in the order of the text, each a text of
        its own. The same seed and text give the same pieces, whatever the other options.
    seed : int, optional
        Of the sample, by default 0.
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
    name : str, optional
        How the model is called in titles and the manifest.
    progress : bool or callable, optional
        By default a bar on standard error in terminals and notebooks; True elsewhere too, as a
        line every 10 seconds; False never. A function is called with a `Progress` while a sample
        is drawn, when measuring begins, after every batch, and when Ctrl-C ends the run.
    **options : float
        ``sample_mib``, the budget of the sample of whole hidden states; the thresholds
        ``outlier``, ``outlier_rms``, ``massive`` and ``massive_ratio``.

    Returns
    -------
    Profile
        Ctrl-C ends a run after the windows that it is at, and the profile of all up to there is
        returned; a `HiddenscopeWarning`, ``manifest["corpus"]["partial"]``, captions and checks
        say so. Ctrl-C again raises `KeyboardInterrupt` at once, and so does the first one before
        anything is measured. In other threads than the main one, and where the program handles
        the signal itself, nothing of this happens.

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
    window, max_tokens, sample_tokens, batch_tokens, shard_bytes = _at_least(
        window=(window, 4),
        max_tokens=(max_tokens, 2),
        sample_tokens=(sample_tokens, 2),
        batch_tokens=(batch_tokens, 1),
        shard_bytes=(shard_bytes, 1),
    )
    _check_sample(sample_tokens, max_tokens, seed)
    chosen = make_options(CHAT if chat else PLAIN, options)
    given = corpus.Corpus(origins, texts, column, split, chat)
    with _showing(progress, model) as tell:
        loaded = subject(
            model,
            tokenizer,
            name,
            dtype=None if dtype is None else str(dtype).removeprefix("torch."),
            device=str(device),
            revision=revision,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
        )
        length = window_length(loaded, window)
        windower = corpus.Windower(loaded.tokenizer, length, bos=bos, pack=pack, chat=chat)
        recorder = Recorder(loaded, chosen, sites=sites)
        loop = Loop(recorder, windower, batch_tokens, sample_tokens or max_tokens, tell)
        with (
            given.read(windower, sample_tokens, int(seed or 0), _drawing(tell)) as reading,
            evaluation(loaded.model),
            repeatable(loaded.model) as loop.again,
        ):
            if tell is not None:
                tell(Progress(0, reading.size, 0))
            state = loop.run(corpus.shards(reading.documents, shard_bytes), reading.size)
    described = {
        **given.describe(reading.drawn),
        "bos": bos,
        "pack": pack,
        **state.corpus.describe(),
        "window": length,
        "max_tokens": max_tokens,
        "partial": loop.partial(state.corpus),
        "shards": loop.shards,
        "shard_bytes": shard_bytes,
    }
    run = {
        "batch_tokens": batch_tokens,
        "threads": torch.get_num_threads(),
        **_decoder_reads(recorder.engine),
        "seeds": {} if reading.drawn is None else {"sample_tokens": reading.drawn.seed},
    }
    left = unread_checks(described, loaded.identity)
    return recorder.build(state, described, run, lambda: [*left, *loop.independence.checks()])


def _decoder_reads(engine: Engine) -> dict[str, str]:
    """Say what a decoder reads, where there is one beside an encoder."""
    if DECODER not in engine.streams:
        return {}
    return {
        "decoder_reads": "the text shifted right by one token: first the token with which the "
        "decoder starts, then at each position the token of the text before it"
    }


def _check_sample(sample_tokens: int | None, max_tokens: int | None, seed: int | None) -> None:
    msg = ""
    if sample_tokens is not None and max_tokens is not None:
        msg = (
            "sample_tokens and max_tokens cannot both be given: the one measures tokens from all "
            "over the text, the other those at its beginning"
        )
    elif sample_tokens is None and seed is not None:
        msg = "a seed is that of a sample: give sample_tokens too"
    if msg:
        raise InputError(msg)


def _drawing(tell: Callable[[Progress], None] | None) -> Callable[[int, int], None]:
    """Return what is told how far the text was looked through for a sample."""
    if tell is None:
        return lambda done, total: None
    return lambda done, total: tell(Progress(done, total, 0, "drawing"))


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


def _at_least(**bounds: tuple[Any, int]) -> list[Any]:
    """Return whole numbers, each of which is None or not below its bound."""
    for name, (value, minimum) in bounds.items():
        if value is not None and value < minimum:
            msg = f"{name} must be at least {minimum}, got {value}"
            raise InputError(msg)
    return [None if value is None else int(value) for value, _ in bounds.values()]
