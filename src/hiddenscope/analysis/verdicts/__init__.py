"""Published statements about hidden states, judged by a profile's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hiddenscope.analysis.verdicts import (
    checked,
    cosine,
    first_token,
    massive,
    norm_growth,
    outlying_channels,
    sharing,
    spread,
    tails,
)
from hiddenscope.analysis.verdicts.claim import FAILS, HOLDS, UNTOLD, Claim, Verdict, authors
from hiddenscope.analysis.verdicts.seen import Seen
from hiddenscope.analysis.views import strata_of
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

CLAIMS: tuple[Claim, ...] = (
    *checked.CLAIMS,
    *spread.CLAIMS,
    *sharing.CLAIMS,
    *first_token.CLAIMS,
    *massive.CLAIMS,
    *outlying_channels.CLAIMS,
    *cosine.CLAIMS,
    *norm_growth.CLAIMS,
    *tails.CLAIMS,
)
"""Every claim, in the order in which they are told: first whether the numbers can be relied on."""

COLUMNS = (
    "verdict",
    "statement",
    "finding",
    "numbers",
    "view",
    "figure",
    "criterion",
    "caveat",
    "source",
)


def claims(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
    """Judge published statements about hidden states by this profile's numbers.

    Parameters
    ----------
    stream : DataTree
    view : str
        Which tokens; some claims speak of others, and say so in ``view``.

    Returns
    -------
    DataFrame[claim]
        ``verdict`` (holds, does not hold, cannot be told), ``statement``, ``finding`` (the numbers
        in words, or why it cannot be told), ``numbers`` (a dict), ``view``, ``figure`` (the kind
        that shows it, empty where none does), ``criterion``, ``caveat`` and ``source``.

    Raises
    ------
    ViewError
        The view is unknown.
    """
    strata_of(stream).select(view)
    seen = Seen(stream, view)
    rows = {claim.name: _row(claim, seen) for claim in CLAIMS}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return table.rename_axis(index="claim")


def _row(claim: Claim, seen: Seen) -> dict[str, object]:
    verdict = judge(claim, seen)
    return {
        "verdict": verdict.verdict,
        "statement": claim.statement,
        "finding": verdict.finding,
        "numbers": verdict.numbers,
        "view": claim.view.format(view=seen.view),
        "figure": claim.figure,
        "criterion": claim.criterion,
        "caveat": claim.caveat,
        "source": claim.source,
    }


def judge(claim: Claim, seen: Seen) -> Verdict:
    """Judge one claim by what is seen of a stream."""
    try:
        return claim.judge(seen)
    except InputError as error:
        # A file without what a claim needs, or tokens too few: the message says so.
        return Verdict(UNTOLD, str(error), {})


__all__ = [
    "CLAIMS",
    "COLUMNS",
    "FAILS",
    "HOLDS",
    "UNTOLD",
    "Claim",
    "Seen",
    "Verdict",
    "authors",
    "claims",
    "judge",
]
