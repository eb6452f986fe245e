"""What every interactive figure looks like."""

from __future__ import annotations

from typing import Any

from hiddenscope.figures import colours
from hiddenscope.figures.plotly.words import CAPTION, TITLE

RULES = colours.clear(colours.GREY, 0.25)
CLEAR = "rgba(0,0,0,0)"
AXIS = {"zeroline": False, "gridcolor": RULES, "linecolor": colours.GREY, "automargin": True}
X_AXIS = AXIS | {
    "showgrid": False,
    "showline": True,
    "ticks": "outside",
    "tickcolor": colours.GREY,
}
USUAL: dict[str, Any] = {
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "font": {"size": 12},
    "hovermode": "closest",
    "hoverlabel": {"align": "left"},
    "margin": {"l": 60, "r": 20, "pad": 0},
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "bottom"},
    "title": {
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
        "yref": "container",
        "pad": {"l": 8, "t": 20},
        "font": {"size": TITLE},
    },
}
"""A layout that fixes neither the colour of the paper nor that of text."""
TITLE_STYLE = {"x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "align": "left"}
"""Of a panel's title."""
CAPTION_STYLE = {
    "showarrow": False,
    "xref": "paper",
    "yref": "paper",
    "x": 0,
    "y": 0,
    "xshift": -52,
    "xanchor": "left",
    "yanchor": "top",
    "align": "left",
    "font": {"size": CAPTION},
    "opacity": 0.8,
}
