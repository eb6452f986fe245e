"""The engine of every measurement: it runs a model on a batch and adds the result to a state."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.measuring.counts import Counts
from hiddenscope.measuring.state import RunState
from hiddenscope.measuring.streams import MeasuredStream
from hiddenscope.models import DECODER
from hiddenscope.stats import StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from transformers import PreTrainedModel

    from hiddenscope.measuring.layouts import Options
    from hiddenscope.measuring.state import Pass
    from hiddenscope.models import Structure
    from hiddenscope.tokens import Tokens

    Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Engine:
    """Measures forward passes of one model.

    It keeps no results itself: they are in the states, which the caller may fold.

    Parameters
    ----------
    model : PreTrainedModel
    structure : Structure
        Of this model.
    sites : mapping of str to sequence of str
        By stream.
    options : Options
    special : frozenset of int
        Ids of special tokens.
    bos : int or None
        What the tokenizer puts before a text.

    Attributes
    ----------
    streams : dict of str to MeasuredStream
    """

    def __init__(
        self,
        model: PreTrainedModel,
        structure: Structure,
        sites: Mapping[str, Sequence[str]],
        options: Options,
        *,
        special: frozenset[int],
        bos: int | None,
    ) -> None:
        self.model, self.structure = model, structure
        self.options = options
        self.streams = {
            name: MeasuredStream(model, structure[name], held, options, special=special, bos=bos)
            for name, held in sites.items()
        }

    def fresh(self) -> RunState:
        """Return the state of nothing."""
        return RunState(
            {
                name: {group: StreamState(layout) for group, layout in stream.layouts.items()}
                for name, stream in self.streams.items()
            },
            {name: Counts(tokens=dict.fromkeys(self.options.strata, 0)) for name in self.streams},
        )

    @contextmanager
    def capture(
        self,
        place: Callable[[str, tuple[Any, ...], dict[str, Any]], tuple[Tokens, Counts]],
        done: Callable[[str, Pass], None],
    ) -> Iterator[None]:
        """Follow the forward passes that anybody runs inside of the context.

        Parameters
        ----------
        place : callable
            Called with a stream's name and what its owner was called with; says where the tokens
            stand and what else the call shows.
        done : callable
            Called with a stream's name and each pass that is complete.
        """
        pending = _Whole(done)
        with ExitStack() as stack:
            for name, stream in self.streams.items():
                where, take = partial(place, name), partial(pending.add, name)
                stack.enter_context(stream.capture(where, take))
            if len(self.structure.streams) > 1:
                hold = self.model.register_forward_pre_hook(pending.begin)
                stack.callback(hold.remove)
                release = self.model.register_forward_hook(pending.end, always_call=True)
                stack.callback(release.remove)
            yield

    def measure(self, call: Mapping[str, Any], tokens: Tokens, state: RunState) -> None:
        """Run one forward pass, and add what it shows to a state.

        A pass that fails adds nothing.

        Parameters
        ----------
        call : mapping of str to Tensor or other
            What the model is called with.
        tokens : Tokens[batch, pos]
            The text of the batch.
        state : RunState
        """
        read = dict.fromkeys(self.streams, tokens)
        if DECODER in read:
            read[DECODER] = tokens.shift_right(call["decoder_input_ids"][:, 0].cpu().numpy())

        def place(
            name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[Tokens, Counts]:
            reader = self.streams[name].reader
            return reader.stratified(read[name]), Counts(attended=reader.attended(args, kwargs))

        with self.capture(place, state.update), torch.no_grad():
            self.model(**call)


class _Whole:
    """Holds back the finished passes of single streams until the whole model has finished."""

    def __init__(self, done: Callable[[str, Pass], None]) -> None:
        self._done = done
        self._running = False
        self._held: list[tuple[str, Pass]] = []

    def begin(self, *_: Any) -> None:
        self._running = True
        self._held.clear()

    def end(self, _: torch.nn.Module, __: Any, output: Any) -> None:
        # Without an output the forward pass has failed.
        held = self._held if output is not None else []
        self._running, self._held = False, []
        for name, made in held:
            self._done(name, made)

    def add(self, name: str, made: Pass) -> None:
        # Inside of `generate` an encoder is run by itself.
        if self._running:
            self._held.append((name, made))
        else:
            self._done(name, made)
