"""How wide the distributions are through depth: the article's histograms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.verdicts.claim import ARTICLE, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import highest, label
from hiddenscope.words import number

if TYPE_CHECKING:
    import pandas as pd

    from hiddenscope.analysis.verdicts.seen import Seen

NARROW = 2 / 3
"""A site is narrow whose width is at most this share of the widest block's."""
MONOTONE = 0.9
"""Something grows with depth where its rank correlation with the block is at least this …"""
GROWTH = 1.5
"""… and the last of the blocks has at least this many times as much as the first."""
FEWEST_BLOCKS = 4
"""Of fewer blocks, growth cannot be told: the last is left out, and three must remain."""
EXTREME = 0.99
"""One token in a hundred has a larger magnitude than the extreme of its site."""

_WIDTH = (
    "the width is half the distance between the quantiles that enclose 68.3 % of a site's values, "
    "the σ of a normal; a few massive values cannot move it"
)
_ABSOLUTE = (
    "Activations are compared as they are: a norm stands before whatever reads them, so width "
    "alone changes nothing for the model."
)


def _narrow_embeddings(seen: Seen) -> Verdict:
    embed, blocks = seen.require("embed"), seen.blocks()
    widths = seen.widths
    widest = highest(widths[blocks])
    share = _ratio(widths[embed], widths[widest], "the widest block does not vary")
    words = (
        f"width {number(widths[embed])} at embed, {number(share)} times the widest block's "
        f"({number(widths[widest])} at {label(widest)})"
    )
    std = moments(seen.stream, seen.view)["std"]
    return decided(
        share <= NARROW,
        words,
        width=widths[embed],
        std=std[embed],
        widest=widest,
        widest_width=widths[widest],
        share=share,
    )


def _growth(values: pd.Series[float], what: str) -> Verdict:
    """Judge whether something grows from the first block to the last but one."""
    first, last = values.index[[0, -1]]
    ratio = _ratio(values[last], values[first], f"{what} is 0 at {label(first)}")
    ranks = values.rank()
    # Where all are equal, nothing grows.
    rank = float(np.corrcoef(ranks, range(len(ranks)))[0, 1]) if ranks.nunique() > 1 else 0.0
    # Cut and not rounded: 1 is a strict order alone.
    cut = math.trunc(round(rank, 6) * 1000) / 1000
    words = (
        f"{what} {number(values[first])} at {label(first)}, {number(values[last])} at "
        f"{label(last)} (× {number(ratio)}), rank correlation with depth {number(cut)}"
    )
    return decided(
        rank >= MONOTONE and ratio >= GROWTH,
        words,
        first=values[first],
        last=values[last],
        ratio=ratio,
        rank_correlation=rank,
    )


def _spread_grows(seen: Seen) -> Verdict:
    return _growth(seen.widths[seen.blocks(FEWEST_BLOCKS)[:-1]], "width")


def _extremes_grow(seen: Seen) -> Verdict:
    extremes = seen.norm("linf", EXTREME)[seen.blocks(FEWEST_BLOCKS)[:-1]]
    return _growth(extremes, "extreme magnitude")


def _narrow_end(seen: Seen) -> Verdict:
    blocks, last = seen.blocks(2), seen.require(seen.last)
    widths = seen.widths
    before = [name for name in blocks if name != last]
    widest = highest(widths[before])
    share = _ratio(widths[last], widths[widest], "the widest block does not vary")
    words = (
        f"width {number(widths[last])} at {label(last)}, {number(share)} times the widest "
        f"before it ({number(widths[widest])} at {label(widest)})"
    )
    part = np.nan
    if last == "final_norm" and share < 1 and widths[blocks[-1]] > 0:
        part = float(np.log(widths[last] / widths[blocks[-1]]) / np.log(share))
        how = f"explains {part:.0%} of that" if part > 0 else "makes it wider, not narrower"
        words += f"; the final norm {how}"
    return decided(
        share <= NARROW,
        words,
        last=last,
        width=widths[last],
        widest=widest,
        widest_width=widths[widest],
        share=share,
        last_block_width=widths[blocks[-1]],
        explained_by_final_norm=part,
    )


def _ratio(above: float, below: float, reason: str) -> float:
    if not below > 0 or not above > 0:
        raise UntoldError(reason)
    return float(above / below)


_GROWS = f"Spearman's rank correlation ≥ {MONOTONE:g} and last ÷ first ≥ {GROWTH:g}"

CLAIMS = (
    Claim(
        name="embeddings_narrow",
        statement="The distribution at the embeddings is narrow.",
        source=f"{ARTICLE}, § 2.3",
        criterion=f"width at embed ≤ {NARROW:.2g} × that of the widest block",
        formula=_WIDTH,
        caveat=_ABSOLUTE,
        figure="depth",
        judge=_narrow_embeddings,
    ),
    Claim(
        name="spread_grows",
        statement="The deeper the block, the wider the distribution.",
        source=f"{ARTICLE}, § 2.3",
        criterion=f"{_GROWS}, over blocks 0 … n−2, with at least {FEWEST_BLOCKS} blocks",
        formula=_WIDTH,
        caveat="The last block is left out: of it the article says that it is narrow again.",
        figure="ridge",
        judge=_spread_grows,
    ),
    Claim(
        name="extremes_grow",
        statement="The deeper the block, the more extreme its largest activations.",
        source=f"{ARTICLE}, § 2.3",
        criterion=f"{_GROWS}, over blocks 0 … n−2, with at least {FEWEST_BLOCKS} blocks",
        formula=(
            f"the extreme is the {EXTREME:g} quantile over tokens of max |x|, the largest "
            "magnitude of a hidden state"
        ),
        caveat=(
            "Absolute magnitudes: where the spread grows, they grow with it. They are known within "
            "0.8 %, so the ranks of nearly equal blocks may be the other way round."
        ),
        figure="outliers",
        judge=_extremes_grow,
    ),
    Claim(
        name="end_narrow",
        statement="At the last layer the distribution is narrow again.",
        source=f"{ARTICLE}, § 2.3",
        criterion=(
            f"width of the last hidden state (behind the final norm, if there is one) ≤ "
            f"{NARROW:.2g} × that of the widest block before it"
        ),
        formula=(
            f"{_WIDTH}; the final norm explains ln(w_norm ÷ w_last block) ÷ ln(w_norm ÷ w_widest), "
            "which is 100 % wherever the last block is the widest"
        ),
        caveat=(
            "What the article calls the last layer is Hugging Face's last hidden state, in most "
            "models the output of the final norm and not of a block: a norm sets the width, "
            "whatever the model is sure of."
        ),
        figure="ridge",
        judge=_narrow_end,
    ),
)
