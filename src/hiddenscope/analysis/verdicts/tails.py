"""How heavy the tails are: families fitted to what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import grid
from hiddenscope.analysis.fitting import FAMILIES, STEPS, fit, fits
from hiddenscope.analysis.shares import LOUDEST, loudest
from hiddenscope.analysis.token_tables import sample
from hiddenscope.analysis.verdicts.claim import ARTICLE, OWN, Claim, UntoldError, Verdict, decided
from hiddenscope.analysis.views import label, lowest
from hiddenscope.words import blocks as named
from hiddenscope.words import channels, counted, number

if TYPE_CHECKING:
    from hiddenscope.analysis.verdicts.seen import Seen

EQUAL = 0.005
"""Families whose nats per value differ by no more than this count as equally good."""
FEWEST_VALUES = 1000
"""Of fewer values, the tails of a site cannot be told."""


def _judge(fitted: pd.DataFrame, blocks: list[str], told: str = "") -> Verdict:
    """Judge the fits of all blocks, a table by site and family as `fits` returns it."""
    values = fitted["values"].unstack("family").loc[blocks, "normal"]
    if values.min() < FEWEST_VALUES:
        msg = (
            f"{label(lowest(values))} has {counted(int(values.min()), 'finite value')}{told}, "
            f"and tails need {FEWEST_VALUES:,}"
        )
        raise UntoldError(msg)
    lost = fitted["lost"].unstack("family").loc[blocks]
    degrees = fitted["degrees"].unstack("family").loc[blocks, "student"]
    if lost.isna().any(axis=None):
        msg = f"the values at {label(lost.isna().any(axis=1).idxmax())} do not vary{told}"
        raise UntoldError(msg)
    light = [int(block) for block in np.flatnonzero(lost["normal"] <= EQUAL)]
    as_good = [family for family in FAMILIES[:-1] if (lost[family] <= EQUAL).all()]
    least, most = lost.min(), lost.max()
    words = (
        f"{number(least['normal'])} to {number(most['normal'])} nats per value are lost with a "
        f"normal, at most {number(most['laplace'])} with a Laplace and {number(most['logistic'])} "
        f"with a logistic; Student's t has {number(float(degrees.min()))} to "
        f"{number(float(degrees.max()))} degrees of freedom"
    )
    words += f"; no heavier than a normal at {named(light)}" if light else ""
    words += f"; at all blocks as good as Student's t: {', '.join(as_good)}" if as_good else ""
    return decided(
        not light,
        words + told,
        **{f"lost_{family}": float(lost[family].median()) for family in FAMILIES[:-1]},
        degrees=float(degrees.median()),
        blocks_not_heavier=light,
        equal_to_student=as_good,
    )


def _heavy(seen: Seen) -> Verdict:
    blocks = seen.blocks()
    return _judge(fits(seen.stream, seen.view, tuple(blocks)), blocks)


def _heavy_without_loudest(seen: Seen) -> Verdict:
    blocks = seen.blocks()
    held = sample(seen.stream, seen.view, blocks)
    loud = [int(c) for c in loudest(seen.stream, seen.view, by="pooled").index[:LOUDEST]]
    told = f" ({counted(held.sizes['token'], 'sampled token')}, without {channels(loud)})"
    quiet = np.delete(held["state"].values, loud, axis=2)
    tables = {}
    for name, states in zip(blocks, quiet, strict=True):
        counts = np.bincount(grid.cells_of(states).ravel(), minlength=grid.CELLS)
        # The sample is rounded to bfloat16.
        tables[name] = fit(counts, lossless=True)
    return _judge(pd.concat(tables, names=["site"]), blocks, told)


_FITS = (
    "normal, Laplace, logistic and Student's t by maximum likelihood on the cells of the grid, "
    f"joined to at most {STEPS}: a cell's likelihood is the difference of the distribution "
    "function between its ends; nats lost = mean ln-likelihood with Student's t − that with the "
    "family"
)
_POOLING = (
    "Values are pooled over channels, and pooling channels of unlike scale makes heavy tails by "
    "itself, even of normal channels."
)
_CRITERION = (
    f"at every block a normal loses more than {EQUAL:g} nats per value against Student's t; up to "
    f"{EQUAL:g} families count as equal; with at least {FEWEST_VALUES:,} values"
)

CLAIMS = (
    Claim(
        name="tails_heavy",
        statement="The tails are heavier than those of a normal at every block.",
        source=f"{ARTICLE}, § 2.3",
        criterion=_CRITERION,
        formula=_FITS,
        caveat=_POOLING,
        figure="histogram",
        judge=_heavy,
    ),
    Claim(
        name="tails_heavy_without_loudest",
        statement="The tails are heavier also without the loudest channels.",
        source=OWN,
        criterion=f"the same without the {LOUDEST} loudest channels, in the sample",
        formula=f"{_FITS}; the loudest hold most of the pooled variance (`p.loudest(by='pooled')`)",
        caveat=f"{_POOLING} Only the sampled tokens are known by channel.",
        figure="scatter",
        judge=_heavy_without_loudest,
    ),
)
