"""How large each channel's values are: bounds within a factor of two, and counts over limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import arguments
from hiddenscope.analysis.views import group, strata_index, strata_of
from hiddenscope.errors import InputError, ProfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]


QUANTILES = (0.5, 0.99, 0.999)
"""Those of magnitudes that are shown where nothing else is asked for."""


def _groups_of(stream: xr.DataTree, view: str) -> list[int]:
    """Return the indices of the groups of strata that make up a view.

    Raises
    ------
    ProfileError
        The file is of before schema 4, or so large that it counts strata of the view together
        with others.
    ViewError
        The view is unknown.
    """
    data = group(stream, "octaves")
    strata = strata_of(stream)
    chosen = {strata[k] for k in strata_index(stream, view)}
    rest = set(strata.select("rest"))
    joined = {"rest": rest, "others": set(strata) - rest}
    names = [str(name) for name in data["stratum_group"].values]
    members = [{name} if name in strata else joined[name] for name in names]
    at = [i for i, held in enumerate(members) if held <= chosen]
    if set().union(*(members[i] for i in at)) != chosen:
        msg = (
            "this profile is large and keeps the magnitudes of its channels for the views "
            f"'rest' and 'all' only, not for {view!r}"
        )
        raise ProfileError(msg)
    return at


def magnitude_bounds(
    stream: xr.DataTree,
    site: int,
    view: str,
    q: Sequence[float] | None,
    largest: Floats,
) -> dict[str, Floats]:
    """Bound quantiles of each channel's magnitudes from above.

    Parameters
    ----------
    stream : DataTree
    site : int
        Its index.
    view : str
    q : sequence of float, optional
        Probabilities in [0, 1]; by default `QUANTILES`, or nothing where the profile cannot tell.
    largest : ndarray[channel]
        The largest magnitudes, which no bound exceeds.

    Returns
    -------
    dict of str to ndarray[channel] of float64
        By names such as ``magnitude_q0.99``. The end of the octave that holds the smallest
        magnitude which a share `q` of the tokens does not exceed: at least that magnitude and at
        most twice that (under 2⁻¹⁴, and from 2¹⁶ on, octaves are not told apart). NaN without
        tokens.

    Raises
    ------
    InputError
        A probability is outside of [0, 1].
    ProfileError
        Probabilities are given and the profile cannot tell, or not in this view.
    """
    levels = arguments.probabilities("quantiles", QUANTILES if q is None else q)
    try:
        at = _groups_of(stream, view)
    except ProfileError:
        if q is None:
            return {}
        raise
    data = group(stream, "octaves")
    counts = np.asarray(data["count"].values)[site, at].sum(0)
    start = np.asarray(data["octave_start"].values)
    total = counts.sum(-1, keepdims=True)
    share = np.cumsum(counts, axis=-1) / np.maximum(total, 1)
    ends = np.append(start[1:], np.inf)
    bounds = {}
    for level in levels:
        before = ((share < level) | (share == 0)).sum(1)
        # Only without tokens are all octaves before the level.
        end = np.fmin(ends[before % len(ends)], largest)
        bounds[f"magnitude_q{level:g}"] = np.where(total[:, 0] > 0, end, np.nan)
    return bounds


def tokens_over(stream: xr.DataTree, view: str, limit: float) -> Counts:
    """Count the tokens at which a channel's magnitude is at least a limit.

    Parameters
    ----------
    stream : DataTree
    view : str
    limit : float
        That of the run, or a power of two from 2⁻¹⁴ to 2¹⁶.

    Returns
    -------
    ndarray[site, channel] of int64

    Raises
    ------
    InputError
        The file has no counts for this limit; the message says which option of the run to set.
    """
    data = group(stream, "moments")
    run = float(data["over"].attrs["threshold"])
    if np.float32(limit) == np.float32(run):
        k = strata_index(stream, view)
        over: Counts = np.asarray(data["over"].values)[:, k].sum(1)
        return over
    known = "octaves" in stream.children
    start = group(stream, "octaves")["octave_start"].values[1:] if known else np.empty(0)
    if limit not in start:
        powers = " and for powers of two from 2⁻¹⁴ to 2¹⁶" if known else ""
        msg = (
            f"tokens over outlier={limit:g} were not counted: this profile has counts for "
            f"{run:g}{powers}; measure again with `hiddenscope profile … --outlier {limit:g}`"
        )
        raise InputError(msg)
    at = _groups_of(stream, view)
    first = 1 + int(np.searchsorted(start, limit))
    counts = np.asarray(group(stream, "octaves")["count"].values)
    return np.asarray(counts[:, at, :, first:].sum((1, -1)), np.int64)
