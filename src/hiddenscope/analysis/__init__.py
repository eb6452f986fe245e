"""Pure functions from a profile's stream to labelled tables: they draw nothing, run no model.

What few ask for is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hiddenscope.analysis.correlation import covariance, r2, wing
from hiddenscope.analysis.density import scale_of
from hiddenscope.analysis.distribution import histogram, outlines, quantiles
from hiddenscope.analysis.largest import (
    largest_by_channel,
    magnitudes,
    outstanding_channels,
    standing_out,
)
from hiddenscope.analysis.linear_inputs import ActivationScales, activation_scales
from hiddenscope.analysis.metrics import metrics, side_by_side
from hiddenscope.analysis.outlier_channels import by_the_rule
from hiddenscope.analysis.outlier_sentences import channel_words, massive_words, outlier_words
from hiddenscope.analysis.outlying import (
    THRESHOLDS,
    Outliers,
    outliers,
)
from hiddenscope.analysis.sentences import (
    loudest_words,
    norm_words,
    position_words,
    reach_words,
    share_words,
    spread_words,
    step_words,
    tail_words,
    variance_words,
    view_words,
)
from hiddenscope.analysis.shares import loudest
from hiddenscope.analysis.summary import channels, mean_by_channel, moments
from hiddenscope.analysis.tables import TABLES, table
from hiddenscope.analysis.token_tables import extremes, norms, positions, sample
from hiddenscope.analysis.views import (
    MAIN,
    caption,
    choose_sites,
    group,
    hf_index,
    manifest,
    partial_words,
    site_names,
    strata_index,
    strata_of,
    stream_names,
    stream_of,
    tokens,
    trunk_sites,
)

if TYPE_CHECKING:
    from hiddenscope.analysis.fitting import fits
    from hiddenscope.analysis.verdicts import CLAIMS, claims

_LATER = {
    "CLAIMS": "hiddenscope.analysis.verdicts",
    "claims": "hiddenscope.analysis.verdicts",
    "fits": "hiddenscope.analysis.fitting",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value


__all__ = [
    "CLAIMS",
    "MAIN",
    "TABLES",
    "THRESHOLDS",
    "ActivationScales",
    "Outliers",
    "activation_scales",
    "by_the_rule",
    "caption",
    "channel_words",
    "channels",
    "choose_sites",
    "claims",
    "covariance",
    "extremes",
    "fits",
    "group",
    "hf_index",
    "histogram",
    "largest_by_channel",
    "loudest",
    "loudest_words",
    "magnitudes",
    "manifest",
    "massive_words",
    "mean_by_channel",
    "metrics",
    "moments",
    "norm_words",
    "norms",
    "outlier_words",
    "outliers",
    "outlines",
    "outstanding_channels",
    "partial_words",
    "position_words",
    "positions",
    "quantiles",
    "r2",
    "reach_words",
    "sample",
    "scale_of",
    "share_words",
    "side_by_side",
    "site_names",
    "spread_words",
    "standing_out",
    "step_words",
    "strata_index",
    "strata_of",
    "stream_names",
    "stream_of",
    "table",
    "tail_words",
    "tokens",
    "trunk_sites",
    "variance_words",
    "view_words",
    "wing",
]
