"""What the page draws itself of single sites: histograms with fits, width and tails by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis, figures
from hiddenscope.analysis.fitting import fits
from hiddenscope.errors import FigureError
from hiddenscope.figures.histogram import BEYOND
from hiddenscope.figures.prepared import subject as looked_up
from hiddenscope.report import encode
from hiddenscope.report.figure import each_view
from hiddenscope.report.tables import by_site

if TYPE_CHECKING:
    from hiddenscope.report.figure import Figure
    from hiddenscope.report.subject import Subject

BINS = 160
FITTED = ("normal", "logistic")
"""What the histogram of a site is held against."""


def histograms(subject: Subject) -> Figure:
    """Prepare the histograms of all sites on one range, and what is fitted to each."""

    def prepare(view: str) -> dict[str, Any]:
        shown: Any = figures.prepare(
            "histogram", subject.stream, view=view, sites=subject.sites, bins=BINS
        )
        about = looked_up(subject.stream, view, subject.sites)
        table = shown.table
        names = list(dict.fromkeys(table["site"]))
        first = table[table["site"] == names[0]]
        heights = table[shown.y].to_numpy(np.float64).reshape(len(names), -1)
        fitted = fits(subject.stream, view, tuple(names), FITTED)
        lines = {
            family: encode.array(fitted[["loc", "scale"]].xs(family, level="family"))
            for family in FITTED
        }
        return {
            "claim": encode.sentence(shown.claim),
            "caption": encode.text_of_reason(about.caption(BEYOND)),
            "beyond": [encode.text_of_reason(w.replace("\n", " ")) for w in shown.beyond],
            "scale": shown.scale,
            "y": shown.y,
            "linear": float(table.attrs["linear"]),
            "sites": names,
            "left": encode.array(first["left"]),
            "right": encode.array(first["right"]),
            "heights": encode.array(heights),
            "fits": lines,
        }

    return each_view(subject, "histogram", "Histogram of sites", "histogram", prepare)


def width_and_tails(subject: Subject) -> Figure:
    """Prepare standard deviation and excess kurtosis by site."""
    sites = subject.trunk

    def prepare(view: str) -> dict[str, Any]:
        moments = analysis.moments(subject.stream, view).loc[sites]
        if not moments["std"].notna().any():
            msg = f"the view {view!r} holds too few tokens with finite states: there is no width"
            raise FigureError(msg)
        columns = {
            "tokens": moments["tokens"].to_numpy(),
            "mean": moments["mean"].to_numpy(),
            "standard deviation": moments["std"].to_numpy(),
            "skewness": moments["skewness"].to_numpy(),
            "excess kurtosis": moments["excess_kurtosis"].to_numpy(),
            "smallest": moments["min"].to_numpy(),
            "largest": moments["max"].to_numpy(),
        }
        return {
            "claim": encode.sentence(analysis.tail_words(subject.stream, view, sites)),
            "caption": encode.text_of_reason(
                f"{analysis.caption(subject.stream, view)} · over tokens × channels · "
                "logarithmic where values are far apart"
            ),
            "sites": sites,
            "std": encode.array(moments["std"]),
            "kurtosis": encode.array(moments["excess_kurtosis"]),
            "table": encode.table(by_site(sites, columns)),
        }

    return each_view(subject, "moments", "Width and tails by site", "moments", prepare)
