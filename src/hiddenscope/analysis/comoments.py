"""Sums of products between the sites of a view, from the full or the compact form of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope.analysis.cache import cached
from hiddenscope.analysis.views import group, site_names, strata_index
from hiddenscope.errors import InputError
from hiddenscope.sites import OWN_BASIS, Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comoments:
    """What a file keeps of the trunk's pairs of sites, for one view.

    Attributes
    ----------
    data : Dataset
        The group ``cross``.
    strata : ndarray of int64
        Which strata the view holds.
    n : float
        Its tokens.
    mean : ndarray[site, channel] of float64
    shift : ndarray[stratum, site, channel] of float64
        How far the mean of each of its strata lies from that.
    weights : ndarray[stratum] of float64
        Tokens of each of its strata.
    """

    data: xr.Dataset
    strata: NDArray[np.int64]
    n: float
    mean: Floats
    shift: Floats
    weights: Floats

    @property
    def sites(self) -> list[str]:
        """The sites of the trunk."""
        return [str(s) for s in self.data["site_a"].values]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.mean.shape[1])

    def of_channels(self, channels: Sequence[int] | None = None) -> Floats:
        """Return the co-moment of every pair of sites, for all channels or for some.

        Returns
        -------
        ndarray[site, site, channel] of float64

        Raises
        ------
        InputError
            The compact form does not keep one of the channels.
        """
        if not self._compact:
            columns = slice(None) if channels is None else channels
            comoment = self._variable("comoment")[..., columns]
        else:
            held = [int(c) for c in self.data["loud"].values]
            lost = sorted(set(channels or ()) - set(held))
            if channels is None or lost:
                what = "every channel" if channels is None else f"channel {lost[0]}"
                msg = (
                    f"this profile keeps the co-moment of all pairs of sites only for its "
                    f"{len(held)} loudest channels, so it cannot answer for {what}: it has {held}"
                )
                raise InputError(msg)
            columns = channels
            comoment = self._variable("comoment_loud")[..., [held.index(c) for c in channels]]
        shift = self.shift[..., columns]
        between = np.einsum("k,kac,kbc->abc", self.weights, shift, shift, optimize=True)
        total: Floats = comoment.sum(0) + between
        return total

    def summed(self, without: Sequence[int]) -> Floats:
        """Return the co-moments ``[site, site]`` summed over channels, some left out."""
        if not self._compact:
            kept = np.setdiff1d(np.arange(self.channels), without)
            comoment = self._variable("comoment").sum(0)
            total = (comoment[..., kept] if len(without) else comoment).sum(-1)
            result: Floats = total + self._between(self.shift[..., kept])
            return result
        total = self._variable("comoment_sum").sum(0) + self._between(self.shift)
        if len(without):
            total = total - self.of_channels(without).sum(-1)
        return np.asarray(total)

    def by_channel(self) -> Floats:
        """Return the co-moments ``[site, site, channel]``, NaN where they are not kept."""
        if not self._compact:
            return self.of_channels()
        # Single channels are known for each site with itself and the next.
        sites, channels = self.mean.shape
        result = np.full((sites, sites, channels), np.nan)
        square = np.einsum("k,kac->ac", self.weights, self.shift**2)
        own = self._variable("comoment_self").sum(0) + square
        here, there = self.shift[:, :-1], self.shift[:, 1:]
        shifted = np.einsum("k,kac,kac->ac", self.weights, here, there)
        following = self._variable("comoment_next").sum(0)[:-1] + shifted
        at = np.arange(sites)
        result[at, at] = own
        result[at[:-1], at[1:]] = result[at[1:], at[:-1]] = following
        loud = [int(c) for c in self.data["loud"].values]
        result[..., loud] = self.of_channels(loud)
        return result

    @property
    def _compact(self) -> bool:
        return bool(self.data.attrs.get("compact", 0))

    def _variable(self, name: str) -> Floats:
        return np.asarray(self.data[name].values, np.float64)[self.strata]

    def _between(self, shift: Floats) -> Floats:
        summed: Floats = np.einsum("k,kac,kbc->ab", self.weights, shift, shift, optimize=True)
        return summed


@cached
def comoments_of(stream: xr.DataTree, view: str) -> Comoments:
    """Return the co-moments of a view.

    Raises
    ------
    ViewError
        The view is unknown.
    InputError
        The stream holds no site of the trunk.
    """
    data = group(stream, "cross")
    if not data.sizes["site_a"]:
        msg = (
            f"the stream {stream.name!r} holds no site of the trunk, and only between those are "
            "covariance and R² kept"
        )
        # Nothing is ever compared with what has a basis of its own.
        if Site(site_names(stream)[0]).point not in OWN_BASIS:
            msg += ": measure it with --sites trunk as well"
        raise InputError(msg)
    k = strata_index(stream, view)
    weights = np.asarray(data["count"].values, np.float64)[k]
    means = np.asarray(data["mean"].values)[k]
    n = float(weights.sum())
    mean = np.tensordot(weights, means, 1) / max(n, 1.0)
    shift = np.where(weights[:, None, None] > 0, means - mean, 0.0)
    return Comoments(data, k, n, mean, shift, weights)
