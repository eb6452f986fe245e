"""R² and covariance of every pair of sites, with fewer and fewer loud channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis, words
from hiddenscope.errors import FigureError, ProfileError
from hiddenscope.figures.prepared import subject as looked_up
from hiddenscope.report import encode
from hiddenscope.report.figure import each_view

if TYPE_CHECKING:
    from collections.abc import Collection

    from hiddenscope.report.figure import Figure
    from hiddenscope.report.subject import Subject

MOST_LEFT_OUT = 8
"""The loudest channels that the page can leave out."""


def matrices(subject: Subject, paired: Collection[str]) -> Figure:
    """Prepare all matrices of a view.

    Parameters
    ----------
    subject : Subject
    paired : collection of str
        The views in which a cell's two sites can be seen against each other.
    """

    def prepare(view: str) -> dict[str, Any]:
        sites = subject.trunk
        shown = looked_up(subject.stream, view, sites, "cross")
        few = min(MOST_LEFT_OUT, shown.channels - 1)
        loudest = [int(c) for c in analysis.loudest(subject.stream, view, few, "pooled").index]
        pooled = []
        refused = ""
        for k in range(few + 1):
            try:
                found = analysis.r2(subject.stream, "pooled", view, without=loudest[:k])
            except ProfileError as error:
                # Of very wide models the file keeps only some channels.
                refused = encode.text_of_reason(str(error))
                break
            pooled.append(found.sel(site_a=sites, site_b=sites).values)
        within = analysis.r2(subject.stream, "within", view).sel(site_a=sites, site_b=sites).values
        covariance = (
            analysis.covariance(subject.stream, view).sel(site_a=sites, site_b=sites).values
        )
        if not any(np.isfinite(m).any() for m in (*pooled, within)):
            msg = f"the states in the view {view!r} do not vary: there is no R² to draw"
            raise FigureError(msg)
        return {
            "claim": _claim(subject, view, loudest[:3]),
            "caption": encode.text_of_reason(shown.caption("R²: of the flattened states")),
            "sites": sites,
            "loudest": loudest,
            "pooled": [encode.array(m.ravel()) for m in pooled],
            "within": encode.array(within.ravel()),
            "covariance": encode.array(covariance.ravel()),
            "refused": refused,
            "paired": view in paired,
        }

    title = "R² and covariance of every pair of sites"
    return each_view(subject, "matrix", title, "matrix", prepare)


def _claim(subject: Subject, view: str, few: list[int]) -> str:
    if not few:
        return ""
    found = analysis.share_words(subject.stream, view, few)
    return encode.sentence(found) or f"Loudest: {words.channels(few)}."
