"""The points of a block, found by what it adds to the residual stream, and proved by sums.

One call of a block is written down with everything that its modules read and returned. What
the block adds is then not looked up but solved for: outputs of modules which, added to the
state that the block read, give bitwise the states that it went on with. Only what an addition is
called (attention, MLP) goes by names; the table of names is `ROLES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.models.taps import Tap, same_bits, tensors_in, tensors_out, turns_into

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLES = {
    # The order decides where a path matches several. What mixes tokens is called attention
    # here, whatever does it: attention, a state space, a convolution, a Fourier transform.
    "cross": r"cross|encoder_attn|encdec",
    "attn": r"attn|attention|mamba|ssm|temporal|conv|fourier|rwkv|retention|delta",
    "mlp": r"mlp|ffn|ff\b|feed_?forward|moe|expert|intermediate|fc\d?\b|dense_4h|relu_?dense",
}
"""What an addition is called, by the path of the module that makes it."""

POINTS = (
    "resid_pre",
    "attn_norm", "attn_mix", "attn_out",
    "resid_cross", "cross_norm", "cross_mix", "cross_out",
    "resid_mid", "mlp_norm", "mlp_act", "mlp_out",
    "resid_post",
)  # fmt: skip
"""Every point of a block, in the order of the forward pass."""

_MOST_ADDITIONS = 4
# Scales are fitted before they are looked up: closer than this is near enough to look.
_NEAR = 2e-2


@dataclass(frozen=True, eq=False)
class Step:
    """One equation of a block: what is added to what, and what comes of it.

    Attributes
    ----------
    terms : tuple of str
        Points that are added up, in the order in which the model adds them.
    result : str
        The point that is their sum or, with `norm`, the norm of their sum.
    norm : Module, optional
        What a block with its norms behind the additions (BERT) applies to the sum.
    factor : Tensor, optional
        What a block that scales the whole stream (Gemma 4) multiplies the sum by.
    """

    terms: tuple[str, ...]
    result: str
    norm: torch.nn.Module | None = None
    factor: torch.Tensor | None = None

    def __str__(self) -> str:
        total = " + ".join(self.terms)
        if self.norm is not None:
            total = f"norm({total})"
        elif self.factor is not None:
            total = f"scale × ({total})"
        return f"{self.result} = {total}"


@dataclass(frozen=True)
class Anatomy:
    """The points of one block.

    Attributes
    ----------
    taps : dict of str to Tap
        By point, in the order of `POINTS`, without ``resid_pre`` and ``resid_post``.
    widths : dict of str to int
        Channels at each point.
    steps : tuple of Step
        The equations that hold bitwise between them; empty where none was found.
    refused : dict of str to str
        Points that the block does not have or whose meaning could not be told, and why.
    """

    taps: dict[str, Tap]
    widths: dict[str, int]
    steps: tuple[Step, ...]
    refused: dict[str, str]


@dataclass(eq=False)
class Seen:
    """One tensor on its way into or out of a module."""

    module: torch.nn.Module
    path: str
    side: str
    key: int | str
    call: int
    time: int
    value: torch.Tensor
    # Of an output: when its module was called.
    began: int = -1

    def tap(self, scale: float | torch.Tensor | None = None) -> Tap:
        """Return the place where it passed."""
        return Tap(self.module, self.path, self.side, self.key, self.call, scale)


@dataclass(eq=False)
class Trace:
    """Everything that passes through the modules of one block in one call.

    Parameters
    ----------
    block : Module
    path : str
    entry : Tensor[batch, pos, channel]
        What the block read.
    """

    block: torch.nn.Module
    path: str
    entry: torch.Tensor
    seen: list[Seen] = field(default_factory=list)
    _clock: int = 0
    _open: list[int] = field(default_factory=list)

    def enter(
        self, module: torch.nn.Module, path: str, call: int, args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Write down what a module is called with."""
        self._clock += 1
        self._open.append(self._clock)
        self._keep(tensors_in(args, kwargs), module, path, "input", call)

    def leave(self, module: torch.nn.Module, path: str, call: int, output: Any) -> None:
        """Write down what it returned."""
        self._clock += 1
        began = self._open.pop()
        self._keep(tensors_out(output), module, path, "output", call, began=began)

    def _keep(
        self,
        found: dict[int | str, torch.Tensor],
        module: torch.nn.Module,
        path: str,
        side: str,
        call: int,
        *,
        began: int = -1,
    ) -> None:
        batch, length = self.entry.shape[:2]
        for key, value in found.items():
            # Some modules see the tokens of all rows as one long row.
            flat = value.ndim == 2 and value.shape[0] == batch * length
            if value.is_floating_point() and (flat or value.shape[:-1] == (batch, length)):
                held = value.detach().clone().reshape(batch, length, -1)
                self.seen.append(Seen(module, path, side, key, call, self._clock, held, began))


@dataclass(frozen=True)
class _Addition:
    source: Seen
    scale: float | torch.Tensor | None
    # The state that it leads to, where that is a waypoint; the norm behind it, if any.
    result: torch.Tensor
    norm: Seen | None = None
    factor: torch.Tensor | None = None

    @property
    def time(self) -> int:
        """When its result was there."""
        return (self.norm or self.source).time


def dissect(trace: Trace, exit_state: torch.Tensor) -> Anatomy:
    """Find the points of a block from one call of it.

    Parameters
    ----------
    trace : Trace
    exit_state : Tensor[batch, pos, channel]
        What the block returned.

    Returns
    -------
    Anatomy
    """
    solver = _Solver(trace, exit_state)
    for parallel, path in solver.solutions():
        roles = _roles(trace, path, parallel=parallel)
        if roles is not None:
            return _Points(trace, path, roles, parallel=parallel).anatomy()
    why = "what the block adds to the residual stream could not be told"
    return Anatomy({}, {}, (), dict.fromkeys(POINTS[1:-1], why))


class _Solver:
    """Looks for the additions that lead from what a block read to what it returned."""

    def __init__(self, trace: Trace, exit_state: torch.Tensor) -> None:
        self.entry, self.exit = trace.entry, exit_state
        own = (trace.block.parameters(recurse=False), trace.block.buffers(recurse=False))
        self.vectors = [x.detach() for held in own for x in held if x.is_floating_point()]
        self.numbers = [x for x in vars(trace.block).values() if isinstance(x, float)]
        width = trace.entry.shape[-1]
        narrow = [s for s in trace.seen if s.value.shape[-1] == width]
        # Of equal outputs the last is what is added: dropout comes behind the projection.
        self.outputs = _last_of_equals([s for s in narrow if s.side == "output"])
        self.inputs = [s for s in narrow if s.side == "input"]
        self.norms = [
            (read, wrote)
            for read in self.inputs
            for wrote in narrow
            if wrote.side == "output"
            and wrote.began == read.time
            and is_norm(read.module)
            and turns_into(read.module, read.value, wrote.value)
        ]

    def solutions(self) -> Iterator[tuple[bool, list[_Addition]]]:
        """Yield ways to add up: one after the other, then side by side, then with norms behind."""
        for norms in ([], self.norms):
            chain = self._chain(self.entry, -1, norms, 0)
            if chain:
                yield False, chain
            if not norms and (pair := self._side_by_side()):
                yield True, pair

    def _chain(
        self, state: torch.Tensor, time: int, norms: list[tuple[Seen, Seen]], depth: int
    ) -> list[_Addition] | None:
        """Find additions, one after the other, that lead from a state to the block's output."""
        if depth == _MOST_ADDITIONS:
            return None
        later = [s for s in self.outputs if s.began >= time]
        if last := self._last_addition(state, later):
            return [last]
        for addition in self._next_additions(state, time, later, norms):
            if same_bits(addition.result, self.exit):
                return [addition]
            rest = self._chain(addition.result, addition.time, norms, depth + 1)
            if rest:
                return [addition, *rest]
        return None

    def _last_addition(self, state: torch.Tensor, later: list[Seen]) -> _Addition | None:
        for source in later:
            for scale in self._scales(state, source.value, self.exit):
                if _gives(state, source.value, scale, self.exit):
                    return _Addition(source, scale, self.exit)
            for factor in (v for v in self.vectors if v.numel() == 1):
                total = (state + source.value).to(self.exit.dtype) * factor
                if same_bits(total.to(self.exit.dtype), self.exit):
                    return _Addition(source, None, self.exit, factor=factor)
        return None

    def _next_additions(
        self,
        state: torch.Tensor,
        time: int,
        later: list[Seen],
        norms: list[tuple[Seen, Seen]],
    ) -> Iterator[_Addition]:
        """Yield additions that lead to a state which a later module reads, or to its norm."""
        for point in _distinct(s for s in self.inputs if s.time > time):
            if same_bits(point.value, state):
                continue
            for source in (s for s in later if s.time <= point.time):
                for scale in self._scales(state, source.value, point.value):
                    if not _gives(state, source.value, scale, point.value):
                        continue
                    if not norms:
                        yield _Addition(source, scale, point.value)
                    for read, wrote in norms:
                        if read.time >= point.time and same_bits(read.value, point.value):
                            yield _Addition(source, scale, wrote.value, wrote)

    def _side_by_side(self) -> list[_Addition] | None:
        for pair in combinations(self.outputs, 2):
            # Additions round, so their order shows.
            for a, b in permutations([s.value for s in pair]):
                sums = ((a + b) + self.entry, (self.entry + a) + b)
                if any(same_bits(x.to(self.exit.dtype), self.exit) for x in sums):
                    return [_Addition(s, None, self.exit) for s in pair]
        return None

    def _scales(
        self, state: torch.Tensor, added: torch.Tensor, result: torch.Tensor
    ) -> Iterator[float | torch.Tensor | None]:
        """Yield what the addition may be multiplied by: nothing, or a number of the block's."""
        yield None
        if not self.numbers and not self.vectors:
            return
        x = added.double().ravel()
        norm = torch.dot(x, x)
        if not norm > 0 or not torch.isfinite(norm):
            return
        fitted = float(torch.dot(result.double().ravel() - state.double().ravel(), x) / norm)
        for number in self.numbers:
            if abs(number - fitted) <= _NEAR * abs(fitted):
                yield number
        for vector in self.vectors:
            if vector.numel() in {1, added.shape[-1]}:
                yield vector


def _gives(
    state: torch.Tensor,
    added: torch.Tensor,
    scale: float | torch.Tensor | None,
    result: torch.Tensor,
) -> bool:
    total = state + (added if scale is None else added * scale)
    return same_bits(total.to(result.dtype), result)


def _last_of_equals(outputs: list[Seen]) -> list[Seen]:
    kept: list[Seen] = []
    for s in outputs:
        kept = [k for k in kept if not same_bits(k.value, s.value)]
        kept.append(s)
    return kept


def _distinct(inputs: Iterator[Seen]) -> list[Seen]:
    kept: list[Seen] = []
    for s in inputs:
        if not any(same_bits(k.value, s.value) for k in kept):
            kept.append(s)
    return kept


def is_norm(module: torch.nn.Module) -> bool:
    """Whether a module is a normalisation, by the name of its class."""
    return "norm" in type(module).__name__.lower()


def is_linear(module: torch.nn.Module) -> bool:
    """Whether a module is a linear layer, of whatever kind."""
    # Quantised layers and adapters keep their weights in their own ways, but say what they are.
    if re.search(r"linear|conv1d", type(module).__name__.lower()):
        return True
    weight = getattr(module, "weight", None)
    return next(module.children(), None) is None and getattr(weight, "ndim", 0) == 2


def _roles(trace: Trace, path: list[_Addition], *, parallel: bool) -> list[str] | None:
    """Name the additions, by the module that makes one or by the linear layers called for it."""
    roles: list[str] = []
    begin = -1
    for source in sorted((a.source for a in path), key=lambda s: s.began):
        linear = {
            _role(s.path.removeprefix(trace.path))
            for s in trace.seen
            if begin < s.time <= source.time and is_linear(s.module)
        } - {None}
        own = _role(source.path.removeprefix(trace.path))
        own = own or _role(type(source.module).__name__, last=True)
        named = own or (linear.pop() if len(linear) == 1 else None)
        if named is None or named in roles:
            return None
        roles.append(named)
        begin = source.time
    in_order = [role for role in ("attn", "cross", "mlp") if role in roles]
    return roles if parallel or roles == in_order else None


def _role(name: str, *, last: bool = False) -> str | None:
    """Return the role that a name speaks of.

    Of several, the first in a path, where ``mlp.conv`` is part of an MLP; the last in the name
    of a class, where RwkvFeedForward is an MLP.
    """
    found = {
        match.start() + (match.end() if last else 0): role
        for role, names in reversed(ROLES.items())
        for match in re.finditer(names, name, re.IGNORECASE)
    }
    return found[(max if last else min)(found)] if found else None


class _Points:
    """Puts the points of a block together from its additions."""

    def __init__(
        self, trace: Trace, path: list[_Addition], roles: list[str], *, parallel: bool
    ) -> None:
        self.trace, self.path, self.roles, self.parallel = trace, path, roles, parallel
        self.taps: dict[str, Tap] = {}
        self.widths: dict[str, int] = {}
        self.refused: dict[str, str] = {}

    def anatomy(self) -> Anatomy:
        """Return the points in order, with the equations between them."""
        begin = -1
        for addition, role in sorted(
            zip(self.path, self.roles, strict=True), key=lambda pair: pair[0].source.began
        ):
            self._put(f"{role}_out", addition.source, addition.scale)
            self._readers(role, addition.source, begin)
            begin = addition.source.time
        steps = self._steps()
        absent = "this block has no {}"
        for role, what in (("attn", "attention or what stands for it"), ("mlp", "MLP")):
            if role not in self.roles:
                names = [p for p in POINTS if p.startswith(f"{role}_")]
                self.refused |= dict.fromkeys(names, absent.format(what))
        if "resid_mid" not in self.taps:
            why = "its attention and MLP are added side by side, so there is nothing between them"
            single = "it adds to the residual stream once, so there is nothing between"
            self.refused["resid_mid"] = why if self.parallel else single
        return Anatomy(
            {p: self.taps[p] for p in POINTS if p in self.taps},
            {p: self.widths[p] for p in POINTS if p in self.widths},
            steps,
            self.refused,
        )

    def _steps(self) -> tuple[Step, ...]:
        if self.parallel:
            terms = ("resid_pre", *(f"{role}_out" for role in self.roles))
            return (Step(terms, "resid_post"),)
        steps, before = [], "resid_pre"
        for i, (addition, role) in enumerate(zip(self.path, self.roles, strict=True)):
            following = self.roles[i + 1] if i + 1 < len(self.roles) else None
            result = {"cross": "resid_cross", "mlp": "resid_mid", None: "resid_post"}[following]
            if following:
                self._put(result, self._waypoint(addition))
            norm = addition.norm.module if addition.norm else None
            steps.append(Step((before, f"{role}_out"), result, norm, addition.factor))
            before = result
        return tuple(steps)

    def _put(self, point: str, seen: Seen, scale: float | torch.Tensor | None = None) -> None:
        self.taps[point] = seen.tap(scale)
        self.widths[point] = int(seen.value.shape[-1])

    def _waypoint(self, addition: _Addition) -> Seen:
        if addition.norm is not None:
            return addition.norm
        return next(
            s
            for s in self.trace.seen
            if s.side == "input"
            and s.time > addition.source.time
            and same_bits(s.value, addition.result)
        )

    def _readers(self, role: str, source: Seen, begin: int) -> None:
        """Find what the linear layers of an addition read: its first ones, and its last one."""
        last = self._projection(source)
        inner = "mlp_act" if role == "mlp" else f"{role}_mix"
        if last is not None:
            reads = next(s for s in self.trace.seen if s.side == "input" and s.time == last.began)
            self._put(inner, reads)
        else:
            self.refused[inner] = self._no_projection(source)
        until = last.began if last is not None else source.time
        first = next(
            (
                s
                for s in self.trace.seen
                if begin < s.time < until and s.side == "input" and self._is_read(s)
            ),
            None,
        )
        if first is None:
            self.refused[f"{role}_norm"] = "its first linear layers read no state of one module"
        else:
            self._put(f"{role}_norm", first)

    def _is_read(self, s: Seen) -> bool:
        # What RWKV's linear layers read was mixed with the token before, each in its own way:
        # only a state that a module or the block itself was given or made is read by all.
        if not is_linear(s.module) or s.value.shape != self.trace.entry.shape:
            return False
        made = (o.value for o in self.trace.seen if o.side == "output" and o.time < s.time)
        states = (self.trace.entry, *(a.result for a in self.path))
        return any(same_bits(s.value, x) for x in (*made, *states))

    def _projection(self, source: Seen) -> Seen | None:
        """Walk back from what is added, past dropout and norms, to the linear layer behind it."""
        outputs = [s for s in self.trace.seen if s.side == "output"]
        value = source.value
        for _ in range(3):
            equal = [s for s in outputs if s.time <= source.time and same_bits(s.value, value)]
            linear = [s for s in equal if is_linear(s.module)]
            if linear:
                # The outermost: an adapter's layer has the layer that it adapts inside.
                return min(linear, key=lambda s: s.began)
            norms = [s for s in equal if is_norm(s.module)]
            if not norms:
                return None
            value = next(
                s.value for s in self.trace.seen if s.side == "input" and s.time == norms[0].began
            )
        return None

    def _no_projection(self, source: Seen) -> str:
        below = [s.path for s in self.trace.seen if s.path.startswith(source.path)]
        names = [*below, *(name for name, _ in source.module.named_modules())]
        if any(re.search("expert|router|gate|moe", name, re.IGNORECASE) for name in names):
            return "the experts of a mixture each read their own, which is not measured yet"
        return "no linear layer makes what is added"
