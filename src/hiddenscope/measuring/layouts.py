"""The options of a measurement, and the labels and budgets that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import arguments
from hiddenscope.analysis import THRESHOLDS
from hiddenscope.errors import InputError
from hiddenscope.stats import COMPACT_BYTES, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hiddenscope.strata import Strata

MIB = 1 << 20
DEFAULT_SAMPLE_MIB = 8.0
SAMPLE_BYTES = 2
"""Of a value of the sample: its states are rounded to bfloat16."""
_THRESHOLDS = ("outlier", "outlier_rms", "massive", "massive_ratio")
_NUMBERS = ("sample_mib", *_THRESHOLDS)


@dataclass(frozen=True)
class Options:
    """The options of a measurement other than its sites.

    Attributes
    ----------
    strata : Strata
    sample_mib : float
        Budget of the sample of whole hidden states.
    outlier, outlier_rms : float
        The magnitude from which a value counts as an outlier, rounded to float32; and the
        multiple of the root mean square of its hidden state.
    massive, massive_ratio : float
        A token is massive if, after any block, its largest magnitude exceeds `massive` and also
        `massive_ratio` times the median magnitude of all hidden states of its batch at that site
        (Sun et al. 2024).

    Raises
    ------
    InputError
        A number makes no sense, or is none.
    """

    strata: Strata
    sample_mib: float = DEFAULT_SAMPLE_MIB
    outlier: float = THRESHOLDS["outlier"]
    outlier_rms: float = THRESHOLDS["outlier_rms"]
    massive: float = THRESHOLDS["massive"]
    massive_ratio: float = THRESHOLDS["massive_ratio"]

    def __post_init__(self) -> None:
        arguments.check(dict.fromkeys(_NUMBERS, arguments.NUMBER), vars(self))
        # Small types of NumPy overflow where they are multiplied.
        object.__setattr__(self, "sample_mib", float(self.sample_mib))
        if not 0 <= self.sample_mib < math.inf:
            msg = f"the sample's budget must be at least 0 MiB and finite, got {self.sample_mib}"
            raise InputError(msg)
        # States are compared in float32: a threshold between two of its values would count the
        # same value in one batch and not in another.
        with np.errstate(over="ignore"):
            object.__setattr__(self, "outlier", float(np.float32(self.outlier)))
        for name, value in self.thresholds.items():
            if not 0 < value < math.inf:
                msg = f"the threshold {name} must be positive and finite, got {value}"
                raise InputError(msg)

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds, as the manifest keeps them."""
        return {key: float(getattr(self, key)) for key in _THRESHOLDS}


def make_options(strata: Strata, given: Mapping[str, Any]) -> Options:
    """Make options of what a user passed on to some function as keywords.

    Raises
    ------
    InputError
        An option does not exist, or its value makes no sense.
    """
    unknown = [name for name in given if name not in _NUMBERS]
    if unknown:
        msg = f"there is no option {unknown[0]!r}: choose among {', '.join(_NUMBERS)}"
        raise InputError(msg)
    return Options(strata, **given)


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
        outlier_rms=options.outlier_rms,
        sample_tokens=int(options.sample_mib * MIB / (len(sites) * channels * SAMPLE_BYTES)),
        loud=() if pairs * 8 > COMPACT_BYTES else None,
    )
