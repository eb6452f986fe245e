"""What a figure shows before anything is drawn: its words, and whom it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiddenscope import analysis, arguments
from hiddenscope.errors import FigureError
from hiddenscope.sites import Site
from hiddenscope.words import counted, shorten

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

FAR = 20.0
"""An axis of magnitudes is logarithmic where the largest is more than this many times the least."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The words of a figure; each kind adds its tables and scales.

    Attributes
    ----------
    title : str
    claim : str
        What the figure shows, from the profile's own numbers; may be empty.
    caption : str
        Model, tokens, and how to read it.
    """

    title: str
    claim: str
    caption: str


@dataclass(frozen=True)
class Subject:
    """What a figure is about: a stream, a view that holds tokens, and sites."""

    stream: xr.DataTree
    model: str
    view: str
    sites: list[str]
    words: str

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(analysis.group(self.stream, "moments").sizes["channel"])

    def caption(self, *notes: str) -> str:
        """Join model, view and tokens in words with what else a caption says."""
        parts = [self.model, self.words, counted(self.channels, "channel"), *notes]
        return " · ".join(p for p in parts if p)


def subject(
    tree: xr.DataTree, view: str, sites: str | list[str] | None, group: str = "moments"
) -> Subject:
    """Look up what a figure shows.

    Parameters
    ----------
    tree : DataTree
        A profile's whole tree, or one stream of it.
    view : str
    sites : str, list of str or None
        As in `hiddenscope.analysis.choose_sites`; None for the trunk.
    group : str
        The group of the profile that the figure is drawn from.

    Raises
    ------
    FigureError
        The profile lacks the group, the view holds no tokens, or no chosen site is in the group.
    SiteError, ViewError
        A site or the view is unknown.
    """
    stream = tree
    if "moments" not in tree.children:
        if not tree.children:
            msg = "this profile holds no stream, so there is nothing to draw"
            raise FigureError(msg)
        stream = analysis.stream_of(tree)
    sites = list(sites) if isinstance(sites, tuple) else sites
    names = analysis.trunk_sites(stream) if sites is None else analysis.choose_sites(stream, sites)
    if group not in stream.children:
        msg = f"this profile holds no group {group!r}, from which this figure is drawn"
        raise FigureError(msg)
    if group == "cross":
        k = analysis.strata_index(stream, view)
        if not analysis.group(stream, group)["count"].values[k].sum():
            msg = f"no token of the view {view!r} is finite at every site of the trunk"
            raise FigureError(msg)
        known = {str(s) for s in analysis.group(stream, group)["site_a"].values}
        outside = [name for name in names if name not in known]
        if outside:
            msg = (
                f"this figure compares sites of the trunk, of which {outside[0]} is none: choose "
                "among embed, block.*.resid_post and final_norm"
            )
            raise FigureError(msg)
    counts = analysis.tokens(stream)
    words = analysis.caption(stream, view)
    held = analysis.moments(stream, view)["tokens"]
    if not int(held.loc[names].max()):
        filled = [s for s, n in counts.items() if n]
        if sum(counts[s] for s in analysis.strata_of(stream).select(view)):
            msg = f"no token of the view {view!r} has a state here whose values are all finite"
            raise FigureError(msg)
        msg = (
            f"the view {view!r} holds no tokens with finite states in this profile: choose "
            f"'all' or a view with {' or '.join(repr(s) for s in filled)}"
        )
        raise FigureError(msg)
    model = analysis.manifest(stream).get("model", {}).get("name") or "unnamed model"
    name = shorten(str(model), 40)
    if stream.name != analysis.MAIN:
        name = f"{name}, {str(stream.name).replace('_', ' ')}"
    return Subject(stream, name, view, names, words)


def a_few(sites: list[str]) -> list[str]:
    """Choose the first site, a middle one, the last block and the last site."""
    blocks = [site for site in sites if Site.parse(site).block is not None]
    middle = [blocks[len(blocks) // 2], blocks[-1]] if blocks else []
    wanted = {sites[0], *middle, sites[-1]}
    return [site for site in sites if site in wanted]


def far_apart(values: NDArray[np.float64]) -> bool:
    """Say whether positive numbers are so far apart that they need a logarithmic axis."""
    known = values[np.isfinite(values) & (values > 0)]
    return bool(len(known) > 1 and known.max() > FAR * known.min())


def span_of(range: object, *, log: bool) -> tuple[float, float] | None:
    """Return the range that a user gave to an axis, or None.

    Raises
    ------
    FigureError
        The axis is logarithmic and the range does not begin above 0.
    InputError
        It is no range.
    """
    span = None if range is None else arguments.limits("range", range)
    if span and log and span[0] <= 0:
        msg = f"a logarithmic axis begins above 0: give another range than {range}, or log=False"
        raise FigureError(msg)
    return span
