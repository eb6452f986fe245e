"""The claims of the page, grouped by their source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope import analysis
from hiddenscope.analysis import verdicts
from hiddenscope.analysis.verdicts.claim import OWN
from hiddenscope.report import encode

if TYPE_CHECKING:
    from hiddenscope.report.subject import Subject

MARKS = {verdicts.HOLDS: "✓", verdicts.FAILS: "✗", verdicts.UNTOLD: "?"}
CLASSES = {verdicts.HOLDS: "holds", verdicts.FAILS: "fails", verdicts.UNTOLD: "untold"}
FIGURES = {"covariance": "matrix", "r2": "matrix"}
"""What a figure of the package is called on the page, where it is another one."""


@dataclass(frozen=True)
class Judged:
    """One claim with its verdict.

    Attributes
    ----------
    name, statement, verdict, finding, criterion, caveat, view : str
    mark, css : str
        How the verdict looks.
    figure : str
        The figure of the page that shows it; may be empty.
    """

    name: str
    statement: str
    verdict: str
    mark: str
    css: str
    finding: str
    criterion: str
    caveat: str
    view: str
    figure: str


def claims(subject: Subject) -> dict[str, list[Judged]]:
    """Return the claims by source."""
    table = analysis.claims(subject.stream, subject.view)
    grouped: dict[str, list[Judged]] = {}
    for name, row in table.iterrows():
        figure = str(row["figure"])
        judged = Judged(
            name=str(name),
            statement=str(row["statement"]),
            verdict=str(row["verdict"]),
            mark=MARKS[row["verdict"]],
            css=CLASSES[row["verdict"]],
            finding=encode.sentence(str(row["finding"])),
            criterion=encode.sentence(str(row["criterion"])),
            caveat=encode.sentence(str(row["caveat"])),
            view=str(row["view"]),
            figure=FIGURES.get(figure, figure),
        )
        source = "Our own, without a paper" if row["source"] == OWN else str(row["source"])
        grouped.setdefault(source, []).append(judged)
    return grouped
