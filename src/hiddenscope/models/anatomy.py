"""The points of a block, and the equations between them: by names alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hiddenscope.models.taps import BATCH_FIRST

if TYPE_CHECKING:
    from hiddenscope.models.taps import Axes, Tap

POINTS = (
    "resid_pre",
    "attn_norm", "attn_mix", "attn_out",
    "mamba_norm", "mamba_mix", "mamba_out",
    "mix_norm", "mix_act", "mix_out",
    "resid_cross", "cross_norm", "cross_mix", "cross_out",
    "resid_mid", "mlp_norm", "mlp_act", "mlp_out",
    "resid_post",
)  # fmt: skip
"""Every point of a block, in the order of the forward pass."""


@dataclass(frozen=True)
class Step:
    """One equation of a block: what is added to what, and what comes of it.

    Attributes
    ----------
    terms : tuple of str
        Points that are added up, in the order in which the model adds them.
    result : str
        The point that is their sum or, with `norm`, the norm of their sum.
    norm : str, optional
        Name of the module that is applied to the sum, in blocks with norms after the additions
        (BERT).
    factor : float or str, optional
        The factor of the sum, or its name, in blocks that scale the whole stream (Gemma 4).
    base_norm : str, optional
        Name of the module whose output is added to in place of the first term, which it reads, in
        blocks that go on from a norm (BLOOM with ``apply_residual_connection_post_layernorm``).
    base_scale : float or str, optional
        What the first term is multiplied by: a number, or the name of a parameter (Doge).
    axes : tuple of int
        How the norms take the states (SqueezeBERT's as ``[batch, channel, pos]``), see `Tap`.
    """

    terms: tuple[str, ...]
    result: str
    norm: str | None = None
    factor: float | str | None = None
    base_norm: str | None = None
    base_scale: float | str | None = None
    axes: Axes = BATCH_FIRST

    def __str__(self) -> str:
        base = self.terms[0] if self.base_norm is None else f"norm({self.terms[0]})"
        if self.base_scale is not None:
            base = f"scale × {base}"
        total = " + ".join((base, *self.terms[1:]))
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
    steps : tuple of Step
        The equations that hold bitwise between them; empty where none was found.
    refused : dict of str to str
        Points that the block does not have or whose meaning could not be told, and why.
    reads : dict of str to tuple
        Linear layer, by its path → the point that each call of it reads, None for no point (see
        `reads_of`).
    """

    taps: dict[str, Tap]
    steps: tuple[Step, ...]
    refused: dict[str, str]
    reads: dict[str, tuple[str | None, ...]] = field(default_factory=dict)

    def rescaled(self, factor: float) -> Anatomy:
        """Return the same with a factor behind the last addition."""
        if not self.steps:
            return self
        last = replace(self.steps[-1], factor=factor)
        return replace(self, steps=(*self.steps[:-1], last))
