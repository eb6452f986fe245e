"""The page docs/models.md, from what the test of the families found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hiddenscope.models import POINTS

if TYPE_CHECKING:
    from hiddenscope.models import Stream

HEAD = """\
# Models

What hiddenscope finds in the text architectures of transformers, tried on tiny random models. \
This page is written by `tests/test_families.py`; a name with a suffix is a variant of the \
architecture. For each: the captured sites are bitwise the entries of Hugging Face's \
`hidden_states`, the final norm is told from the last block, padding on either side is not \
counted, and the points of every block add up.

- **blocks**: how they were found: *declared* by the class, or *by name* in a list of modules \
(of what blocks are made of, where no module is called for a block), then confirmed by every \
entry of `hidden_states`.
- **ends with**: what the last entry of `hidden_states` is: the output of the *final norm* or of \
the *last block*.
- **points**: those that every block has, then those that only some have. `resid_pre` and \
`resid_post` are always there. What mixes tokens is `attn_out` of attention, `mamba_out` of a \
state space, `mix_out` of anything else.
- **block**: how its additions stand: *sequential* (`resid_mid` = `resid_pre` + `attn_out`, \
`resid_post` = `resid_mid` + `mlp_out`), *parallel* (`resid_post` = `resid_pre` + `attn_out` + \
`mlp_out`), *post-norm* (as sequential, each sum followed by a norm), *from norm* (as sequential, \
but what is added to is the norm of the stream: `resid_mid` = norm(`resid_pre`) + `attn_out`), \
*scaled* (the stream is multiplied by a factor before the addition) or *single* (one addition).
- **error**: the largest deviation from these equations in float32, computed in float64, as a \
share of the largest magnitude. In float32 and in bfloat16 they are bitwise in the order of the \
model, within 2·ε·(|term| + …) in float64, and fail when any term, norm or factor is left out.

"""


@dataclass(frozen=True)
class Row:
    """What was found in one stream of a family."""

    family: str
    stream: str
    blocks: str
    end: str
    points: str
    block: str
    error: float

    @classmethod
    def of(cls, family: str, stream: Stream, error: float) -> Row:
        held = [set(a.taps) for a in stream.anatomies]
        always, ever = set.intersection(*held), set.union(*held)
        points = " ".join(f"`{p}`" for p in POINTS if p in always)
        some = " ".join(f"`{p}`" for p in POINTS if p in ever - always)
        points = ", in some blocks ".join(part for part in (points, some) if part)
        kinds = list(dict.fromkeys(kind(a.steps) for a in stream.anatomies))
        tail = max(stream.hf, key=stream.hf.__getitem__, default="")
        return cls(
            family,
            stream.name,
            "declared" if stream.found.startswith("declared") else "by name",
            "final norm" if tail == "final_norm" else "last block",
            points or f"none: {stream.anatomies[0].refused['attn_out']}",
            ", ".join(kinds),
            error,
        )


def kind(steps: tuple) -> str:
    if not steps:
        return "unknown"
    if any(step.norm is not None for step in steps):
        return "post-norm"
    if any(step.base_norm is not None for step in steps):
        return "from norm"
    if any(step.base_scale is not None for step in steps):
        return "scaled"
    if len(steps) > 1:
        return "sequential"
    return "parallel" if len(steps[0].terms) > 2 else "single"


@dataclass
class Page:
    """The rows of a whole run."""

    rows: list[Row] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        families = {row.family for row in self.rows}
        with_points = {row.family for row in self.rows if row.block != "unknown"}
        worst = max(row.error for row in self.rows)
        lines = [
            f"**{len(families)} measured**, {len(with_points)} of them with points inside their "
            f"blocks (largest error {worst:.0e}); **{len(self.refused)} refused** with a reason.",
            "",
            "| family | stream | blocks | ends with | block | points | error |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(
                f"| {r.family} | {r.stream} | {r.blocks} | {r.end} | {r.block} | {r.points} "
                f"| {r.error:.0e} |"
                for r in sorted(self.rows, key=lambda r: (r.family, r.stream != "encoder"))
            ),
            "",
            "## Refused",
            "",
            "These are refused when a model is opened, with this message.",
            "",
            "| family | why |",
            "| --- | --- |",
            *(f"| {family} | {why} |" for family, why in sorted(self.refused.items())),
        ]
        return HEAD + "\n".join(lines) + "\n"

    @staticmethod
    def skeleton(text: str) -> str:
        """Return a page without its errors."""
        return re.sub(r"\d+e[-+]\d+", "", text)
