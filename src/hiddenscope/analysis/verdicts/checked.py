"""Whether the numbers can be relied on: what the run's own checks found."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from hiddenscope.analysis.verdicts.claim import OWN, Claim, UntoldError, Verdict, decided

if TYPE_CHECKING:
    from hiddenscope.analysis.verdicts.seen import Seen

FINITE, DTYPE, BEGINNING = ("finite",), ("float16 range", "resolution"), ("BOS",)
"""Checks of which a claim of their own speaks; the first claim speaks of all the others."""


def _judge(names: tuple[str, ...], seen: Seen) -> Verdict:
    checks: list[dict[str, Any]] = json.loads(seen.stream.root.attrs["checks"])
    apart = (*FINITE, *DTYPE, *BEGINNING)
    made = [c for c in checks if (c["name"] in names if names else c["name"] not in apart)]
    told = "; ".join(c["detail"] for c in made if c["level"] == "note")
    made = [c for c in made if c["level"] != "note"]
    if not made:
        of = f" of {' or '.join(names)}" if names else ""
        msg = f"only a note was made: {told}" if told else f"the run made no check{of}"
        raise UntoldError(msg)
    failed = [c for c in made if not c["passed"]]
    words = "; ".join(f"{c['name']}: {c['detail']}" for c in failed or made)
    if not names and not failed:
        words = f"passed: {', '.join(c['name'] for c in made)}"
    return decided(not failed, words, checks=len(made), failed=[c["name"] for c in failed])


CLAIMS = (
    Claim(
        name="checks_pass",
        statement="The run's own checks of model, hooks and counts pass.",
        source=OWN,
        criterion="no check failed; those of the next three claims are not among them",
        formula="the table `checks`",
        caveat="Where one failed, no other number of the profile can be relied on.",
        figure="",
        judge=partial(_judge, ()),
        view="all",
    ),
    Claim(
        name="all_finite",
        statement="No hidden state holds a NaN or an infinity.",
        source=OWN,
        criterion="the check `finite` passed",
        formula="values in the grid's cells of NaN, +Inf and −Inf",
        caveat=(
            "Tokens with such a value are left out of moments, norms and R², at their site, and "
            "with them the largest states."
        ),
        figure="",
        judge=partial(_judge, FINITE),
        view="all",
    ),
    Claim(
        name="dtype_suffices",
        statement="The states' dtype resolves every channel, and float16 could hold every value.",
        source=OWN,
        criterion="the checks `float16 range` and `resolution` passed",
        formula="values beyond 65,504; channels that vary by less than one step of the dtype",
        caveat="A failure says nothing of how much the model's output suffers.",
        figure="",
        judge=partial(_judge, DTYPE),
        view="all",
    ),
    Claim(
        name="texts_begin_as_trained",
        statement="Every text begins as the tokenizer asks, with a BOS where it adds one.",
        source=OWN,
        criterion=(
            "the check `BOS` passed; it cannot be told where that is only a note, as of a "
            "tokenizer that adds no BOS"
        ),
        formula="windows that start with a BOS, of all windows",
        caveat="What a model was trained on is known only through its tokenizer's settings.",
        figure="",
        judge=partial(_judge, BEGINNING),
        view="all",
    ),
)
