"""What a page is about: a stream, the views that hold tokens, its sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope import analysis, strata
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Subject:
    """What a page is about.

    Attributes
    ----------
    stream : DataTree
    views : dict of str to str
        Each view that holds tokens, and which they are in words; the first is shown first.
    sites : list of str
    """

    stream: xr.DataTree
    views: dict[str, str]
    sites: list[str]

    @property
    def view(self) -> str:
        """The view that is shown first."""
        return next(iter(self.views))

    @property
    def labels(self) -> list[str]:
        """The sites in words."""
        return [Site(s).label for s in self.sites]

    @property
    def trunk(self) -> list[str]:
        """The sites of the trunk, or all where there is none."""
        return analysis.trunk_sites(self.stream)


def subject(stream: xr.DataTree) -> Subject:
    """Look up what a page of this stream is about."""
    held = analysis.tokens(stream)
    known = analysis.strata_of(stream)
    views: dict[tuple[str, ...], str] = {}
    for view in (strata.DEFAULT_VIEW, "all", *known):
        chosen = tuple(s for s in known.select(view) if held[s])
        # Two views of the same tokens are one.
        if chosen:
            views.setdefault(chosen, view)
    shown = list(views.values()) or ["all"]
    words = {view: analysis.caption(stream, view) for view in shown}
    return Subject(stream, words, analysis.site_names(stream))
