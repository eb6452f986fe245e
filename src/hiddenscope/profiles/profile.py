"""The profile as an object: labelled arrays, tables, figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiddenscope import analysis
from hiddenscope.profiles import overview
from hiddenscope.profiles.files import read, write
from hiddenscope.profiles.plot import Plot
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr


class Profile:
    """How the hidden states of one model on one corpus are distributed.

    Every method that takes a `view` says what tokens it speaks of: ``rest`` (the default: all
    but first, special and template tokens), ``all``, one stratum, or several joined by ``+``.

    Parameters
    ----------
    dataset : DataTree
        In the layout of ``profile.nc``.
    stream : str, optional
        The stream that the methods speak of; by default the residual stream, or the first.

    Attributes
    ----------
    dataset : DataTree
        Everything that was measured, labelled.

    Raises
    ------
    ProfileError
        There is no such stream.
    """

    def __init__(self, dataset: xr.DataTree, stream: str | None = None) -> None:
        self.dataset = dataset
        self._stream = str(analysis.stream_of(dataset, stream).name)

    @property
    def stream(self) -> xr.DataTree:
        """The part of the dataset that the methods speak of."""
        return analysis.stream_of(self.dataset, self._stream)

    @classmethod
    def open(cls, path: str | Path) -> Profile:
        """Read a profile from a file or the folder of a run.

        Raises
        ------
        ProfileError
            There is no profile there, or it cannot be read.
        """
        return cls(read(path))

    def save(self, path: str | Path) -> Path:
        """Write the profile atomically: an existing file stays until the new one is complete.

        Raises
        ------
        OutputError
            The place cannot be written.
        """
        return write(self.dataset, path)

    @property
    def streams(self) -> list[str]:
        """The streams: sites that see the same tokens and have the same width."""
        return analysis.stream_names(self.dataset)

    def on(self, stream: str) -> Profile:
        """Return the same profile, speaking of another stream: ``p.on("decoder").r2()``.

        Raises
        ------
        ProfileError
            There is no such stream.
        """
        return type(self)(self.dataset, stream)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was measured and how: model, tokenizer, corpus, thresholds, versions, time."""
        return analysis.manifest(self.stream)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """What the run checked of itself: ``name``, ``passed``, ``detail``, ``level``."""
        parsed: list[dict[str, Any]] = json.loads(self.dataset.attrs["checks"])
        return parsed

    @property
    def sites(self) -> list[str]:
        """The sites, in the order of the forward pass."""
        return analysis.site_names(self.stream)

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of each stratum."""
        return analysis.tokens(self.stream)

    def moments(self, view: str = "rest") -> pd.DataFrame:
        """See `hiddenscope.analysis.moments`."""
        return analysis.moments(self.stream, view)

    def channels(
        self,
        site: str | list[str] | None = None,
        view: str = "rest",
        *,
        quantiles: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """See `hiddenscope.analysis.channels`."""
        return analysis.channels(self.stream, site, view, quantiles=quantiles)

    def quantiles(
        self,
        q: float | Sequence[float],
        view: str = "rest",
        sites: str | list[str] | None = None,
    ) -> xr.DataArray:
        """See `hiddenscope.analysis.quantiles`."""
        return analysis.quantiles(self.stream, q, view, sites)

    def histogram(
        self,
        bins: int = 200,
        range: tuple[float, float] | None = None,
        view: str = "rest",
        sites: str | list[str] | None = None,
    ) -> xr.DataArray:
        """See `hiddenscope.analysis.histogram`."""
        return analysis.histogram(self.stream, bins, range, view, sites)

    def covariance(self, view: str = "rest", *, without: Sequence[int] = ()) -> xr.DataArray:
        """See `hiddenscope.analysis.covariance`."""
        return analysis.covariance(self.stream, view, without=without)

    def r2(
        self, kind: str = "pooled", view: str = "rest", *, without: Sequence[int] = ()
    ) -> xr.DataArray:
        """See `hiddenscope.analysis.r2`."""
        return analysis.r2(self.stream, kind, view, without=without)

    def norms(
        self,
        which: str = "l2",
        q: float | Sequence[float] = (0.01, 0.25, 0.5, 0.75, 0.99),
        view: str = "rest",
    ) -> pd.DataFrame:
        """See `hiddenscope.analysis.norms`."""
        return analysis.norms(self.stream, which, q, view)

    def positions(self, view: str = "rest") -> xr.Dataset:
        """See `hiddenscope.analysis.positions`."""
        return analysis.positions(self.stream, view)

    def sample(self, view: str = "rest", sites: str | list[str] | None = None) -> xr.Dataset:
        """See `hiddenscope.analysis.sample`."""
        return analysis.sample(self.stream, view, sites)

    def extremes(self, view: str = "rest", site: str | None = None) -> pd.DataFrame:
        """See `hiddenscope.analysis.extremes`."""
        return analysis.extremes(self.stream, view, site)

    def loudest(
        self, view: str = "rest", k: int | None = None, by: str = "variance"
    ) -> pd.DataFrame:
        """See `hiddenscope.analysis.loudest`."""
        return analysis.loudest(self.stream, view, k, by)

    def outliers(self, view: str = "rest", **thresholds: float | None) -> analysis.Outliers:
        """See `hiddenscope.analysis.outliers`; `thresholds` are its keywords.

        ``massive``, ``ratio``, ``outlier``, ``outlier_rms``, ``site_share``, ``token_share``.
        """
        return analysis.outliers(self.stream, view, **thresholds)

    def claims(self, view: str = "rest") -> pd.DataFrame:
        """See `hiddenscope.analysis.claims`: what published statements come to here."""
        return analysis.claims(self.stream, view)

    def metrics(self, view: str = "rest", prefix: str = "hiddenscope") -> dict[str, float]:
        """See `hiddenscope.analysis.metrics`: plain floats by name, for a logger."""
        return analysis.metrics(self.stream, view, prefix)

    def wing(self, view: str = "rest", kind: str = "pooled") -> pd.DataFrame:
        """See `hiddenscope.analysis.wing`."""
        return analysis.wing(self.stream, view, kind)

    def table(
        self,
        name: str,
        view: str = "rest",
        sites: str | list[str] | None = None,
        *,
        sort: str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """See `hiddenscope.analysis.table`."""
        return analysis.table(self.stream, name, view, sites, sort=sort, top=top)

    def report(self, path: str | Path = "report.html", *, plotlyjs: str = "inline") -> Path:
        """Write one HTML page that shows the profile, explains itself and needs no network.

        Parameters
        ----------
        path : str or Path
        plotlyjs : {'inline', 'cdn'}
            Plotly's script in the page, or from the network when the page is opened, which makes
            it 5 MB smaller.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            `plotlyjs` is neither.
        OutputError
            The place cannot be written.
        """
        # Reports stand above profiles.
        report = importlib.import_module("hiddenscope.report")
        written: Path = report.save(self.stream, Path(path), plotlyjs)
        return written

    def export_smoothquant(self, path: str | Path = "act_scales.pt") -> Path:
        """See `hiddenscope.exports.smoothquant`: scales of all streams, for SmoothQuant."""
        # Exports stand above profiles.
        exports = importlib.import_module("hiddenscope.exports")
        written: Path = exports.smoothquant(self.dataset, path)
        return written

    def caption(self, view: str = "rest") -> str:
        """Say in words which tokens a view holds."""
        return analysis.caption(self.stream, view)

    @property
    def plot(self) -> Plot:
        """Figures: ``p.plot.histogram()``, ``p.plot.depth(view="all")`` and more."""
        return Plot(self)

    def __str__(self) -> str:
        return overview.text(self)

    def _repr_html_(self) -> str:
        return overview.html(self)

    def __repr__(self) -> str:
        model = self.manifest.get("model", {}).get("name", "?")
        corpus = self.manifest.get("corpus", {}).get("name", "?")
        total = counted(sum(self.tokens.values()), "token")
        state = overview.checks_words(self)
        others = [name for name in self.streams if name != self.stream.name]
        sites = counted(len(self.sites), "site")
        of = f" of the {self.stream.name} stream, also {', '.join(others)}; " if others else ", "
        what = sites + of
        partial = analysis.partial_words(self.manifest.get("corpus", {}))
        end = f"{state}; {partial}" if partial else state
        return f"<hiddenscope.Profile of {model} on {corpus}: {what}{total}, {end}>"
