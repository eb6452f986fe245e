"""What a run checks of itself inside of its first forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from hiddenscope.capture.check import Check
from hiddenscope.capture.equations import residue
from hiddenscope.capture.hooks import Capture
from hiddenscope.models import same_bits
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hiddenscope.models import Stream

MAX_TOKENS = 256


class Watch:
    """Hooks that check one forward pass, the measured one itself, and are gone after it.

    Each block must read bitwise what the one before it wrote; what a block adds must be what it
    is said to be, wherever points of it are measured; what follows the last block, applied to
    its output, must give bitwise what the stream's owner returns; and what is kept to be counted
    must be bitwise what passed, when the pass is complete. The states of one block are kept at a
    time.

    Parameters
    ----------
    model : Module
    stream : Stream
    sites : sequence of str
        What is measured.

    Attributes
    ----------
    checks : list of Check
        Empty until a forward pass has begun to end.
    """

    def __init__(self, model: torch.nn.Module, stream: Stream, sites: Sequence[str]) -> None:
        self.model, self.stream = model, stream
        self.checks: list[Check] = []
        self._measured = frozenset(sites)
        self._complete = self._counted = False
        self._rows: slice | torch.Tensor = slice(MAX_TOKENS)
        blocks = range(len(stream.blocks))
        ends = {"resid_pre", "resid_post"}
        parsed = [Site(name) for name in sites]
        self._watched = {s.block for s in parsed if s.block is not None and s.point not in ends}
        wanted = [f"block.{i}.{end}" for i in blocks for end in sorted(ends)]
        wanted += [
            f"block.{i}.{point}"
            for i in sorted(self._watched)
            for step in stream.anatomies[i].steps
            for point in (*step.terms, step.result)
        ]
        self._capture = Capture(
            model,
            stream,
            list(dict.fromkeys([*wanted, *sites])),
            take=self._take,
            begin=self._begin,
            end=self._finish,
        )

    def __enter__(self) -> Self:
        self._capture.__enter__()
        return self

    def remove(self) -> None:
        """Take the hooks away."""
        self._capture.__exit__(None, None, None)

    def reading(self, real: NDArray[np.bool_]) -> None:
        """Say which tokens of the pass that begins are text, ``[batch, pos]``.

        Padding need not add up: XLM makes its states zero after each block.
        """
        if not self._complete:
            self._rows = torch.from_numpy(np.flatnonzero(real)[:MAX_TOKENS])

    def _begin(self, _: tuple[Any, ...], __: dict[str, Any]) -> None:
        # A forward pass that was broken off before says nothing about this one.
        self._broken: list[int] = []
        # The block whose output was seen last, and that.
        self._last: tuple[int, torch.Tensor] | None = None
        self._held: dict[str, torch.Tensor] = {}
        self._errors: dict[str, float] = {}
        self._wrong: list[str] = []
        self._passed: dict[str, torch.Tensor] = {}

    def _take(self, name: str, states: torch.Tensor) -> None:
        flat = states.reshape(-1, states.shape[-1])
        if name in self._measured:
            self._step = max(1, len(flat) // MAX_TOKENS)
            self._passed[name] = _fingerprints(flat[:: self._step])
        site = Site(name)
        if site.block is None:
            return
        assert site.point is not None
        if site.point == "resid_pre":
            number, written = self._last or (-1, states)
            if number != site.block - 1 or not same_bits(states, written):
                self._broken.append(site.block)
            self._held = {}
        if site.block in self._watched:
            self._held[site.point] = flat[self._rows].clone()
        if site.point == "resid_post":
            # A copy: should a later module change it in place, the next comparison shows it.
            self._last = site.block, states.clone()
            if site.block in self._watched:
                self._add_up(site.block)

    def _add_up(self, block: int) -> None:
        for step in self.stream.anatomies[block].steps:
            error, holds = float("inf"), False
            if {*step.terms, step.result} <= self._held.keys():
                error, holds = residue(self.model, step, self._held)
            self._errors[str(step)] = max(error, self._errors.get(str(step), 0.0))
            if not holds:
                self._wrong.append(f"{step} does not hold in block {block}")

    def _finish(self, output: Any) -> None:
        if not self._complete:
            self._complete = True
            last = getattr(output, "last_hidden_state", None)
            self.checks = [
                self._check_chain(),
                *([self._check_points()] if self._watched else []),
                self._check_final(output[0] if last is None else last),
                *self.checks,
            ]
        self._last, self._held = None, {}
        self.remove()

    def counted(self, order: NDArray[np.int64], states: Mapping[str, torch.Tensor]) -> None:
        """Hold what will be counted against what passed; of the first forward pass, else nothing.

        Parameters
        ----------
        order : ndarray[token] of int64
            Where each token stands in ``[batch, pos]``, as a flat index.
        states : mapping of str to Tensor[token, channel]
            By measured site.
        """
        if self._counted or not self._passed:
            return
        self._counted = True
        rows = np.flatnonzero(order % self._step == 0)
        kept, at = torch.from_numpy(rows), torch.from_numpy(order[rows] // self._step)
        wrong = []
        for site, passed in self._passed.items():
            # Of a model on several devices a block may read on another one than was written on.
            found = _fingerprints(states[site][kept.to(states[site].device)])
            if not torch.equal(found.cpu(), passed.cpu()[at]):
                wrong.append(site)
        detail = (
            f"{len(rows):,} tokens at {len(self._passed)} sites are kept bitwise as they passed"
        )
        if wrong:
            detail = f"what is counted at {wrong[0]} is not what passed there"
        self.checks.append(Check("counted states", not wrong, detail))

    @property
    def _training(self) -> bool:
        return self.model.get_submodule(self.stream.owner).training

    def _check_chain(self) -> Check:
        blocks = len(self.stream.blocks)
        detail = f"the input of each of {blocks} blocks is bitwise the output of the one before"
        if self._broken:
            at = self._broken[0]
            detail = f"block {at} does not read what was captured after block {at - 1}"
        return Check("residual stream", not self._broken, detail)

    def _check_points(self) -> Check:
        error = max(self._errors.values(), default=0.0)
        if self._wrong:
            detail = f"{self._wrong[0]}: off by {error:.1e} of the largest magnitude"
            if self._training:
                detail += "; the model is in training, where dropout may come between"
        elif self._errors:
            detail = (
                f"in {len(self._watched)} blocks {' and '.join(self._errors)}: "
                f"off by {error:.1e} of the largest magnitude at most"
            )
        else:
            detail = "no equation is known for the blocks whose points are measured"
        level = "warning" if self._training else "check"
        return Check("points", not self._wrong, detail, level, error)

    @torch.no_grad()
    def _check_final(self, result: torch.Tensor) -> Check:
        stream = self.stream
        assert self._last is not None
        _, last = self._last
        if stream.output is None:
            passed = same_bits(last, result)
            detail = "the last block's output is bitwise last_hidden_state; there is no final norm"
        else:
            module = self.model.get_submodule(stream.output.path)
            made = stream.output.read((), {}, module.forward(last))
            passed = same_bits(made, result)
            what = "the final norm"
            if stream.final_norm is None:
                what = f"{stream.output.path}, which is no site as it changes the width,"
            detail = f"{what} of the last block's output is bitwise last_hidden_state"
        return Check("final norm", passed, detail if passed else f"does not hold: {detail}")


def _fingerprints(states: torch.Tensor) -> torch.Tensor:
    """Return a number for each token, ``[token]`` of int64, that hangs on every bit of its state.

    Whole numbers wrap around: the order in which they are added up makes no difference.
    """
    # Doubles are counted as float32.
    states = states.float() if states.dtype == torch.float64 else states
    bits = states.contiguous().view(torch.int16 if states.itemsize == 2 else torch.int32).long()
    # The golden ratio's bits, as in Knuth's multiplicative hashing; an odd factor loses none.
    channels = torch.arange(bits.shape[-1], device=bits.device)
    return (bits * (channels * -7046029254386353131 | 1)).sum(-1)
