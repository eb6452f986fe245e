"""How the norm of the residual stream grows: Heimersheim and Turner 2023."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.analysis.verdicts.claim import HEIMERSHEIM, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import label, lowest, tokens
from hiddenscope.strata import FIRST
from hiddenscope.words import number

if TYPE_CHECKING:
    from hiddenscope.analysis.verdicts.seen import Seen

LINEAR = 0.9
"""The logarithm of the norm is linear in the block where a straight line has at least this R²."""
GROWN = 1.2
"""The norm grows, if not exponentially, where the last block has this many times the first's."""
FEWEST_BLOCKS = 6
"""Through fewer blocks, of which the first and the last are left out, any line fits well."""


def _exponential(seen: Seen) -> Verdict:
    blocks = seen.blocks(FEWEST_BLOCKS)[1:-1]
    view = seen.without_first
    seen.check_tokens(blocks, view)
    norms = seen.norm(view=view)[blocks]
    if not (norms > 0).all():
        msg = f"the median norm is 0 at {label(lowest(norms))}"
        raise UntoldError(msg)
    logs, number_of = np.log(norms.to_numpy()), np.arange(1, len(blocks) + 1)
    slope, start = np.polyfit(number_of, logs, 1)
    about = float(((logs - logs.mean()) ** 2).sum())
    left = float(((logs - (start + slope * number_of)) ** 2).sum())
    # A norm that never changes does not grow.
    linear = 1 - left / about if about > 0 else 0.0
    rate, steps = float(np.exp(slope)), np.exp(np.diff(logs))
    low, high = int(steps.argmin()), int(steps.argmax())
    holds = bool(linear >= LINEAR and slope > 0)
    total = float(np.exp(logs[-1] - logs[0]))
    shape = ""
    if not holds:
        how = "grows in phases" if total >= GROWN else "hardly grows"
        shape = f"{how if total > 1 else 'does not grow'}: "
    words = (
        f"{shape}× {rate:.3f} a block (R² of the line {number(linear)}); smallest step × "
        f"{steps[low]:.2f} (to {label(blocks[low + 1])}), largest × {steps[high]:.2f} (to "
        f"{label(blocks[high + 1])}); median norm {number(norms.iloc[0])} at "
        f"{label(blocks[0])}, {number(norms.iloc[-1])} at {label(blocks[-1])}"
    )
    first = seen.norm(view=FIRST)[blocks] if tokens(seen.stream)[FIRST] else None
    growth = None if first is None else float(first.iloc[-1] / first.iloc[0])
    return decided(
        holds,
        words,
        growth=rate,
        r2=linear,
        smallest_step=float(steps[low]),
        smallest_step_to=blocks[low + 1],
        largest_step=float(steps[high]),
        largest_step_to=blocks[high + 1],
        total=total,
        first_tokens_total=growth,
    )


CLAIMS = (
    Claim(
        name="norm_exponential",
        statement="The norm of the residual stream grows exponentially through the blocks.",
        source=HEIMERSHEIM,
        criterion=(
            f"R² of a straight line through the logarithms ≥ {LINEAR:g} and its slope positive; "
            f"with at least {FEWEST_BLOCKS} blocks. Else it grows in phases if the last of these "
            f"blocks has ≥ {GROWN:g} × the norm of the first"
        ),
        formula=(
            "ln(median ‖x‖) of blocks 1 … n−2 against the block, by least squares; a block's "
            "growth is exp(slope)"
        ),
        caveat=(
            "Seen by its authors in GPT-2 XL (× 1.045 a block); in other models they saw phases. "
            "First tokens, the first and last block and the final norm are left out. Medians are "
            "known within 0.8 %, a single step no better, which bends a line of small growth."
        ),
        figure="norms",
        judge=_exponential,
    ),
)
