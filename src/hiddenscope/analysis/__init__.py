"""Pure functions from a profile's stream to labelled tables: they draw nothing, run no model."""

from hiddenscope.analysis.correlation import covariance, r2, wing
from hiddenscope.analysis.distribution import histogram, quantiles
from hiddenscope.analysis.drawn import scale_of
from hiddenscope.analysis.largest import largest_by_channel, magnitudes, standing_out
from hiddenscope.analysis.outlying import (
    THRESHOLDS,
    Outliers,
    channel_words,
    massive_words,
    outliers,
)
from hiddenscope.analysis.shares import loudest
from hiddenscope.analysis.summary import channels, moments
from hiddenscope.analysis.token_tables import extremes, norms, positions, sample
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
    "channel_words",
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
    "massive_words",
    "moments",
    "norms",
    "outliers",
    "positions",
    "quantiles",
    "r2",
    "sample",
    "scale_of",
    "site_names",
    "standing_out",
    "strata_names",
    "stream_names",
    "stream_of",
    "tokens",
    "trunk_sites",
    "wing",
]
