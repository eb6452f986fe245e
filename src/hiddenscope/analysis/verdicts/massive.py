"""Massive activations, as Sun et al. 2024 describe them, over all tokens.

How many there are is counted in the grid. Which channels and tokens have them is known of the
largest values that a profile keeps: 64 of each block and stratum, at most 8 of a channel.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pandas as pd

from hiddenscope import grid
from hiddenscope.analysis.distribution import counts_of
from hiddenscope.analysis.largest import largest_by_channel, site_medians
from hiddenscope.analysis.outlying import outliers
from hiddenscope.analysis.verdicts.claim import SUN, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import highest, label
from hiddenscope.strata import FIRST, SPECIAL
from hiddenscope.words import bare_token, counted, number, visible
from hiddenscope.words import blocks as named

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiddenscope.analysis.verdicts.seen import Seen

FEW = 1e-3
"""Massive activations are few if they are at most this share of a block's values."""
FIXED_CHANNELS = 4
"""Channels are fixed if all massive activations of all blocks lie in so many at most."""
USUAL_TOKENS = 0.9
"""Share of the tokens that must be of one of the three kinds."""
WEAK_WORDS = {"2", "a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "of", "on", "or"}
WEAK_WORDS |= {"the", "to", "with"}
"""Words of weak meaning; of the paper's examples ("and", "from", "of", "2") and their like."""
APPEAR = 3.0
"""Massive activations appear at a block whose largest magnitude is this many times the one
before's."""
VANISH = 0.5
"""They vanish if the last block holds none, and its largest magnitude is at most this share of the
largest of all."""

ALL = "all"


def _counts(seen: Seen, *, doubtful: bool = False) -> pd.Series[int]:
    """Count the massive activations of each block in the grid.

    Values in the very cell of the threshold are `doubtful`, and counted where that is asked for.
    """
    blocks = seen.blocks()
    seen.check_tokens(blocks, ALL)
    limits = outliers(seen.stream, ALL).thresholds
    medians = site_medians(seen.stream)
    counts = grid.fold_sign(counts_of(seen.stream, ALL, blocks))
    over = {}
    for name, held in zip(blocks, counts, strict=True):
        limit = max(limits["massive"], limits["massive_ratio"] * medians[name])
        over[name] = int(held[int(grid.cells_of(limit)) + (not doubtful) :].sum())
    return pd.Series(over)


def _kept(seen: Seen) -> pd.DataFrame:
    """Return the massive activations that the profile keeps, at least one."""
    blocks = seen.blocks()
    kept = outliers(seen.stream, ALL).massive
    kept = kept[kept["site"].isin(blocks)]
    if kept.empty:
        msg = "there are no massive activations"
        raise UntoldError(msg)
    return kept


def _largest(seen: Seen, blocks: list[str]) -> pd.Series[float]:
    return largest_by_channel(seen.stream, ALL).loc[blocks].max(axis=1)


def _few(seen: Seen) -> Verdict:
    counts = _counts(seen)
    blocks = list(counts.index)
    values = grid.fold_sign(counts_of(seen.stream, ALL, blocks)).sum(1)
    shares = counts / values
    most = highest(counts)
    found = [block for block, name in enumerate(blocks) if counts[name]]
    if found:
        total = counted(values[blocks.index(most)], "value")
        words = (
            f"at {named(found)}; most at {label(most)}: {counts[most]:,} of {total} "
            f"({number(1e6 * shares[most])} in a million)"
        )
        near = int(_counts(seen, doubtful=True)[most] - counts[most])
        words += f", and {near} more within 0.8 % of the threshold" if near else ""
    else:
        ratios = _largest(seen, blocks) / site_medians(seen.stream)[blocks]
        most = highest(ratios)
        words = (
            f"there are none: the largest magnitude is at most {number(ratios[most])} times the "
            f"median ({label(most)}, {number(_largest(seen, blocks)[most])})"
        )
    return decided(
        bool(found) and bool((shares <= FEW).all()),
        words,
        most=counts[most],
        site=most,
        share=shares[most],
        blocks=found,
    )


def _fixed_channels(seen: Seen) -> Verdict:
    kept = _kept(seen)
    blocks = seen.blocks()
    order = [int(c) for c in kept["channel"].drop_duplicates()]
    where = {c: set(kept.loc[kept["channel"] == c, "site"]) for c in order}
    parts = [
        f"{c} ({named([block for block, name in enumerate(blocks) if name in sites])})"
        for c, sites in where.items()
    ]
    words = f"among the 64 kept of each block and stratum: channel {', '.join(parts[:8])}"
    words += f" and {len(parts) - 8} more" if len(parts) > 8 else ""
    return decided(len(parts) <= FIXED_CHANNELS, words, channels=order, kept=len(kept))


def token_kind(stratum: str, piece: str) -> str:
    """Say of which of the paper's kinds a token is: ``first, delimiter, weak`` or ``other``."""
    bare = bare_token(piece)
    if stratum == FIRST:
        return "first"
    if stratum == SPECIAL or all(_delimits(character) for character in bare):
        return "delimiter"
    return "weak" if bare.lower() in WEAK_WORDS else "other"


def _delimits(character: str) -> bool:
    return character == "␣" or character.isspace() or unicodedata.category(character)[0] == "P"


def _usual_tokens(seen: Seen) -> Verdict:
    kept = _kept(seen)
    place = [c for c in ("corpus", "document", "window", "position") if c in kept]
    each = kept.drop_duplicates(place)
    kinds = pd.Series(
        [token_kind(*row) for row in each[["stratum", "piece"]].itertuples(index=False)]
    )
    counts = kinds.value_counts().reindex(["first", "delimiter", "weak", "other"], fill_value=0)
    share = 1 - float(counts["other"]) / len(kinds)
    names = {
        "first": ("first token",),
        "delimiter": ("delimiter or special token", "delimiters or special tokens"),
        "weak": ("weak word",),
        "other": ("other",),
    }
    parts = []
    for kind, name in names.items():
        pieces = dict.fromkeys(each["piece"][(kinds == kind).to_numpy()])
        texts = [repr(visible(bare_token(piece))) for piece in pieces][:5]
        # A first token is one by its place and not by its text.
        shown = f" ({', '.join(texts)})" if texts and kind != "first" else ""
        parts.append(counted(counts[kind], *name) + shown)
    words = f"among the 64 kept of each block and stratum: {', '.join(parts)}"
    held = {str(kind): count for kind, count in counts.items()}
    return decided(share >= USUAL_TOKENS, words, **held, share=share)


def _appear_and_vanish(seen: Seen) -> Verdict:
    counts = _counts(seen)
    blocks = list(counts.index)
    found = [block for block, name in enumerate(blocks) if counts[name]]
    if not found:
        msg = "there are no massive activations"
        raise UntoldError(msg)
    if len(blocks) < 3:
        msg = f"of {counted(len(blocks), 'block')} none is in the middle"
        raise UntoldError(msg)
    largest = _largest(seen, blocks)
    sites = [*(["embed"] if "embed" in seen.sites else []), *blocks]
    before = _largest(seen, sites).shift()[blocks]
    steps = (largest / before)[[blocks[number] for number in found]].dropna()
    if steps.empty:
        msg = f"there are massive activations at {named(found)}, and nothing measured before that"
        raise UntoldError(msg)
    step, left = highest(steps), float(largest.iloc[-1] / largest.max())
    gone = found[-1] < len(blocks) - 1
    words = (
        f"at {named(found)}; the largest magnitude is × {number(steps[step])} at "
        f"{label(step)}, {number(largest.max())} at {label(highest(largest))} and "
        f"{number(left)} times that at the last block, which holds {'none' if gone else 'some'}"
    )
    return decided(
        bool(steps[step] >= APPEAR and left <= VANISH and gone),
        words,
        blocks=found,
        step=step,
        step_times=steps[step],
        largest=largest.max(),
        largest_site=highest(largest),
        left_at_last=left,
    )


_MASSIVE = (
    "|a| > 100 and > 1,000 × the median magnitude of its block, over all tokens × channels (the "
    "thresholds are the run's)"
)
_KEPT = "Among the 64 largest that are kept of each block and stratum, at most 8 of a channel."


def _claim(
    name: str, statement: str, criterion: str, caveat: str, judge: Callable[[Seen], Verdict]
) -> Claim:
    return Claim(
        name=name,
        statement=statement,
        source=SUN,
        criterion=criterion,
        formula=_MASSIVE,
        caveat=caveat,
        figure="outliers",
        judge=judge,
        view=ALL,
    )


CLAIMS = (
    _claim(
        "massive_few",
        "There are massive activations, and they are few.",
        f"some at any block, at most {FEW:g} of its values at each",
        "Windows of a few tokens have a larger share, as each has a first token of its own.",
        _few,
    ),
    _claim(
        "massive_in_fixed_channels",
        "Massive activations lie in few channels, the same in all blocks and tokens.",
        f"at most {FIXED_CHANNELS} channels in all blocks together",
        f"{_KEPT} That few channels hold them all is asked, not that each holds some at every "
        "block.",
        _fixed_channels,
    ),
    _claim(
        "massive_at_usual_tokens",
        "Massive activations sit at the starting token, delimiters and a few weak words.",
        f"{USUAL_TOKENS:.0%} of the tokens that have one are first in a text, punctuation, white "
        "space or special tokens, or one of a list of weak words",
        f"{_KEPT} Whether a delimiter is the first of its window is not known; the list of weak "
        "words is English.",
        _usual_tokens,
    ),
    _claim(
        "massive_appear_and_vanish",
        "Massive activations appear at a certain block and vanish at the last ones.",
        f"largest magnitude at a block that has some ≥ {APPEAR:g} × that of the block or "
        f"embeddings before it, and at the last block none and ≤ {VANISH:g} × the largest of all",
        "Only the largest magnitude of each block is followed, which need not be one channel's.",
        _appear_and_vanish,
    ),
)
