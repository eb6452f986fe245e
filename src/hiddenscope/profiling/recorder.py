"""The capture round any loop: training, evaluation, generation, or our own."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from hiddenscope.capture import Watch
from hiddenscope.corpus import adds_bos, special_ids
from hiddenscope.errors import InputError
from hiddenscope.models import RESIDUAL, adopt, describe, inspect
from hiddenscope.profiling.assemble import assemble, describe_tokenizer
from hiddenscope.profiling.audit import audit
from hiddenscope.profiling.calls import CallReader
from hiddenscope.profiling.choose import choose_sites
from hiddenscope.profiling.layouts import Options, make_options
from hiddenscope.profiling.streams import StreamRecorder
from hiddenscope.stats import States
from hiddenscope.strata import RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.capture import Check
    from hiddenscope.models import LoadedModel, Structure
    from hiddenscope.profiles import Profile


class Recorder:
    """Measures every forward pass of a model while its context is open.

    Made by `record`. The forward pass is left as it is: gradients, random numbers and outputs
    are bitwise those without it.

    Parameters
    ----------
    loaded : LoadedModel
    sites : str or iterable of str
    options : Options
    outer : PreTrainedModel, optional
        What the user calls, whose ``generate`` tells prompts from what is generated.

    Attributes
    ----------
    streams : dict of str to StreamRecorder
        What was measured so far, by stream.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        sites: str | Iterable[str] = "trunk",
        options: Options | None = None,
        outer: PreTrainedModel | None = None,
    ) -> None:
        self.loaded = loaded
        self.options = options or Options()
        self.structure: Structure = inspect(loaded.model)
        chosen = choose_sites(sites, self.structure)
        self._bos = self._expected_bos()
        special = special_ids(loaded.tokenizer) if loaded.tokenizer else frozenset[int]()
        self.streams = {
            name: StreamRecorder(
                self.structure[name],
                held,
                self.options,
                CallReader(self.structure[name], self.options.strata, special, self._bos),
            )
            for name, held in chosen.items()
        }
        self.checks: list[Check] = []
        self._outer = outer
        self.watches: dict[str, Watch] = {}
        self._open: ExitStack | None = None
        self.reset()

    def _expected_bos(self) -> int | None:
        tokenizer = self.loaded.tokenizer
        if tokenizer is None or not adds_bos(tokenizer):
            return None
        return int(tokenizer("a")["input_ids"][0])

    def reset(self) -> None:
        """Forget what was measured so far."""
        for stream in self.streams.values():
            stream.reset()
        self._start = time.perf_counter()

    @property
    def states(self) -> States:
        """The accumulators of every stream."""
        joined = (recorder.states.streams for recorder in self.streams.values())
        return States({name: state for held in joined for name, state in held.items()})

    def renew(self) -> None:
        """Start fresh accumulators, which can be merged with those before; counts go on."""
        for stream in self.streams.values():
            stream.states = stream.states.sibling()

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of each stratum of the first stream so far."""
        return next(iter(self.streams.values())).tokens

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name, recorder in self.streams.items():
                stack.enter_context(recorder.capture)
                # The first forward pass is checked as it is measured, whoever runs it.
                if name not in self.watches or not self.watches[name].checks:
                    watch = Watch(recorder.stream, recorder.sites)
                    self.watches[name] = watch.__enter__()
                    stack.callback(watch.remove)
            if self._outer is not None:
                stack.enter_context(self._generation(self._outer))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextmanager
    def _generation(self, model: PreTrainedModel) -> Iterator[None]:
        """Let the readers know when ``model.generate`` runs."""
        plain = getattr(model, "generate", None)
        if plain is None:
            yield
            return

        def generate(*args: Any, **kwargs: Any) -> Any:
            self._tell(begins=True, prompt=self._prompt(args, kwargs))
            try:
                return plain(*args, **kwargs)
            finally:
                self._tell(begins=False)

        own = vars(model).get("generate")
        model.generate = generate
        try:
            yield
        finally:
            # Of the class again, unless somebody before us had put one of their own there.
            del model.generate
            if own is not None:
                model.generate = own

    def _prompt(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Return how many columns the prompts have that ``generate`` was called with."""
        if self.streams.keys() != {RESIDUAL}:
            # A decoder's prompt is its own, and the encoder reads nothing else.
            return None
        named = [kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds")]
        prompt = next((x for x in (*args[:1], *named) if x is not None), None)
        return None if prompt is None else int(prompt.shape[1])

    def _tell(self, *, begins: bool, prompt: int | None = None) -> None:
        for recorder in self.streams.values():
            recorder.reader.generating(begins=begins, prompt=prompt)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the forward passes inside uncounted."""
        was_open = self._open is not None
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            if was_open:
                self.__enter__()

    def profile(self) -> Profile:
        """Return the profile of everything measured so far; recording may go on.

        Raises
        ------
        InputError
            Fewer than two tokens were measured.
        """
        if sum(self.tokens.values()) < 2:
            msg = "fewer than two tokens were recorded: run the model inside the context first"
            raise InputError(msg)
        first = next(iter(self.streams.values()))
        corpus = {"name": "recorded batches", "documents": first.reader.documents}
        return self.build(self.states, corpus, {})

    def build(
        self,
        states: States,
        corpus: dict[str, Any],
        run: dict[str, Any],
        checks: Callable[[], list[Check]] = list,
    ) -> Profile:
        """Make a profile of states, with what the manifest says of the model.

        Parameters
        ----------
        states : States
        corpus, run : dict
            What the manifest says of the text and of how it was run.
        checks : callable, optional
            What else the run has checked.
        """
        first = next(iter(self.streams.values()))
        structure = self.structure
        model = describe(self.loaded) | {
            "state_dtype": {s: d for r in self.streams.values() for s, d in r.dtypes.items()},
            "blocks": len(first.stream.blocks),
            "width": first.stream.width,
            "causal": first.stream.causal,
            "blocks_found": first.stream.found,
            "final_norm": first.stream.final_norm.path if first.stream.final_norm else None,
        }
        manifest = {
            "model": model,
            "tokenizer": describe_tokenizer(self.loaded.tokenizer),
            "corpus": {**corpus, "tokens": first.tokens, "padding": first.padding},
            "streams": {
                name: {
                    "of": recorder.stream.name,
                    "tokens": recorder.tokens,
                    "padding": recorder.padding,
                    "causal": recorder.stream.causal,
                    "state_dtype": recorder.dtypes,
                    "refused": recorder.stream.refusals(),
                }
                for recorder in self.streams.values()
                for name in recorder.states.streams
            },
            "thresholds": self.options.thresholds,
            "kernel": "reference",
            "wall_time_s": round(time.perf_counter() - self._start, 3),
            **run,
        }
        made = [
            *(check for watch in self.watches.values() for check in watch.checks),
            *self.checks,
            *checks(),
        ]
        with self.paused():
            made += audit(structure, self.streams, self.loaded.tokenizer, manifest)
        hf = {stream.name: stream.hf for stream in structure.streams}
        return assemble(
            states, hf=hf, manifest=manifest, checks=made, tokenizer=self.loaded.tokenizer
        )


def record(
    model: PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    sites: str | Iterable[str] = "trunk",
    **options: float,
) -> Recorder:
    """Measure the forward passes of a loop of your own.

    Parameters
    ----------
    model : PreTrainedModel
        With or without a head, in training or evaluation, with or without gradients; also
        inside PEFT, ``torch.compile`` or ``DistributedDataParallel``.
    tokenizer : PreTrainedTokenizerBase, optional
        Tells special tokens apart and shows tokens as text.
    sites : str or iterable of str
        ``trunk`` (default), ``hf``, ``all``, sites or patterns.
    **options : float
        ``sample_mib``, the budget of the sample of whole hidden states; the thresholds
        ``outlier``, ``outlier_rms``, ``massive`` and ``massive_ratio``.

    Returns
    -------
    Recorder
        A context manager; ``profile()`` at any time, ``reset()`` to start over. Each row of a
        batch counts as a document of its own; padding is read off ``attention_mask``,
        positions off ``position_ids``, the mask or the cache. Inside ``model.generate`` the
        tokens are ``prompt`` and ``generated`` instead of ``regular``.

    Raises
    ------
    ModelError, SiteError, InputError
        The model's blocks cannot be found; a site does not exist; an option makes no sense.
    """
    return Recorder(
        adopt(model, tokenizer),
        sites=sites,
        options=make_options(RECORDED, options),
        outer=model,
    )
