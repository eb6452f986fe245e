"""The first token, which has no context: the article's source of noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.analysis.verdicts.claim import ARTICLE, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import highest, label, tokens
from hiddenscope.strata import FIRST
from hiddenscope.words import blocks as named
from hiddenscope.words import number

if TYPE_CHECKING:
    from hiddenscope.analysis.verdicts.seen import Seen

TIMES = 2.0
"""First tokens are outliers at a block if their norm is at least this many times the others' …"""
SHARE_OF_BLOCKS = 0.25
"""… and in a model if they are at this share of its blocks."""


def _first_outlying(seen: Seen) -> Verdict:
    if not tokens(seen.stream)[FIRST]:
        msg = "there are no first tokens: where attention looks both ways none is without context"
        raise UntoldError(msg)
    blocks, others = seen.blocks(), seen.without_first
    for view in (FIRST, others):
        seen.check_tokens(blocks, view)
    norms, largest = (
        (seen.norm(which, view=FIRST) / seen.norm(which, view=others))[blocks]
        for which in ("l2", "linf")
    )
    most, loudest = highest(norms), highest(largest)
    out = [number for number, name in enumerate(blocks) if norms[name] >= TIMES]
    where = f"at least {TIMES:g} times the norm at {named(out)}" if out else ""
    words = (
        f"at most {number(norms[most])} times the norm of the others ({label(most)}) and "
        f"{number(largest[loudest])} times their largest magnitude ({label(loudest)}); "
        f"{where or f'at no block {TIMES:g} times the norm'}"
    )
    return decided(
        len(out) >= SHARE_OF_BLOCKS * len(blocks),
        words,
        norm_times=norms[most],
        norm_site=most,
        largest_times=largest[loudest],
        largest_site=loudest,
        blocks=out,
        share_of_blocks=len(out) / len(blocks),
    )


CLAIMS = (
    Claim(
        name="first_token_outlying",
        statement="The first token of a text is an outlier.",
        source=f"{ARTICLE}, § 2.1",
        criterion=(
            f"at ≥ {SHARE_OF_BLOCKS:.0%} of the blocks the median L2 norm of first tokens ≥ "
            f"{TIMES:g} × that of the others"
        ),
        formula="medians over tokens of ‖x‖ and of max |x|, first tokens ÷ the view's others",
        caveat=(
            "There is one first token a window: few windows make an uncertain median. Medians are "
            "known within 0.8 %. Where attention looks both ways no token is without context, and "
            "none counts as first."
        ),
        figure="norms",
        judge=_first_outlying,
        view=f"{FIRST} against {{view}}",
    ),
)
