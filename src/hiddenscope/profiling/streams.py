"""Measuring one stream of a model: from what its hooks hand over to its accumulators."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope.capture import Capture
from hiddenscope.errors import CaptureError
from hiddenscope.models import RESIDUAL
from hiddenscope.profiling.layouts import make_layout
from hiddenscope.sites import Site
from hiddenscope.stats import Batch, States, StreamState, find_massive, gather
from hiddenscope.strata import LEFT_OUT_OF_REST, MASSIVE, PADDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.models import Stream
    from hiddenscope.profiling.calls import CallReader
    from hiddenscope.profiling.layouts import Options
    from hiddenscope.tokens import Tokens


def group_by_width(stream: Stream, sites: Sequence[str]) -> dict[str, list[str]]:
    """Sort sites into streams of one width each.

    Those as wide as the residual stream keep its name; others are named after their point:
    ``mlp_act`` or, in an encoder-decoder, ``decoder_mlp_act``; where a point's width differs
    between blocks, with the width behind.
    """
    widths: dict[str, set[int]] = {}
    for site in sites:
        widths.setdefault(Site(site).point or "", set()).add(stream.width_of(site))
    prefix = "" if stream.name == RESIDUAL else f"{stream.name}_"
    groups: dict[str, list[str]] = {}
    for site in sites:
        width, point = stream.width_of(site), Site(site).point or ""
        name = stream.name
        if width != stream.width:
            several = len(widths[point] - {stream.width}) > 1
            name = f"{prefix}{point}_{width}" if several else f"{prefix}{point}"
        groups.setdefault(name, []).append(site)
    return groups


class StreamRecorder:
    """Measures the sites along one residual stream.

    Parameters
    ----------
    stream : Stream
    sites : sequence of str
    options : Options
    reader : CallReader

    Attributes
    ----------
    states : States
        What was measured so far, by the names of `group_by_width`.
    tokens : dict of str to int
        Tokens of each stratum so far.
    padding : int
    dtypes : dict of str to str
        Of the states at each site.
    """

    def __init__(
        self, stream: Stream, sites: Sequence[str], options: Options, reader: CallReader
    ) -> None:
        self.stream, self.options, self.reader = stream, options, reader
        self.sites = tuple(sites)
        trunk = {site.name for site in stream.trunk}
        self.states = States(
            {
                name: StreamState(
                    make_layout(
                        held,
                        stream.width_of(held[0]),
                        trunk=[s for s in held if s in trunk and name == stream.name],
                        options=options,
                    )
                )
                for name, held in group_by_width(stream, self.sites).items()
            }
        )
        # A block reads bitwise what the one before wrote: it is captured and read once.
        known = set(self.sites)
        self._same = {
            f"block.{i}.resid_pre": f"block.{i - 1}.resid_post" if i else "embed"
            for i in range(len(stream.blocks))
        }
        self._same = {a: b for a, b in self._same.items() if {a, b} <= known}
        # Massive activations are looked for at every block, whichever sites were asked for.
        self._outputs = {f"block.{i}.resid_post" for i in range(len(stream.blocks))}
        captured = [s for s in stream.taps if s in (known | self._outputs) - self._same.keys()]
        self.capture = Capture(stream, captured, take=self._take, begin=self._begin, end=self._end)
        self.dtypes: dict[str, str] = {}
        self._expected: Tokens | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was measured so far."""
        self.states = self.states.sibling()
        self.reader.reset()
        self.tokens = dict.fromkeys(self.options.strata, 0)
        self.padding = 0
        self._drop()

    def _drop(self) -> None:
        self._current: Tokens | None = None
        self._held: dict[str, torch.Tensor] = {}
        self._massive: torch.Tensor | None = None

    def expect(self, tokens: Tokens) -> None:
        """Say where the tokens of the next forward pass stand, instead of reading it off."""
        self._expected = tokens

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._drop()
        self.reader.begin(args, kwargs)
        self._current = self._expected or self.reader.read(args, kwargs)
        self._expected = None

    def _take(self, name: str, states: torch.Tensor) -> None:
        tokens = self._current
        if tokens is None or states.shape[:-1].numel() != tokens.strata.size:
            shape = None if tokens is None else tokens.strata.shape
            msg = (
                f"{name} yields states of shape {tuple(states.shape)} for tokens of shape {shape}: "
                "expected one state a token"
            )
            raise CaptureError(msg)
        self.dtypes[name] = str(states.dtype).removeprefix("torch.")
        held = gather(tokens, states)
        if name in self._outputs:
            found = find_massive(held, self.options.massive, self.options.massive_ratio)
            self._massive = found if self._massive is None else self._massive | found
        if name in self.sites:
            self._held[name] = held

    def _end(self, _: Any) -> None:
        if self._current is None:
            return
        self.reader.commit()
        strata = self.options.strata
        tokens, held = set_apart(self._current, self._held, self._massive, strata)
        for state in self.states.streams.values():
            states = {s: held[self._same.get(s, s)] for s in state.layout.sites}
            state.update(Batch(state.layout, tokens, states))
        for name, count in zip(strata, tokens.count(len(strata)), strict=True):
            self.tokens[name] += int(count)
        self.padding += int((tokens.strata == PADDING).sum())
        for alias, site in self._same.items():
            self.dtypes[alias] = self.dtypes[site]
        self._drop()


def set_apart(
    tokens: Tokens,
    held: dict[str, torch.Tensor],
    massive: torch.Tensor | None,
    strata: Sequence[str],
) -> tuple[Tokens, dict[str, torch.Tensor]]:
    """Move tokens with a massive activation into the stratum of their own.

    Parameters
    ----------
    tokens : Tokens
    held : dict of str to Tensor[token, channel]
    massive : Tensor[token] of bool, optional
        In the order of `tokens`, as the states are.
    strata : sequence of str
        First, special and template tokens stay what they are.

    Returns
    -------
    Tokens, dict of str to Tensor[token, channel]
    """
    if massive is None or not bool(massive.any()):
        return tokens, held
    keep = [strata.index(s) for s in LEFT_OUT_OF_REST if s in strata]
    moved = replace(tokens, strata=tokens.strata.copy())
    flat = moved.strata.reshape(-1)
    found = tokens.order[massive.cpu().numpy()]
    flat[found[~np.isin(flat[found], keep)]] = strata.index(MASSIVE)
    # The states lie in the order of the strata as they were.
    place = np.empty(flat.size, np.int64)
    place[tokens.order] = np.arange(len(tokens.order))
    index = torch.from_numpy(place[moved.order])
    return moved, {site: x[index.to(x.device)] for site, x in held.items()}
