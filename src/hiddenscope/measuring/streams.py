"""Measuring one stream of a model: from what its hooks hand over to complete forward passes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope.capture import Capture
from hiddenscope.errors import CaptureError
from hiddenscope.measuring.calls import CallReader
from hiddenscope.measuring.layouts import make_layout
from hiddenscope.measuring.state import Pass
from hiddenscope.models import RESIDUAL
from hiddenscope.sites import OWN_BASIS, Site
from hiddenscope.stats import find_massive, gather
from hiddenscope.strata import MASSIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transformers import PreTrainedModel

    from hiddenscope.capture import Watch
    from hiddenscope.measuring.counts import Counts
    from hiddenscope.measuring.layouts import Options
    from hiddenscope.models import Stream
    from hiddenscope.strata import Strata
    from hiddenscope.tokens import Tokens


def group_by_basis(name: str, width: int, widths: Mapping[str, int]) -> dict[str, list[str]]:
    """Sort the sites of a stream into streams whose channels mean the same.

    Those in the basis of the residual stream keep its name; points in another one, or of another
    width, are named after their point: ``mlp_act`` or, in an encoder-decoder,
    ``decoder_mlp_act``; where a point's width differs between blocks, with the width behind.

    Parameters
    ----------
    name : str
        Of the stream.
    width : int
        Of the residual stream.
    widths : mapping of str to int
        Site → its channels.
    """
    apart: dict[str, str] = {}
    found: dict[str, set[int]] = {}
    for site, wide in widths.items():
        point = Site(site).point or ""
        if point in OWN_BASIS or wide != width:
            apart[site] = point
            found.setdefault(point, set()).add(wide)
    prefix = "" if name == RESIDUAL else f"{name}_"
    groups: dict[str, list[str]] = {}
    for site, wide in widths.items():
        group = name
        if site in apart:
            point = apart[site]
            group = f"{prefix}{point}" + (f"_{wide}" if len(found[point]) > 1 else "")
        groups.setdefault(group, []).append(site)
    return groups


class MeasuredStream:
    """One residual stream of a model, and what is measured along it.

    Parameters
    ----------
    model : PreTrainedModel
    stream : Stream
    sites : sequence of str
    options : Options
    special : frozenset of int
    bos : int or None

    Attributes
    ----------
    layouts : dict of str to Layout
        By the names of `group_by_basis`.
    reader : CallReader
    watch : Watch or None
        What checks the first forward pass; it is shown what will be counted.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stream: Stream,
        sites: Sequence[str],
        options: Options,
        *,
        special: frozenset[int],
        bos: int | None,
    ) -> None:
        self.model, self.stream, self.options = model, stream, options
        self.sites = tuple(sites)
        self.watch: Watch | None = None
        self.reader = CallReader(
            model.get_submodule(stream.owner), stream, options.strata, special=special, bos=bos
        )
        trunk = {site.name for site in stream.trunk}
        groups = group_by_basis(stream.name, stream.width, stream.widths(sites))
        self.layouts = {
            name: make_layout(
                held,
                stream.width_of(held[0]),
                trunk=[s for s in held if s in trunk and name == stream.name],
                options=options,
            )
            for name, held in groups.items()
        }
        # A block reads bitwise what the one before wrote: it is captured and read once.
        known = set(self.sites)
        same = {
            f"block.{i}.resid_pre": f"block.{i - 1}.resid_post" if i else "embed"
            for i in range(len(stream.blocks))
        }
        self.same = {a: b for a, b in same.items() if {a, b} <= known}
        # Massive activations are looked for at every block, whichever sites were asked for.
        self.outputs = {f"block.{i}.resid_post" for i in range(len(stream.blocks))}
        self._captured = [s for s in stream.taps if s in (known | self.outputs) - self.same.keys()]

    def capture(
        self,
        place: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Tokens, Counts]],
        done: Callable[[Pass], None],
    ) -> Capture:
        """Return hooks that follow each forward pass, as in `Engine.capture`."""
        pending = _Pending(self, place, done)
        return Capture(
            self.model,
            self.stream,
            self._captured,
            take=pending.take,
            begin=pending.begin,
            end=pending.end,
        )


class _Pending:
    """A forward pass that is in progress; nothing of it is counted until it is complete."""

    def __init__(
        self,
        stream: MeasuredStream,
        place: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Tokens, Counts]],
        done: Callable[[Pass], None],
    ) -> None:
        self._stream, self._place, self._done = stream, place, done
        self._drop()

    def _drop(self) -> None:
        self._placed: tuple[Tokens, Counts] | None = None
        self._states: dict[str, torch.Tensor] = {}
        self._dtypes: dict[str, str] = {}
        self._massive: torch.Tensor | None = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._drop()
        self._placed = self._place(args, kwargs)
        if self._stream.watch is not None:
            self._stream.watch.reading(self._placed[0].real)

    def take(self, name: str, states: torch.Tensor) -> None:
        tokens = None if self._placed is None else self._placed[0]
        if tokens is None or states.shape[:-1].numel() != tokens.strata.size:
            shape = None if tokens is None else tokens.strata.shape
            msg = (
                f"{name} yields states of shape {tuple(states.shape)} for tokens of shape {shape}: "
                "expected one state a token"
            )
            raise CaptureError(msg)
        self._dtypes[name] = str(states.dtype).removeprefix("torch.")
        held = gather(tokens, states)
        if name in self._stream.outputs:
            options = self._stream.options
            found = find_massive(held, options.massive, options.massive_ratio)
            self._massive = found if self._massive is None else self._massive | found
        if name in self._stream.sites:
            self._states[name] = held

    def end(self, _: Any) -> None:
        if self._placed is None:
            return
        strata, same = self._stream.options.strata, self._stream.same
        tokens, counts = self._placed
        tokens, states = set_apart(tokens, self._states, self._massive, strata)
        counts = replace(
            counts,
            tokens=dict(zip(strata, tokens.count(len(strata)).tolist(), strict=True)),
            padding=int((~tokens.real).sum()),
            dtypes={**self._dtypes, **{a: self._dtypes[b] for a, b in same.items()}},
        )
        self._drop()
        states |= {a: states[b] for a, b in same.items()}
        if self._stream.watch is not None:
            self._stream.watch.counted(tokens.order, states)
        self._done(Pass(tokens, states, counts))


def set_apart(
    tokens: Tokens,
    held: dict[str, torch.Tensor],
    massive: torch.Tensor | None,
    strata: Strata,
) -> tuple[Tokens, dict[str, torch.Tensor]]:
    """Move tokens with a massive activation into the stratum of their own.

    Parameters
    ----------
    tokens : Tokens
    held : dict of str to Tensor[token, channel]
        Emptied where tokens move, so that only one site at a time is in memory twice.
    massive : Tensor[token] of bool, optional
        In the order of `tokens`, as the states are.
    strata : Strata
        Tokens that ``rest`` leaves out stay what they are.

    Returns
    -------
    Tokens, dict of str to Tensor[token, channel]
    """
    if massive is None or not bool(massive.any()):
        return tokens, held
    keep = [strata.index(s) for s in strata.left_out if s in strata]
    moved = replace(tokens, strata=tokens.strata.copy())
    flat = moved.strata.reshape(-1)
    found = tokens.order[massive.cpu().numpy()]
    flat[found[~np.isin(flat[found], keep)]] = strata.index(MASSIVE)
    # The states lie in the order of the strata as they were.
    place = np.empty(flat.size, np.int64)
    place[tokens.order] = np.arange(len(tokens.order))
    index = torch.from_numpy(place[moved.order])
    return moved, {site: (x := held.pop(site))[index.to(x.device)] for site in list(held)}
