"""Pure functions from a profile's stream to labelled tables: they draw nothing, run no model."""

from hiddenscope.analysis.between import covariance, r2, wing
from hiddenscope.analysis.distribution import histogram, quantiles
from hiddenscope.analysis.loud import (
    THRESHOLDS,
    Outliers,
    largest_by_channel,
    loudest,
    magnitudes,
    outliers,
)
from hiddenscope.analysis.summary import channels, moments
from hiddenscope.analysis.tokens import extremes, norms, positions, sample
from hiddenscope.analysis.views import (
    MAIN,
    caption,
    choose_sites,
    group,
    hf_index,
    manifest,
    site_names,
    strata_names,
    stream_names,
    stream_of,
    tokens,
    trunk_sites,
)

__all__ = [
    "MAIN",
    "THRESHOLDS",
    "Outliers",
    "caption",
    "channels",
    "choose_sites",
    "covariance",
    "extremes",
    "group",
    "hf_index",
    "histogram",
    "largest_by_channel",
    "loudest",
    "magnitudes",
    "manifest",
    "moments",
    "norms",
    "outliers",
    "positions",
    "quantiles",
    "r2",
    "sample",
    "site_names",
    "strata_names",
    "stream_names",
    "stream_of",
    "tokens",
    "trunk_sites",
    "wing",
]
