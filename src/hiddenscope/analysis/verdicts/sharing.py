"""What the sites share: the article's covariance and R²."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope.analysis.correlation import r2
from hiddenscope.analysis.shares import LOUDEST, loudest
from hiddenscope.analysis.verdicts.claim import ARTICLE, OWN, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import label
from hiddenscope.errors import InputError
from hiddenscope.words import channels, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hiddenscope.analysis.verdicts.seen import Seen

LITTLE = 0.5
"""A site shares little with the middle blocks if its R² with them is at most this share of theirs
among each other."""
GRADUAL = 0.7
"""Neighbours change gradually if no two of them have a lower R²."""
SUDDEN = 3.0
"""A step is sudden if it leaves at least this many times as much unexplained as the median one."""
FEWEST_BLOCKS = 4
"""The middle is all blocks but the first and the last, and pairs are needed there."""


def _matrix(seen: Seen, kind: str = "pooled", without: list[int] | None = None) -> pd.DataFrame:
    matrix = r2(seen.stream, kind, seen.view, without=without or ())
    sites = list(matrix["site_a"].values)
    return pd.DataFrame(matrix.values, sites, sites)


def _little_with_middle(seen: Seen, site: str) -> Verdict:
    blocks = seen.blocks(FEWEST_BLOCKS)
    matrix = _matrix(seen)
    # The last block is in the middle of no model, also where the last state is a norm's.
    middle = blocks[1:-1]
    own, among = _with_middle(matrix, site, middle)
    within, among_within = _with_middle(_matrix(seen, "within"), site, middle)
    if np.isnan(own) or np.isnan(among):
        msg = f"{label(site)} or the middle blocks do not vary, so there is no R²"
        raise UntoldError(msg)
    words = (
        f"median R² of {label(site)} with blocks 1–{len(blocks) - 2} {number(own)}, of those "
        f"with each other {number(among)}; within channels {number(within)} and "
        f"{number(among_within)}"
    )
    return decided(
        own <= LITTLE * among,
        words,
        site=site,
        r2=own,
        r2_among_middle=among,
        r2_within=within,
        r2_within_among_middle=among_within,
    )


def _with_middle(matrix: pd.DataFrame, site: str, middle: list[str]) -> tuple[float, float]:
    """Return the median R² of a site with the middle blocks, and of their pairs."""
    pairs = matrix.loc[middle, middle].to_numpy()[np.triu_indices(len(middle), 1)]
    return float(np.median(matrix.loc[[site], middle])), float(np.median(pairs))


def _embeddings_apart(seen: Seen) -> Verdict:
    return _little_with_middle(seen, seen.require("embed"))


def _end_apart(seen: Seen) -> Verdict:
    return _little_with_middle(seen, seen.require(seen.last))


def _steps(matrix: pd.DataFrame, blocks: list[str]) -> NDArray[np.float64]:
    return np.diagonal(matrix.loc[blocks, blocks].to_numpy(), 1)


def _least(steps: NDArray[np.float64]) -> float:
    """Return the lowest R² of those that there are."""
    return float(np.fmin.reduce(steps))


def _neighbours(seen: Seen, least: int) -> tuple[list[str], NDArray[np.float64]]:
    blocks = seen.blocks(least)
    steps = _steps(_matrix(seen), blocks)
    if np.isnan(steps).any():
        at = int(np.isnan(steps).argmax())
        msg = f"the states do not vary at {label(blocks[at])} or the next, so there is no R²"
        raise UntoldError(msg)
    return blocks, steps


def _gradual(seen: Seen) -> Verdict:
    blocks, steps = _neighbours(seen, 2)
    low = int(steps.argmin())
    within = _steps(_matrix(seen, "within"), blocks)
    loud = [int(c) for c in loudest(seen.stream, seen.view, by="pooled").index[:LOUDEST]]
    without = np.nan
    words = (
        f"lowest R² of neighbouring blocks {number(steps[low])} ({label(blocks[low])} to "
        f"{label(blocks[low + 1])}), median {number(float(np.median(steps)))}; lowest within "
        f"channels {number(_least(within))}"
    )
    try:
        without = _least(_steps(_matrix(seen, without=loud), blocks))
    except InputError:  # the compact form does not keep them, or there are no other channels
        loud = []
    else:
        words += f", without {channels(loud)} {number(without)}"
    return decided(
        bool(steps[low] >= GRADUAL),
        words,
        lowest=steps[low],
        step=[blocks[low], blocks[low + 1]],
        median=float(np.median(steps)),
        lowest_within=_least(within),
        loudest=loud,
        lowest_without_loudest=without,
    )


def _sudden(seen: Seen) -> Verdict:
    blocks, steps = _neighbours(seen, FEWEST_BLOCKS)
    low, left = int(steps.argmin()), 1 - steps
    usual = float(np.median(left))
    ratio = float(left[low]) / usual if usual > 0 else np.nan
    words = (
        f"{label(blocks[low])} to {label(blocks[low + 1])} leaves {left[low]:.0%} of the "
        f"variance unexplained, the median step {usual:.1%}"
    )
    return decided(
        bool(left[low] >= SUDDEN * usual and left[low] > 0),
        words,
        step=[blocks[low], blocks[low + 1]],
        unexplained=float(left[low]),
        median_unexplained=usual,
        ratio=ratio,
    )


_POOLED = "R² = corr(X, Y)² of the flattened states, over tokens × channels"
_LOUD = (
    "A few channels whose means lie far off can decide this R²; within channels, or without the "
    "loudest, it may say the opposite."
)


def _apart(name: str, site: str, which: str, judge: Callable[[Seen], Verdict]) -> Claim:
    return Claim(
        name=name,
        statement=f"The {which} share little with the middle blocks.",
        source=f"{ARTICLE}, § 2.2",
        criterion=(
            f"median R² of {site} with blocks 1 … n−2 ≤ {LITTLE:g} × the median R² of those with "
            f"each other, with at least {FEWEST_BLOCKS} blocks"
        ),
        formula=_POOLED,
        caveat=_LOUD,
        figure="r2",
        judge=judge,
    )


CLAIMS = (
    _apart("embeddings_apart", "embed", "embeddings", _embeddings_apart),
    _apart("end_apart", "the last hidden state", "last layer's states", _end_apart),
    Claim(
        name="neighbours_gradual",
        statement="From block to block the states change gradually.",
        source=f"{ARTICLE}, § 2.2",
        criterion=f"R² of every block with the next ≥ {GRADUAL:g}",
        formula=_POOLED,
        caveat=_LOUD,
        figure="wing",
        judge=_gradual,
    ),
    Claim(
        name="one_step_sudden",
        statement="At one block the states change far more than at the others.",
        source=OWN,
        criterion=(
            f"the largest 1 − R² between neighbouring blocks ≥ {SUDDEN:g} × the median one, with "
            f"at least {FEWEST_BLOCKS} blocks"
        ),
        formula=_POOLED,
        caveat="The steps from the embeddings and to the final norm are left out.",
        figure="wing",
        judge=_sudden,
    ),
)
