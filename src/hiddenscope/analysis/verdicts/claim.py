"""What a claim is, and a verdict on it.

A figure's `claim` says what that figure shows of this profile; a claim here is a statement about
hidden states in general, which a profile bears out or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiddenscope.analysis.verdicts.seen import Seen

    Number = float | int | str | list[str] | list[int] | None

HOLDS, FAILS, UNTOLD = "holds", "does not hold", "cannot be told"
"""The verdicts."""

ARTICLE = (
    "The article, Phân phối của các kích hoạt trạng thái ẩn trong mô hình ngôn ngữ (Distribution "
    "of hidden-state activations in language models)"
)
SUN = "Sun et al. 2024, Massive Activations in Large Language Models, arXiv:2402.17762"
DETTMERS = (
    "Dettmers et al. 2022, LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, "
    "arXiv:2208.07339"
)
TIMKEY = (
    "Timkey and van Schijndel 2021, All Bark and No Bite: Rogue Dimensions in Transformer Language "
    "Models Obscure Representational Quality, EMNLP, arXiv:2109.04404"
)
HEIMERSHEIM = (
    "Heimersheim and Turner 2023, Residual stream norms grow exponentially over the forward pass, "
    "AI Alignment Forum"
)
OWN = "hiddenscope, no paper"


class UntoldError(InputError):
    """A claim cannot be judged from this profile; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What a profile says of a claim.

    Attributes
    ----------
    verdict : {'holds', 'does not hold', 'cannot be told'}
    finding : str
        The numbers in words, or why it cannot be told.
    numbers : dict of str to number, text or list
        Plain numbers of Python; None where one is not known.
    """

    verdict: str
    finding: str
    numbers: dict[str, Number]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement about hidden states that a profile can bear out.

    Attributes
    ----------
    name : str
        One word or a few, with underscores between.
    statement : str
        What is claimed, of any model.
    source : str
        Who claims it: authors and year up to the first comma, then title and place.
    criterion : str
        When it holds, with the constants that decide it.
    formula : str
        How its numbers are computed.
    caveat : str
        What its verdict does not say.
    figure : str
        The kind of figure that shows it; empty where none does.
    judge : callable
        Takes what is seen of a stream and returns a `Verdict`, or raises an `InputError`, such as
        `UntoldError`, whose message is the reason why it cannot be told.
    view : str
        Which tokens it speaks of; ``{view}`` stands for the view that was asked for.
    """

    name: str
    statement: str
    source: str
    criterion: str
    formula: str
    caveat: str
    figure: str
    judge: Callable[[Seen], Verdict]
    view: str = "{view}"


def authors(source: str) -> str:
    """Return a source in short: authors and year."""
    return source.partition(",")[0]


def decided(holds: bool, finding: str, **numbers: object) -> Verdict:
    """Return the verdict on a claim that can be judged."""
    plain = {key: _plain(value) for key, value in numbers.items()}
    return Verdict(HOLDS if holds else FAILS, finding, plain)


def _plain(value: object) -> Number:
    if isinstance(value, list):
        return [v.item() if isinstance(v, np.generic) else v for v in value]
    plain = value.item() if isinstance(value, np.generic) else value
    # JSON knows neither NaN nor infinities.
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain  # type: ignore[return-value]
