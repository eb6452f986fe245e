"""Which channels a site's variance and its constant offset lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiddenscope import arguments
from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.summary import channel_means
from hiddenscope.analysis.views import block_sites
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BY = ("variance", "offset", "pooled")
LOUDEST = 3
"""The number of loudest channels that R² is also shown without."""


@cached
def loudest(
    stream: xr.DataTree, view: str = "rest", k: int | None = None, by: str = "variance"
) -> pd.DataFrame:
    """Rank the channels by their share of each block's variance or offset, averaged over blocks.

    With m2 the sum of squares about a channel's own mean, μ its mean, n the tokens and m the
    grand mean of a site over its channels:

    Parameters
    ----------
    stream : DataTree
    view : str
    k : int, optional
        Only the first `k`.
    by : {'variance', 'offset', 'pooled'}
        The column to rank by, largest first.

    Returns
    -------
    DataFrame[channel]
        ``variance``: share of the variance within channels, m2 ÷ Σ m2. ``pooled``: share of
        the pooled sum of squares about the grand mean, (m2 + n (μ − m)²) ÷ Σ (m2 + n (μ − m)²),
        of which the article's covariance and R² are made. ``offset``: the part of ``pooled``
        that is there because the channel's mean lies apart from the grand mean, n (μ − m)² over
        the same total.

    Raises
    ------
    InputError, ViewError
        `by` or the view is unknown.
    """
    if by not in BY:
        msg = f"channels cannot be ranked by {by!r}: choose one of {', '.join(BY)}"
        raise InputError(msg)
    arguments.check({"k": arguments.optional(arguments.WHOLE)}, {"k": k})
    at = block_sites(stream)
    sums = {key: value[at] for key, value in channel_means(stream, view).items()}
    apart = sums["count"] * (sums["mean"] - sums["mean"].mean(1, keepdims=True)) ** 2
    whole = sums["m2"] + apart
    total = whole.sum(1, keepdims=True)
    table = pd.DataFrame(
        {
            "variance": _share(sums["m2"], sums["m2"].sum(1, keepdims=True)),
            "offset": _share(apart, total),
            "pooled": _share(whole, total),
        },
        index=pd.RangeIndex(whole.shape[1], name="channel"),
    )
    return table.sort_values(by, ascending=False, kind="stable").iloc[:k]


def _share(parts: Floats, total: Floats) -> Floats:
    shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    return np.asarray(shares.mean(0))
