"""Axes of an interactive figure: of activations, of sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures.places import SET_OFF, STEPS
from hiddenscope.figures.plotly.values import typed
from hiddenscope.figures.scales import asinh_ticks
from hiddenscope.words import tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hiddenscope.figures.places import Places

LETTER = 6.6
"""Width of a letter of a label in pixels."""
BOLD = 7.2
"""The same of a title."""
LINE = 15.0
"""Height of a line of labels in pixels."""


@dataclass(frozen=True)
class Values:
    """An axis of activations from `low` to `high`, linear or asinh.

    Plotly has no asinh axis: values are drawn where they stand on one, and its ticks say what they
    are.
    """

    scale: str
    low: float
    high: float
    linear: float

    def at(self, values: Any) -> NDArray[np.float64]:
        """Return where values stand on the axis."""
        found = np.asarray(values, np.float64)
        return np.arcsinh(found / self.linear) if self.scale == "asinh" else found

    def axis(self) -> dict[str, Any]:
        """Return the settings of the axis."""
        ends = {"range": [float(x) for x in self.at([self.low, self.high])]}
        if self.scale != "asinh":
            return ends | {"nticks": 7, "tickformat": ",.6~g"}
        return ends | labelled(self, asinh_ticks(self.low, self.high, self.linear))


def labelled(axis: Values, values: Sequence[float]) -> dict[str, Any]:
    """Return the ticks of an axis at some values."""
    return {
        "tickmode": "array",
        "tickvals": [float(x) for x in axis.at(values)],
        "ticktext": [tick(x) for x in values],
    }


def logarithmic(low: float, high: float) -> dict[str, Any]:
    """Return the settings of a logarithmic axis: a tick at few powers of ten."""
    decades = np.log10([low, high])
    step = max(1, round(float(decades[1] - decades[0]) / 6))
    return {
        "type": "log",
        "range": decades.tolist(),
        "dtick": step,
        "tickformat": ",.6~g",
        "exponentformat": "power",
    }


def counts(values: Any, *, log: bool) -> dict[str, Any]:
    """Return the settings of an axis of counts, shares or densities, from those above 0."""
    held = np.asarray(values, np.float64)
    if log:
        return logarithmic(float(held.min()) * 0.7, float(held.max()) * 1.6)
    return {"range": [0.0, float(held.max()) * 1.15], "tickformat": ",.6~g"}


def magnitudes(
    values: Any, *, log: bool, span: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Return the settings of an axis of magnitudes, by default with all of them in sight."""
    held = np.asarray(values, np.float64).ravel()
    held = held[np.isfinite(held) & ((held > 0) | (not log))]
    ends = np.array([held.min(), held.max()] if span is None else span)
    ends = np.log10(ends) if log else ends
    room = (0.05 * (ends[1] - ends[0]) or 0.05) if span is None else 0.0
    low, high = float(ends[0] - room), float(ends[1] + room)
    if log:
        return logarithmic(10.0**low, 10.0**high)
    return {"range": [low, high], "tickformat": ",.6~g", "nticks": 7}


def site_ticks(
    where: Places, room: float, *, across: bool, labels: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the ticks of an axis of sites, thinned so that no two labels touch.

    Parameters
    ----------
    where : Places
    room : float
        Length of the axis in pixels.
    across : bool
        Labels follow each other in reading direction (an x axis), not one below the other.
    labels : sequence of str, optional
        By site; by default the blocks' numbers, and words.
    """
    texts = list(labels or where.labels())
    if across:
        texts = [t.replace(" ", "<br>") for t in texts]
    per_unit = room / (where.span + 0.2)

    def extent(i: int) -> float:
        return LETTER * max(map(len, texts[i].split("<br>"))) + 4 if across else LINE

    def clear(i: int, j: int) -> bool:
        apart = abs(float(where.at[i] - where.at[j])) * per_unit
        return apart >= (extent(i) + extent(j)) / 2

    blocks = [i for i, s in enumerate(where.sites) if s not in SET_OFF]
    need = max((extent(i) for i in blocks), default=0.0)
    step = next((n for n in STEPS if n * per_unit >= need), STEPS[-1])
    # The words come first, then the last block; what stands too near to them gives way.
    words = [i for i, s in enumerate(where.sites) if s in SET_OFF]
    shown = list(words)
    for i in (*blocks[-1:], *where.shown(step)):
        if i not in shown and all(clear(i, j) for j in shown):
            shown.append(i)
    shown.sort()
    return {
        "tickmode": "array",
        "tickvals": [float(where.at[i]) for i in shown],
        "ticktext": [texts[i] for i in shown],
        "tickangle": 0,
    }


def broken(
    where: Places,
    values: Any,
    *,
    customdata: Sequence[str],
    size: Sequence[int],
    color: str,
    symbol: str = "circle",
) -> dict[str, Any]:
    """Return a trace through the blocks with points at the sites that are set off.

    Parameters
    ----------
    where : Places
    values, customdata, size : sequence
        By site: what is drawn, what is told, and how large its point is.
    color, symbol : str
    """
    kept: list[int] = []
    for run in where.runs:
        # Between two runs nothing is drawn.
        kept += [-1, *run] if kept else run
    chosen = np.array(kept)
    x, y = (np.where(chosen < 0, np.nan, np.asarray(v)[chosen]) for v in (where.at, values))
    return {
        "x": typed(x),
        "y": typed(y),
        "customdata": ["" if i < 0 else customdata[i] for i in kept],
        "mode": "lines+markers",
        "line": {"color": color, "width": 1.4},
        "marker": {
            "color": color,
            "symbol": symbol,
            "size": [0 if i < 0 else size[i] for i in kept],
            "line": {"width": 0 if "open" not in symbol else 1.4},
        },
    }
