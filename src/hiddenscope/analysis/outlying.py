"""Massive activations and outlier channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope import arguments
from hiddenscope.analysis.massive import massive_activations, massive_channels
from hiddenscope.analysis.octaves import tokens_over
from hiddenscope.analysis.outlier_channels import outlier_channels, rules_of
from hiddenscope.analysis.views import manifest
from hiddenscope.errors import InputError, ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import xarray as xr

THRESHOLDS = {
    # Sun et al. 2024, "Massive Activations in Large Language Models".
    "massive": 100.0,
    "massive_ratio": 1000.0,
    # Dettmers et al. 2022, "LLM.int8()".
    "outlier": 6.0,
    "outlier_rms": 6.0,
    "outlier_site_share": 0.25,
    "outlier_token_share": 0.06,
}
"""What counts as an outlier, where a profile's manifest does not say otherwise."""
_OF_RUN = {
    "ratio": "massive_ratio",
    "site_share": "outlier_site_share",
    "token_share": "outlier_token_share",
}
"""What `outliers` calls otherwise than a run does."""

NO_EXTREMES = (
    "massive activations cannot be told: this profile holds no 'extremes'; measure again to have "
    "them"
)


@dataclass(frozen=True)
class Outliers:
    """Outliers by both criteria.

    Attributes
    ----------
    thresholds : dict of str to float
    notes : tuple of str
        What the rules cannot say here, and why.
    points : dict of str to str
        Point at which outlier channels were looked for → rule, as in ``channels``.
    """

    thresholds: dict[str, float]
    notes: tuple[str, ...]
    points: dict[str, str]
    _massive: pd.DataFrame | None
    _massive_channels: pd.DataFrame | None
    _channels: pd.DataFrame | None

    def __str__(self) -> str:
        # It says itself in sentences that are made from it.
        from hiddenscope.analysis.display import outliers_text  # noqa: PLC0415

        return outliers_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from hiddenscope.analysis.display import outliers_html  # noqa: PLC0415

        return outliers_html(self)

    @property
    def massive(self) -> pd.DataFrame:
        """Massive activations (Sun et al. 2024), largest first.

        Among the extremes that the profile keeps, with token and place: a magnitude over 100 and
        over 1,000 times the median magnitude of the site, ``site_median``, taken over all its
        tokens × channels whatever the view. ``median`` is that of the token's own hidden state.

        Raises
        ------
        ProfileError
            The profile holds no extremes.
        """
        return _held(self._massive, NO_EXTREMES)

    @property
    def massive_channels(self) -> pd.DataFrame:
        """Massive activations by channel, largest first.

        DataFrame[channel]: ``sites`` (how many), ``blocks`` (such as ``2, 11–27``), ``values``
        (most at one site), ``cut`` (whether there may be more than the profile keeps), and of the
        largest its ``value``, ``site``, ``piece`` and ``position``.

        Raises
        ------
        ProfileError
            The profile holds no extremes.
        """
        return _held(self._massive_channels, NO_EXTREMES)

    @property
    def channels(self) -> pd.DataFrame:
        """Outlier channels (Dettmers et al. 2022), those with the most variance first.

        DataFrame[channel]: ``point`` (in a profile with several, each on its own), ``rule``
        (`over_rms` or `over`, see `RULES`), ``sites``, ``site_share``, ``token_share`` (largest
        over the blocks), ``first_block``, ``last_block`` (that meet the criterion), ``largest``
        (signed value of the largest magnitude) and ``variance`` (as in `loudest`). A channel is
        listed where at 25 % of the blocks or more, 6 % of the tokens or more are over the limit.
        A massive value takes up most of the root mean square of its hidden state, so beside it
        others in the same token do not reach theirs. Of ``mlp_act``, what the last layer of an
        MLP reads, and of mixers other than attention the paper does not speak: their rows are the
        same count, but not its rule.

        Raises
        ------
        ProfileError
            The profile is of an older schema, without the counts that the rule needs.
        """
        return _held(self._channels, self.notes[-1] if self.notes else "")


def _held(table: pd.DataFrame | None, why: str) -> pd.DataFrame:
    """Return a table, or say why the profile has nothing to make it from."""
    if table is None:
        raise ProfileError(why)
    return table


def outliers(
    stream: xr.DataTree,
    view: str = "rest",
    *,
    massive: float | None = None,
    ratio: float | None = None,
    outlier: float | None = None,
    outlier_rms: float | None = None,
    site_share: float | None = None,
    token_share: float | None = None,
) -> Outliers:
    """Find outliers by both criteria.

    Parameters
    ----------
    stream : DataTree
    view : str
    massive, ratio : float, optional
        Magnitudes are massive over the one, and over the other times the median magnitude of
        their site. By default those of the run. A lower one finds more only among the extremes
        that the file keeps: ``cut`` says where there may be others.
    outlier, outlier_rms : float, optional
        What counts as far out is counted while a model runs: `outlier` can be the run's own or a
        power of two from 2⁻¹⁴ to 2¹⁶, `outlier_rms` only the run's own.
    site_share, token_share : float, optional
        The shares of blocks and of tokens at which a channel must be far out; by default 0.25
        and 0.06.

    Returns
    -------
    Outliers

    Raises
    ------
    ViewError
        The view is unknown.
    InputError
        A threshold makes no sense, or is one that the file's counts cannot answer; the message
        says which option of the run to set.
    """
    run = THRESHOLDS | manifest(stream).get("thresholds", {})
    asked = {
        "massive": massive,
        "ratio": ratio,
        "outlier": outlier,
        "outlier_rms": outlier_rms,
        "site_share": site_share,
        "token_share": token_share,
    }
    thresholds = run | _checked(asked, run)
    if outlier is not None:
        # Also where no point has the rule that reads it: an answer must not seem to obey.
        tokens_over(stream, view, thresholds["outlier"])
    table, notes = outlier_channels(stream, view, thresholds)
    if "extremes" not in stream.children:
        return Outliers(thresholds, notes, rules_of(stream), None, None, table)
    found = massive_activations(stream, view, thresholds)
    largest = massive_channels(found)
    return Outliers(thresholds, notes, rules_of(stream), found, largest, table)


def _checked(asked: Mapping[str, float | None], run: Mapping[str, float]) -> dict[str, float]:
    given = {key: value for key, value in asked.items() if value is not None}
    arguments.check(dict.fromkeys(given, arguments.NUMBER), given)
    for name, value in given.items():
        most = 1.0 if name.endswith("share") else math.inf
        if not 0 <= value <= most or value == math.inf:
            what = "a share between 0 and 1" if most == 1.0 else "a finite number, at least 0"
            msg = f"{name} must be {what}, got {value}"
            raise InputError(msg)
        if name == "outlier_rms" and value != run[name]:
            msg = (
                f"tokens over outlier_rms={value:g} were not counted: this profile has counts for "
                f"{run[name]:g}; measure again with `hiddenscope profile … --outlier-rms {value:g}`"
            )
            raise InputError(msg)
    return {_OF_RUN.get(key, key): float(value) for key, value in given.items()}
