"""Finding the points of a block: from what it adds to the residual stream, verified by sums.

Module names decide only what an addition is called (attention, MLP); see `roles`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hiddenscope.models.additions import Solver
from hiddenscope.models.anatomy import POINTS, Anatomy, Step
from hiddenscope.models.linear import reads_of
from hiddenscope.models.roles import INNER, MIXERS, role_of, roles_of
from hiddenscope.models.taps import BATCH_FIRST, same_bits
from hiddenscope.models.trace import is_linear, is_norm

if TYPE_CHECKING:
    import torch

    from hiddenscope.models.additions import Addition
    from hiddenscope.models.taps import Tap
    from hiddenscope.models.trace import Factor, Seen, Trace

UNKNOWN = (
    "no outputs of its modules, added to what it reads, make bitwise what it returns: it may add "
    "up several before, multiply by a number that it does not keep, or mix them in by a module"
)
"""Why a block has no points, unless more is known."""


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
    why = UNKNOWN
    solver = Solver(trace, exit_state)
    for parallel, path in solver.solutions():
        roles = roles_of(trace, path, parallel=parallel)
        nothing = _adds_nothing(trace, path)
        if roles is not None and nothing is None:
            norms = {read.path for read, _ in solver.norms}
            return _Points(trace, path, roles, norms, parallel=parallel).anatomy()
        added = ", ".join(trace.short(a.source.path) for a in path)
        why = f"it adds the outputs of {added}: which is attention and which the MLP is not told"
        if nothing is not None:
            why = f"{nothing} returned only zeros, so where it is added cannot be told"
    reads = reads_of(trace, {"resid_pre": (0, trace.entry)})
    return Anatomy({}, (), dict.fromkeys(POINTS[1:-1], why), reads)


def _adds_nothing(trace: Trace, path: list[Addition]) -> str | None:
    """Return the module whose output may be added as well, unseen, as it is all zeros."""
    zeros = [s for s in trace.seen if s.value.shape == trace.entry.shape and not s.value.any()]
    read = max((s.time for s in zeros if s.side == "input"), default=-1)
    for s in zeros:
        # What a later module reads is not what is added.
        seen = s.side == "input" or any(s.path.startswith(a.source.path) for a in path)
        if s.time > read and not seen:
            return trace.short(s.path)
    return None


class _Points:
    """Puts the points of a block together from its additions."""

    def __init__(
        self,
        trace: Trace,
        path: list[Addition],
        roles: list[str],
        norms: set[str],
        *,
        parallel: bool,
    ) -> None:
        self.trace, self.path, self.roles, self.parallel = trace, path, roles, parallel
        # Some have linear layers of their own, as gates.
        self.norms = norms
        self.taps: dict[str, Tap] = {}
        # When each state passed, and its values.
        self.states: dict[str, tuple[int, torch.Tensor]] = {"resid_pre": (0, trace.entry)}
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
        mixers = [f"{role}_out" for role in MIXERS if role in self.roles]
        instead = f"; what mixes its tokens is {mixers[0]}" if mixers else ""
        for role, why in (("attn", f"no attention{instead}"), ("mlp", "no MLP")):
            if role not in self.roles:
                names = [p for p in POINTS if p.startswith(f"{role}_")]
                self.refused |= dict.fromkeys(names, f"this block has {why}")
        if "resid_mid" not in self.taps:
            why = "its attention and MLP are added side by side, so there is nothing between them"
            single = "it adds to the residual stream once, so there is nothing between"
            self.refused["resid_mid"] = why if self.parallel else single
        return Anatomy(
            {p: self.taps[p] for p in POINTS if p in self.taps},
            steps,
            self.refused,
            reads_of(self.trace, {p: self.states[p] for p in POINTS if p in self.states}),
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
            norm, base = addition.norm, addition.base
            normed = norm or base.norm
            steps.append(
                Step(
                    terms=(before, f"{role}_out"),
                    result=result,
                    norm=norm.path if norm else None,
                    factor=str(addition.factor.name) if addition.factor else None,
                    base_norm=base.norm.path if base.norm else None,
                    base_scale=base.scale.name if base.scale else None,
                    axes=normed.axes if normed else BATCH_FIRST,
                )
            )
            before = result
        return tuple(steps)

    def _put(self, point: str, seen: Seen, scale: Factor | None = None) -> None:
        self.taps[point] = seen.tap(scale)
        if scale is None:
            self.states[point] = seen.time, seen.value

    def _waypoint(self, addition: Addition) -> Seen:
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
        inner = INNER[role]
        read_by = (
            s for s in self.trace.seen if s.side == "input" and last and s.time == last.began
        )
        reads = next(read_by, None)
        if reads is not None:
            self._put(inner, reads)
        else:
            self.refused[inner] = self._no_projection(source)
        until = last.began if last is not None else source.time
        read = [
            (role_of(self.trace.short(s.path)), s)
            for s in self.trace.seen
            if begin < s.time < until
            and s.side == "input"
            and not any(s.path.startswith(f"{norm}.") for norm in self.norms)
            and self._is_read(s)
        ]
        # Those of another part of the block, by their names, may come first.
        first = next((s for name in (role, None) for own, s in read if own == name), None)
        if first is None:
            self.refused[f"{role}_norm"] = "its first linear layers read no state of one module"
        else:
            self._put(f"{role}_norm", first)

    def _is_read(self, s: Seen) -> bool:
        # RWKV mixes the input of each linear layer with the token before in a different way: only
        # a state that a module returned, or that the block read or summed, is read by all layers.
        if not is_linear(s.module) or s.value.shape != self.trace.entry.shape:
            return False
        made = (o.value for o in self.trace.seen if o.side == "output" and o.time < s.time)
        states = (self.trace.entry, *(a.result for a in self.path))
        # A router may read them in a finer type (Switch Transformers in bfloat16).
        return any(same_bits(s.value, x.to(s.value.dtype)) for x in (*made, *states))

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
