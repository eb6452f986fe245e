"""The capture round any loop: training, evaluation, generation, or our own."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from hiddenscope import kernels
from hiddenscope.capture import Watch
from hiddenscope.corpus import adds_bos, special_ids
from hiddenscope.errors import InputError
from hiddenscope.measuring.assemble import assemble
from hiddenscope.measuring.audit import audit
from hiddenscope.measuring.choose import choose_sites
from hiddenscope.measuring.engine import Engine
from hiddenscope.measuring.manifest import (
    describe_model,
    describe_streams,
    describe_tokenizer,
)
from hiddenscope.models import RESIDUAL, find_structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from transformers import PreTrainedModel

    from hiddenscope.capture import Check
    from hiddenscope.measuring.counts import Counts
    from hiddenscope.measuring.layouts import Options
    from hiddenscope.measuring.state import Pass, RunState
    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile
    from hiddenscope.tokens import Tokens


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
    engine : Engine
    state : RunState
        What was measured so far.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        options: Options,
        *,
        sites: str | Iterable[str] = "trunk",
        outer: PreTrainedModel | None = None,
    ) -> None:
        self.loaded = loaded
        self.options = options
        structure = find_structure(loaded.model, loaded.outer)
        special = special_ids(loaded.tokenizer) if loaded.tokenizer else frozenset[int]()
        chosen = choose_sites(sites, structure)
        self.engine = Engine(
            loaded.model,
            structure,
            chosen,
            self.options,
            special=special,
            bos=self._expected_bos(),
        )
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
        self.state = self.engine.fresh()
        self._start = time.perf_counter()

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of each stratum of the first stream so far."""
        return dict(self.state.main.tokens)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.engine.capture(self._place, self._take))
            stack.enter_context(self.watching())
            if self._outer is not None:
                stack.enter_context(self._generation(self._outer))
            self._open = stack.pop_all()
        return self

    def _place(
        self, stream: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Tokens, Counts]:
        reader = self.engine.streams[stream].reader
        return reader.read(args, kwargs, self.state.counts[stream].rows)

    def _take(self, stream: str, measured: Pass) -> None:
        self.state.update(stream, measured)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Check the first forward pass as it is measured, whoever runs it."""
        with ExitStack() as stack:
            for name, measured in self.engine.streams.items():
                if name not in self.watches or not self.watches[name].checks:
                    watch = Watch(measured.model, measured.stream, measured.sites)
                    self.watches[name] = measured.watch = watch.__enter__()
                    stack.callback(watch.remove)
            yield

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
            # The method of the class is used again, unless the model had a `generate` of its own.
            del model.generate
            if own is not None:
                model.generate = own

    def _prompt(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Return how many columns the prompts have that ``generate`` was called with."""
        if self.engine.streams.keys() != {RESIDUAL}:
            # A decoder's prompt is its own, and the encoder reads nothing else.
            return None
        named = [kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds")]
        prompt = next((x for x in (*args[:1], *named) if x is not None), None)
        return None if prompt is None else int(prompt.shape[1])

    def _tell(self, *, begins: bool, prompt: int | None = None) -> None:
        for measured in self.engine.streams.values():
            measured.reader.generating(begins=begins, prompt=prompt)

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
        if self.state.main.total < 2:
            msg = "fewer than two tokens were recorded: run the model inside the context first"
            raise InputError(msg)
        corpus = {"name": "recorded batches", "documents": self.state.main.rows}
        return self.build(self.state, corpus, {})

    def build(
        self,
        state: RunState,
        corpus: dict[str, Any],
        run: dict[str, Any],
        checks: Callable[[], list[Check]] = list,
    ) -> Profile:
        """Make a profile of a state, with what the manifest says of the model.

        Parameters
        ----------
        state : RunState
        corpus, run : dict
            What the manifest says of the text and of how it was run.
        checks : callable, optional
            What else the run has checked.
        """
        structure, main = self.engine.structure, state.main
        first = next(iter(self.engine.streams.values())).stream
        manifest = {
            "model": describe_model(self.loaded, first, state),
            "tokenizer": describe_tokenizer(self.loaded.tokenizer),
            "corpus": {**corpus, "tokens": main.tokens, "padding": main.padding},
            "streams": describe_streams(structure, state),
            "linear": asdict(structure.linear),
            "thresholds": self.options.thresholds,
            "kernel": kernels.NAME,
            "wall_time_s": round(time.perf_counter() - self._start, 3),
            **run,
        }
        made = [
            *(check for watch in self.watches.values() for check in watch.checks),
            *self.checks,
            *checks(),
        ]
        with self.paused():
            made += audit(self.engine, state, self.loaded.tokenizer, manifest)
        hf = {stream.name: stream.hf for stream in structure.streams}
        return assemble(
            state.states, hf=hf, manifest=manifest, checks=made, tokenizer=self.loaded.tokenizer
        )
