"""What a run checks of itself: inside its first forward pass, and against one without hooks."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from hiddenscope.capture.hooks import Capture
from hiddenscope.models import left_alone, same_bits
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hiddenscope.models import Step, Stream, Structure

MAX_ROWS = 2
MAX_TOKENS = 256
ROUNDINGS = 4
"""An equation may be off by so many roundings of each of its terms."""


@dataclass(frozen=True)
class Check:
    """One thing that a run checked.

    Attributes
    ----------
    name : str
    passed : bool
    detail : str
        What was found, in words.
    level : {'check', 'warning', 'note'}
        A failed ``check`` means that the numbers cannot be trusted; a ``warning`` is a
        property of the data that a reader should know; a ``note`` is only told.
    value : float, optional
        The number behind the words, where there is one.
    """

    name: str
    passed: bool
    detail: str
    level: str = "check"
    value: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


class Watch:
    """Hooks that check one forward pass, the measured one itself, and are gone after it.

    Each block must read bitwise what the one before it wrote; what a block adds must be what it
    is said to be, wherever points of it are measured; and what follows the last block, applied to
    its output, must give bitwise what the stream's owner returns. The states of one block are
    kept at a time.

    Parameters
    ----------
    stream : Stream
    sites : sequence of str
        What is measured.

    Attributes
    ----------
    checks : list of Check
        Empty until a forward pass is complete.
    """

    def __init__(self, stream: Stream, sites: Sequence[str]) -> None:
        self.stream = stream
        self.checks: list[Check] = []
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
            stream,
            list(dict.fromkeys(wanted)),
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

    def _begin(self, _: tuple[Any, ...], __: dict[str, Any]) -> None:
        # A forward pass that was broken off before says nothing about this one.
        self._broken: list[int] = []
        # The block whose output was seen last, and that.
        self._last: tuple[int, torch.Tensor] | None = None
        self._held: dict[str, torch.Tensor] = {}
        self._errors: dict[str, float] = {}
        self._wrong: list[str] = []

    def _take(self, name: str, states: torch.Tensor) -> None:
        site = Site(name)
        assert site.block is not None
        assert site.point is not None
        if site.point == "resid_pre":
            number, written = self._last or (-1, states)
            if number != site.block - 1 or not same_bits(states, written):
                self._broken.append(site.block)
            self._held = {}
        if site.block in self._watched:
            self._held[site.point] = states.reshape(-1, states.shape[-1])[:MAX_TOKENS].clone()
        if site.point == "resid_post":
            # A copy: should a later module change it in place, the next comparison shows it.
            self._last = site.block, states.clone()
            if site.block in self._watched:
                self._add_up(site.block)

    def _add_up(self, block: int) -> None:
        for step in self.stream.anatomies[block].steps:
            error, holds = float("inf"), False
            if {*step.terms, step.result} <= self._held.keys():
                error, holds = _residue(step, self._held)
            self._errors[str(step)] = max(error, self._errors.get(str(step), 0.0))
            if not holds:
                self._wrong.append(f"{step} does not hold in block {block}")

    def _finish(self, output: Any) -> None:
        if not self.checks:
            last = getattr(output, "last_hidden_state", None)
            self.checks = [
                self._check_chain(),
                *([self._check_points()] if self._watched else []),
                self._check_final(output[0] if last is None else last),
            ]
        self._last, self._held = None, {}
        self.remove()

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
            if self.stream.owner.training:
                detail += "; the model is in training, where dropout may come between"
        elif self._errors:
            detail = (
                f"in {len(self._watched)} blocks {' and '.join(self._errors)}: "
                f"off by {error:.1e} of the largest magnitude at most"
            )
        else:
            detail = "no equation is known for the blocks whose points are measured"
        level = "warning" if self.stream.owner.training else "check"
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
            made = stream.output.read((), {}, stream.output.module.forward(last))
            passed = same_bits(made, result)
            what = "the final norm"
            if stream.final_norm is None:
                what = f"{stream.output.path}, which is no site as it changes the width,"
            detail = f"{what} of the last block's output is bitwise last_hidden_state"
        return Check("final norm", passed, detail if passed else f"does not hold: {detail}")


def _residue(step: Step, states: Mapping[str, torch.Tensor]) -> tuple[float, bool]:
    """Return by how much an equation is off, and whether that is rounding."""
    terms, result = [states[t] for t in step.terms], states[step.result]
    epsilon = max(torch.finfo(x.dtype).eps for x in (*terms, result))
    total = torch.stack([x.double() for x in terms]).sum(0)
    allowed = torch.stack([x.double().abs() for x in terms]).sum(0) * epsilon * ROUNDINGS
    if step.factor is not None:
        total, allowed = total * step.factor, allowed * step.factor.abs()
    if step.norm is not None:
        # A norm spreads the rounding of one channel over all of them.
        kind = next(step.norm.parameters(), result).dtype
        total = step.norm.forward(total.to(kind)).double()
        allowed = (total.abs().amax(-1, keepdim=True) * epsilon * 8 * ROUNDINGS).expand_as(total)
    off = (result.double() - total).abs()
    # What is not finite is no equation; it is counted elsewhere.
    known = torch.isfinite(off) & torch.isfinite(allowed)
    scale = result.double().abs()[known].amax().clamp(min=1e-300) if known.any() else 1.0
    worst = float((off[known] / scale).amax()) if known.any() else 0.0
    return worst, bool((off <= allowed)[known].all())


def verify(structure: Structure, call: Mapping[str, Any]) -> list[Check]:
    """Run a small part of the first batch with and without hooks and compare.

    The model is left as it was.

    Parameters
    ----------
    structure : Structure
    call : mapping of str to Tensor[batch, pos] or other
        Arguments of the forward pass; only the first rows and positions are used.

    Returns
    -------
    list of Check
    """
    small = {
        key: x[:MAX_ROWS, : MAX_TOKENS // MAX_ROWS] if isinstance(x, torch.Tensor) else x
        for key, x in call.items()
    }
    states: dict[str, dict[str, torch.Tensor]] = {s.name: {} for s in structure.streams}
    with left_alone(structure.model):
        plain = structure.model(**small, output_hidden_states=True, return_dict=True)
    with left_alone(structure.model), ExitStack() as stack:
        for stream in structure.streams:
            held = states[stream.name]
            take = _keeper(held)
            stack.enter_context(Capture(stream, [s.name for s in stream.trunk], take=take))
        hooked = structure.model(**small, return_dict=True)
    return [
        *(_check_hf(stream, states[stream.name], plain) for stream in structure.streams),
        _check_unchanged(hooked.last_hidden_state, plain.last_hidden_state),
    ]


def _keeper(held: dict[str, torch.Tensor]) -> Any:
    return lambda name, x: held.update({name: x.clone()})


def _check_hf(stream: Stream, states: Mapping[str, torch.Tensor], result: Any) -> Check:
    plain = tuple(getattr(result, stream.hf_tuple, None) or ())
    if not plain:
        detail = f"the model returns no {stream.hf_tuple} to compare with"
        return Check(stream.hf_tuple, False, detail)
    by_index = {index: name for name, index in stream.hf.items()}
    # What has another width than the residual stream is the model's output and no site.
    held = {i: x for i, x in enumerate(plain) if x.shape[-1] == stream.width}
    wrong = [
        i
        for i, x in held.items()
        if by_index.get(i) not in states or not same_bits(states[by_index[i]], x)
    ]
    if wrong:
        detail = f"entry {wrong[0]} of Hugging Face's {stream.hf_tuple} is not what was captured"
        return Check(stream.hf_tuple, False, detail)
    last = "the output of the last block"
    if stream.output is not None and len(plain) - 1 not in by_index:
        last = f"the output of {stream.output.path}"
    elif by_index.get(len(plain) - 1) == "final_norm":
        last = "normalised: the output of the final norm"
    what = f"all {len(plain)} entries of Hugging Face's {stream.hf_tuple} are"
    if len(held) < len(plain):
        what = f"the {len(held)} entries of {stream.hf_tuple} of the stream's width are"
    detail = f"{what} bitwise what was captured; its last entry is {last}"
    return Check(stream.hf_tuple, True, detail)


def _check_unchanged(hooked: torch.Tensor, plain: torch.Tensor) -> Check:
    passed = same_bits(hooked, plain)
    detail = "the output with our hooks is bitwise the output without"
    return Check("hooks", passed, detail if passed else f"does not hold: {detail}")
