"""Channels that stand out in many tokens: Dettmers et al. 2022."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.analysis.outlier_channels import COUNTED_ONLY, by_the_rule
from hiddenscope.analysis.outlier_sentences import channel_words
from hiddenscope.analysis.outlying import THRESHOLDS, outliers
from hiddenscope.analysis.verdicts.claim import DETTMERS, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import group

if TYPE_CHECKING:
    from hiddenscope.analysis.verdicts.seen import Seen

FEW = 0.02
"""Outlier channels are few if they are at most this share of all channels."""


def _outlier_channels(seen: Seen) -> Verdict:
    found = outliers(seen.stream, seen.view)
    if found.notes:
        raise UntoldError(found.notes[-1])
    if found.points.keys() <= set(COUNTED_ONLY):
        msg = f"the paper does not speak of what is read at {' and '.join(found.points)}"
        raise UntoldError(msg)
    seen.check_tokens(seen.blocks())
    table, channels = by_the_rule(found.channels), group(seen.stream, "moments").sizes["channel"]
    share = table.index.nunique() / channels
    words = channel_words(found)
    if len(table):
        words += f"; {share:.1%} of {channels:,} channels"
    return decided(
        0 < share <= FEW,
        words,
        channels=[int(c) for c in table.index],
        share=share,
        largest=None if table.empty else float(table["largest"].abs().max()),
    )


CLAIMS = (
    Claim(
        name="outlier_channels",
        statement="There are outlier channels, and they are few.",
        source=DETTMERS,
        criterion=(
            f"at least one channel, at most {FEW:.0%} of them, far out for ≥ "
            f"{THRESHOLDS['outlier_token_share']:.0%} of the tokens at ≥ "
            f"{THRESHOLDS['outlier_site_share']:.0%} of the blocks"
        ),
        formula=(
            f"far out: |a| ≥ {THRESHOLDS['outlier_rms']:g} × the root mean square of its own "
            f"hidden state on the residual stream, |a| ≥ {THRESHOLDS['outlier']:g} where a linear "
            "layer reads (the thresholds are the run's)"
        ),
        caveat=(
            "The paper looks behind norms, in models of 6.7 billion parameters and more; on the "
            "residual stream the root mean square stands for the norm, without its gain."
        ),
        figure="outliers",
        judge=_outlier_channels,
    ),
)
