"""Several profiles of one model, such as checkpoints of its training."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hiddenscope import analysis
from hiddenscope.errors import InputError
from hiddenscope.profiles.profile import Profile

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


class Series:
    """Profiles in an order, each with its label: steps of a training, sizes of a model.

    Parameters
    ----------
    profiles : mapping of label to Profile or path

    Attributes
    ----------
    profiles : dict of label to Profile
    """

    def __init__(self, profiles: Mapping[Any, Profile | str | Path]) -> None:
        if not isinstance(profiles, Mapping):
            msg = (
                f"a series is {{step: profile, …}}, got {type(profiles).__name__}: name each "
                "profile, such as {0: before, 1000: after}"
            )
            raise InputError(msg)
        self.profiles: dict[Any, Profile] = {}
        for label, given in profiles.items():
            if not isinstance(given, Profile | str | os.PathLike):
                msg = f"the series holds a {type(given).__name__} at {label!r}, not a profile"
                raise InputError(msg)
            self.profiles[label] = given if isinstance(given, Profile) else Profile.open(given)

    def table(self, view: str = "rest", sites: str | list[str] | None = None) -> xr.Dataset:
        """See `hiddenscope.analysis.side_by_side`: a Dataset[site, step]."""
        streams = {label: p.stream for label, p in self.profiles.items()}
        return analysis.side_by_side(streams, view, sites)

    def plot(
        self,
        column: str = "std",
        view: str = "rest",
        sites: str | list[str] | None = None,
        **look: Any,
    ) -> Any:
        """Draw a column of the table by step, a curve for each site, and as a map of site × step.

        Parameters
        ----------
        column : str
            ``std``, ``excess_kurtosis``, ``absmax``, ``median_norm``, ….
        view : str
        sites : str or list of str, optional
            By default those of the trunk.
        **look
            As of every figure: ``figsize``, ``fig``, ``title``, ``caption``, ``cmap``,
            ``highlight``.

        Returns
        -------
        Figure
        """
        figures = importlib.import_module("hiddenscope.figures")
        return figures.draw_series(self.table(view, sites), self._name(), column, **look)

    def _name(self) -> str:
        names = [str(p.manifest.get("model", {}).get("name", "?")) for p in self.profiles.values()]
        return names[0] if len(set(names)) == 1 else f"{names[0]} to {names[-1]}"

    def __len__(self) -> int:
        return len(self.profiles)

    def __repr__(self) -> str:
        labels = ", ".join(str(label) for label in self.profiles)
        return f"<hiddenscope.Series of {len(self)} profiles: {labels}>"
