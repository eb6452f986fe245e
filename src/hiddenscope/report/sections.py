"""The sections of the page: what each shows, collected from the profile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hiddenscope import analysis
from hiddenscope.report import encode
from hiddenscope.report.cards import cards_by_view
from hiddenscope.report.claims import claims
from hiddenscope.report.definitions import DEFINITIONS
from hiddenscope.report.distribution import histograms, width_and_tails
from hiddenscope.report.figure import drawn
from hiddenscope.report.matrices import matrices
from hiddenscope.report.overview import card, manifest_rows
from hiddenscope.report.sampled import pairs, passage_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiddenscope.report.figure import Figure
    from hiddenscope.report.subject import Subject


RIDGE_BINS = 96
"""A row of the ridge is small: more could not be told apart."""


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes
    ----------
    key : str
        Its address in the page.
    title, lead : str
        What it is called, and what can be seen in it.
    figures : list of Figure
    shown : dict
        What the template shows of it beside figures.
    """

    key: str
    title: str
    lead: str
    figures: list[Figure] = field(default_factory=list)
    shown: Any = None


def _depth(s: Subject) -> Section:
    return Section(
        "depth",
        "Depth",
        "How the activations change from the embeddings to the last layer: where most values lie, "
        "how wide their distribution is, how heavy its tails are, and how long the hidden states.",
        [
            drawn(s, "depth", "Quantiles of activations by site"),
            drawn(s, "norms", "Norms of hidden states by site"),
            width_and_tails(s),
        ],
    )


def _distributions(s: Subject) -> Section:
    return Section(
        "distributions",
        "Distributions",
        "How often each activation occurs at a site, on a logarithmic scale. Choose sites to lay "
        "their curves over each other; what lies beyond the range is counted at the edge.",
        [histograms(s), drawn(s, "ridge", "The shape of every site", bins=RIDGE_BINS)],
    )


def _between(s: Subject) -> Section:
    against = pairs(s)
    paired = [view for view, shown in against.by_view.items() if "missing" not in shown]
    return Section(
        "between",
        "Between layers",
        "How much the states of two sites have in common. What looks like structure of the whole "
        "model can be a few loud channels: leave them out, one by one, and see what stays.",
        [
            matrices(s, paired),
            against,
            drawn(s, "wing", "R² through depth"),
        ],
    )


def _tokens(s: Subject) -> Section:
    return Section(
        "tokens",
        "Tokens",
        "Single hidden states: which tokens and which channels hold the large values, and what "
        "the first token, which sees no context, does that no other does.",
        [
            drawn(s, "scatter", "Activations by token and by channel"),
            passage_map(s),
            drawn(s, "positions", "Norm by position"),
            drawn(s, "compare_views", "This view against the first tokens"),
        ],
    )


def _outliers(s: Subject) -> Section:
    return Section(
        "outliers",
        "Outliers",
        "The channels that stand out, what sets them off, and how much of the variance they hold.",
        [drawn(s, "outliers", "The largest magnitudes by site and by channel")],
        cards_by_view(s),
    )


def _summary(s: Subject) -> Section:
    return Section("summary", "Summary", "", [], card(s))


def _claims(s: Subject) -> Section:
    view = analysis.caption(s.stream, s.view)
    lead = (
        "Published statements about hidden states, and a few of our own, held against this "
        f"profile’s numbers. Unless a claim says otherwise it speaks of the view {s.view}, "
        f"whatever is chosen above ({view}). A verdict is about one model on one text."
    )
    return Section("claims", "Claims", encode.text_of_reason(lead), [], claims(s))


def _reading(_: Subject) -> Section:
    lead = "What the words and numbers on this page mean, and where they come from."
    return Section("reading", "How to read this", lead, [], DEFINITIONS)


def _manifest(s: Subject) -> Section:
    lead = "What was measured, with what, and how: enough to measure it again."
    return Section("manifest", "Manifest", lead, [], manifest_rows(s))


SECTIONS: tuple[Callable[[Subject], Section], ...] = (
    _summary,
    _claims,
    _depth,
    _distributions,
    _between,
    _tokens,
    _outliers,
    _reading,
    _manifest,
)


def sections(subject: Subject) -> list[Section]:
    """Collect what the page shows, in order."""
    return [collect(subject) for collect in SECTIONS]
