"""One batch of hidden states as the accumulators see it: no padding, grouped by stratum."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hiddenscope import kernels
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.tokens import NO_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hiddenscope.strata import Strata
    from hiddenscope.tokens import Tokens

    Scanned = dict[str, NDArray[Any]]
    """The arrays of a `kernels.Scan`, but of the cells only the filled ones: ``cell``, an index
    into ``[stratum, cell]``, and ``count``."""

CONTEXT = 8
"""Tokens kept on either side of an extreme value, to be shown with it."""
OUTLIER = 6.0
"""The magnitude from which a value counts as an outlier (Dettmers et al. 2022)."""
OUTLIER_RMS = 6.0
"""The same in units of the root mean square of the value's hidden state, which is the scale of
values after a norm, where that paper measured."""


@dataclass(frozen=True)
class Layout:
    """What the states of a run look like: the labels of every accumulator's arrays.

    Attributes
    ----------
    sites : tuple of str
    channels : int
        The width of the stream.
    strata : Strata
    trunk : tuple of str
        Those of the sites whose co-moments are kept.
    outlier, outlier_rms : float
        The magnitude from which a value counts as an outlier, and the multiple of the root mean
        square of its hidden state.
    sample_tokens : int
        Tokens that the sample may hold.
    loud : tuple of int, optional
        The channels for which the co-moment of every pair of sites is kept; None for all.
        Empty until the first batch with finite tokens, whose loudest channels are then used.
    """

    sites: tuple[str, ...]
    channels: int
    strata: Strata
    trunk: tuple[str, ...] = ()
    outlier: float = OUTLIER
    outlier_rms: float = OUTLIER_RMS
    sample_tokens: int = 1024
    loud: tuple[int, ...] | None = None


def gather(tokens: Tokens, states: torch.Tensor) -> torch.Tensor:
    """Copy the states of the counted tokens, ``[batch, pos, channel]`` → ``[token, channel]``.

    The result is a copy, so that a module that later changes its output in place has no effect
    on it. Tokens are picked by index, so that values at padding (even NaN) never enter a sum.
    """
    flat = states.detach().reshape(-1, states.shape[-1])
    gathered = flat[torch.from_numpy(tokens.order).to(flat.device)]
    return _to_float32(gathered) if gathered.dtype == torch.float64 else gathered


def _to_float32(states: torch.Tensor) -> torch.Tensor:
    """Round states to float32, and warn of finite values that it cannot hold."""
    rounded = states.float()
    lost = int((torch.isinf(rounded) & torch.isfinite(states)).sum())
    if lost:
        dtype = str(states.dtype).removeprefix("torch.")
        words = f"{lost:,} finite {dtype} values are beyond float32 and are counted as infinite"
        warnings.warn(words, HiddenscopeWarning, stacklevel=2)
    return rounded


@dataclass(frozen=True)
class Batch:
    """The states of one forward pass, and where its tokens stand.

    Attributes
    ----------
    layout : Layout
    tokens : Tokens
    states : mapping of str to Tensor[token, channel]
        By site, gathered with `gather`.
    """

    layout: Layout
    tokens: Tokens
    states: Mapping[str, torch.Tensor]

    @property
    def device(self) -> torch.device:
        """Where the states are; on several devices, the first of them."""
        return next(iter(self.states.values())).device

    @cached_property
    def bounds(self) -> list[int]:
        """Where each stratum starts in the tokens' order, and the number of tokens."""
        counts = self.tokens.count(len(self.layout.strata))
        return [0, *np.cumsum(counts).tolist()]

    @cached_property
    def strata(self) -> list[tuple[int, slice]]:
        """The strata that hold tokens, each with its tokens' place in the batch's order."""
        return [
            (k, slice(start, stop))
            for k, (start, stop) in enumerate(pairwise(self.bounds))
            if start < stop
        ]

    @cached_property
    def distinct(self) -> list[tuple[torch.Tensor, list[int]]]:
        """The sites' states, each once, with the indices of the sites that share them.

        A block reads what the one before wrote.
        """
        sites: dict[int, list[int]] = {}
        for i, site in enumerate(self.layout.sites):
            sites.setdefault(id(self.states[site]), []).append(i)
        return [(self.states[self.layout.sites[at[0]]], at) for at in sites.values()]

    @cached_property
    def scans(self) -> list[Scanned]:
        """Every site's states read once and reduced, in the layout's order."""
        states = [states for states, _ in self.distinct]
        scans = kernels.each(self._scan, states, self.device)
        made = {i: scan for scan, (_, at) in zip(scans, self.distinct, strict=True) for i in at}
        return [made[i] for i in range(len(self.layout.sites))]

    def _scan(self, states: torch.Tensor) -> Scanned:
        layout = self.layout
        scan = kernels.scan(states, self.bounds, layout.outlier, layout.outlier_rms)
        arrays = {f.name: getattr(scan, f.name).cpu().numpy() for f in fields(scan)}
        # Of 65,536 cells a site fills few.
        counts = arrays.pop("cells").reshape(-1)
        # Several times as fast as over whole numbers.
        filled = np.flatnonzero(counts != 0)
        return arrays | {"cell": filled, "count": counts[filled]}

    def stack(self, name: str) -> NDArray[Any]:
        """Stack one array of the scans over the sites."""
        return np.stack([scan[name] for scan in self.scans])

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Whether each token is finite at each site, ``[site, token]``."""
        return self.stack("finite")

    @cached_property
    def labels(self) -> dict[str, NDArray[np.int64] | NDArray[np.uint64]]:
        """``corpus, document, window, position, token_id, digest`` of the tokens, in order."""
        order = self.tokens.order
        row = order // self.tokens.strata.shape[1]
        return {
            # Only a merge of several corpora has more than one: `Accumulator.of_corpus`.
            "corpus": np.zeros(len(order), np.int64),
            "document": self.tokens.document.ravel()[order],
            "window": self.tokens.window[row],
            "position": self.tokens.positions.ravel()[order],
            "token_id": self.tokens.ids.ravel()[order],
            "digest": self.tokens.digest[row],
        }

    def context(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Token ids around each token, ``[len(index), 2 CONTEXT + 1]``, the token in the middle."""
        ids = np.pad(self.tokens.ids, ((0, 0), (CONTEXT, CONTEXT)), constant_values=NO_TOKEN)
        row, column = np.divmod(self.tokens.order[index], self.tokens.strata.shape[1])
        return ids[row[:, None], column[:, None] + np.arange(2 * CONTEXT + 1)]
