"""What the claims look at: a stream through a view, its blocks in order, its widths and norms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from hiddenscope.analysis.density import ONE_SIGMA
from hiddenscope.analysis.distribution import quantiles
from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.token_tables import norms
from hiddenscope.analysis.verdicts.claim import UntoldError
from hiddenscope.analysis.views import (
    label,
    lowest,
    manifest,
    site_names,
    strata_of,
    stream_names,
    tokens,
)
from hiddenscope.sites import Site
from hiddenscope.strata import FIRST
from hiddenscope.words import counted

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Seen:
    """A stream through a view.

    Attributes
    ----------
    stream : DataTree
    view : str
    """

    stream: xr.DataTree
    view: str

    @property
    def sites(self) -> list[str]:
        """The sites of the trunk."""
        return [name for name in site_names(self.stream) if Site(name).in_trunk]

    def blocks(self, least: int = 1) -> list[str]:
        """Return the outputs of all blocks, in order.

        Raises
        ------
        UntoldError
            They are fewer than `least`, not all of them were measured, or no token of the view is
            finite at one of them.
        """
        names = [name for name in self.sites if Site(name).block is not None]
        numbers = [Site(name).block for name in names]
        declared = self._declared_blocks()
        if numbers != list(range(len(names))) or declared not in {None, len(names)}:
            msg = "not the output of every block was measured: measure with --sites trunk"
            raise UntoldError(msg)
        if len(names) < least:
            msg = f"this needs {counted(least, 'block')} or more, and here there are {len(names)}"
            raise UntoldError(msg)
        self.check_tokens(names)
        return names

    def _declared_blocks(self) -> int | None:
        """Return how many blocks the model has, where the manifest says it of this stream."""
        main = stream_names(self.stream.root)[0] if self.stream.root.children else None
        blocks = manifest(self.stream)["model"].get("blocks")
        return None if blocks is None or self.stream.name != main else int(blocks)

    def require(self, site: str) -> str:
        """Return a site.

        Raises
        ------
        UntoldError
            It was not measured, or no token of the view is finite at it.
        """
        if site not in self.sites:
            msg = f"{site} was not measured"
            raise UntoldError(msg)
        self.check_tokens([site])
        return site

    @property
    def without_first(self) -> str:
        """The view without first tokens."""
        held = strata_of(self.stream).select(self.view)
        return f"{self.view}-{FIRST}" if FIRST in held else self.view

    @property
    def last(self) -> str:
        """The last hidden state: the final norm's output or, without one, the last block's."""
        return "final_norm" if "final_norm" in self.sites else self.blocks()[-1]

    def check_tokens(self, names: list[str], view: str | None = None) -> None:
        """Refuse sites at which no token of a view, by default this one, is finite.

        Raises
        ------
        UntoldError
        """
        chosen = self.view if view is None else view
        held = moments(self.stream, chosen)["tokens"].loc[names]
        if (held == 0).any():
            found = tokens(self.stream)
            many = sum(found[name] for name in strata_of(self.stream).select(chosen))
            what = f"{counted(many, 'token')}, none finite at {label(lowest(held))}"
            msg = f"the view {chosen!r} holds {what if many else 'no tokens'}"
            raise UntoldError(msg)

    @cached_property
    def widths(self) -> pd.Series[float]:
        """Half the distance between the quantiles that enclose 68.3 % of a site's values.

        The standard deviation of a normal. One massive value among millions can decide the
        standard deviation of all of them; it cannot move this.
        """
        ends = quantiles(self.stream, ONE_SIGMA, self.view, self.sites).values
        return pd.Series((ends[:, 1] - ends[:, 0]) / 2, index=self.sites)

    def norm(self, which: str = "l2", q: float = 0.5, view: str | None = None) -> pd.Series[float]:
        """Return a quantile of the tokens' norms by site, by default the median."""
        chosen = self.view if view is None else view
        return norms(self.stream, which, q, chosen)[f"q{q:g}"]
