"""Densities as steps for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures.histogram import FEW
from hiddenscope.figures.plotly.values import typed

if TYPE_CHECKING:
    import pandas as pd

    from hiddenscope.figures.plotly.axes import Values
    from hiddenscope.figures.plotly.sheet import Sheet


def density_curve(
    sheet: Sheet,
    table: pd.DataFrame,
    column: str,
    *,
    axis: Values,
    label: str,
    color: str,
    width: float = 1.2,
    panel: int = 0,
    **meta: str,
) -> None:
    """Draw a step for each bin, faint where it holds few values.

    Parameters
    ----------
    sheet : Sheet
    table : DataFrame
        As `hiddenscope.analysis.density.densities` returns it, of one site.
    column : str
        What is drawn.
    axis : Values
        The x axis.
    label : str
        What the curve is called, escaped already.
    color : str
    width : float
    panel : int
    **meta
        What the traces are called; with ``part``, which is ``all`` or ``many``.
    """
    edges = np.append(table["left"].to_numpy(), table["right"].to_numpy()[-1])
    for part, least in (("all", 1), ("many", FEW)):
        values = table[column].where(table["count"] >= least).to_numpy(np.float64)
        hover: dict[str, Any] = {"hoverinfo": "skip"}
        if part == "all":
            told = np.stack([edges, np.append(edges[1:], np.nan), np.append(table["count"], 0)])
            hover = {
                "customdata": typed(told.T),
                "hovertemplate": f"<b>{label}</b><br>%{{customdata[0]:,.4~r}} to "
                "%{customdata[1]:,.4~r}<br>%{customdata[2]:,d} values<br>"
                f"{column} %{{y:.3~g}}",
            }
        sheet.add(
            "scatter",
            panel,
            x=typed(axis.at(edges)),
            # The last step ends where the last bin does.
            y=typed(np.append(values, values[-1])),
            mode="lines",
            line={"color": color, "shape": "hv", "width": width},
            opacity=0.35 if part == "all" else 1.0,
            name=label,
            meta=meta | {"part": part},
            **hover,
        )
