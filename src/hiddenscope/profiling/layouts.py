"""The options of a measurement, and the labels and budgets that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope.analysis import THRESHOLDS
from hiddenscope.errors import InputError
from hiddenscope.stats import COMPACT_BYTES, Layout
from hiddenscope.strata import PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20
DEFAULT_SAMPLE_MIB = 8.0


@dataclass(frozen=True)
class Options:
    """What a measurement is told apart from where to measure.

    Attributes
    ----------
    strata : tuple of str
    sample_mib : float
        Budget of the sample of whole hidden states.
    outlier : float
        The magnitude from which a value counts as an outlier.
    massive, massive_ratio : float
        A token is massive with a magnitude above the one, and above the other times the median
        magnitude of its hidden state, after any block (Sun et al. 2024).

    Raises
    ------
    InputError
        A number makes no sense.
    """

    strata: tuple[str, ...] = PLAIN
    sample_mib: float = DEFAULT_SAMPLE_MIB
    outlier: float = THRESHOLDS["outlier"]
    massive: float = THRESHOLDS["massive"]
    massive_ratio: float = THRESHOLDS["massive_ratio"]

    def __post_init__(self) -> None:
        if not 0 <= self.sample_mib < math.inf:
            msg = f"the sample's budget must be at least 0 MiB and finite, got {self.sample_mib}"
            raise InputError(msg)
        for name in ("outlier", "massive", "massive_ratio"):
            if not getattr(self, name) > 0:
                msg = f"the threshold {name} must be positive, got {getattr(self, name)}"
                raise InputError(msg)

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds, as the manifest keeps them."""
        return {key: getattr(self, key) for key in ("outlier", "massive", "massive_ratio")}


def make_layout(
    sites: Sequence[str], channels: int, *, trunk: Sequence[str], options: Options
) -> Layout:
    """Fit the budgets of a run to the shape of its states."""
    pairs = len(options.strata) * len(trunk) ** 2 * channels
    return Layout(
        sites=tuple(sites),
        channels=channels,
        strata=options.strata,
        trunk=tuple(trunk),
        outlier=options.outlier,
        sample_tokens=int(options.sample_mib * MIB / (len(sites) * channels * 4)),
        compact_cross=pairs * 8 > COMPACT_BYTES,
    )
