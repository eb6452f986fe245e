"""What an interactive figure is drawn on: panels, words and keys, for wide and narrow screens."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hiddenscope.figures.plotly.axes import site_ticks
from hiddenscope.figures.plotly.defaults import AXIS, CAPTION_STYLE, USUAL, X_AXIS
from hiddenscope.figures.plotly.palette import Palette
from hiddenscope.figures.plotly.panels import BREAK, Panels, changed, number
from hiddenscope.figures.plotly.values import escaped, typed
from hiddenscope.figures.plotly.words import worded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Places
    from hiddenscope.figures.prepared import Prepared

PIXELS = 96
"""In an inch."""
WIDE, NARROW = 900, 360
"""Widths in pixels for which a figure is laid out."""
BAR = 90
"""Room for a bar of colours and its numbers, in pixels."""


class Sheet(Palette):
    """Panels of one figure, in a grid on a wide screen, one below another on a narrow one.

    What differs between the two is kept in the layout, under ``meta``: ``wide`` and ``narrow``
    hold what ``Plotly.relayout`` takes.

    Parameters
    ----------
    look : Look
    shown : Prepared
        Whose title, claim and caption are written.
    *notes : str
        What else the caption says; empty ones are left out.
    high : float
        Of a panel in pixels, unless the user chose a size.
    panels : sequence of str
        Their titles.
    columns : int
        Side by side on a wide screen.
    share : float
        Of the width of a wide screen that they take.
    foot : float
        Room below each panel for its labels, in pixels.
    over : float
        Room between a panel and its title.

    Attributes
    ----------
    data : list of dict
        The traces.
    layout : dict
    high : float
    """

    def __init__(
        self,
        look: Look,
        shown: Prepared,
        *notes: str,
        high: float,
        panels: Sequence[str] = ("",),
        columns: int = 1,
        share: float = 1.0,
        foot: float = 54.0,
        over: float = 0.0,
    ) -> None:
        super().__init__(look)
        self._shown, self._notes = shown, [n for n in notes if n]
        self.panels, self._columns, self._share = list(panels), columns, share
        self.high, self._foot, self._over = high, foot, over
        self._bar: tuple[int, ...] = ()
        self._named: dict[int, int] = {}
        self._variants: dict[str, tuple[Any, Any]] = {}
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = deepcopy(USUAL)
        # The caption is the first annotation.
        self.layout["annotations"] = [CAPTION_STYLE | {"yshift": -foot}]
        for i in range(len(self.panels)):
            self.layout[f"xaxis{number(i)}"] = X_AXIS | {"anchor": f"y{number(i)}"}
            self.layout[f"yaxis{number(i)}"] = AXIS | {"anchor": f"x{number(i)}"}

    def add(self, kind: str, panel: int = 0, **given: Any) -> None:
        """Add a trace to a panel; in its template ``<extra>`` is left out."""
        if "hovertemplate" in given:
            given["hovertemplate"] += "<extra></extra>"
        own = number(self._named.get(panel, panel))
        place = {"xaxis": f"x{own}", "yaxis": f"y{own}"}
        trace = {"type": kind, "showlegend": False} if kind == "scatter" else {"type": kind}
        self.data.append(trace | place | given)

    def axis(self, letter: str, panel: int = 0, **settings: Any) -> None:
        """Set up an axis of a panel; a title may be given as a text."""
        if isinstance(settings.get("title"), str):
            settings["title"] = {"text": settings["title"], "standoff": 6, "font": {"size": 12}}
        self.layout[f"{letter}axis{number(panel)}"].update(settings)

    def name_cells(self, panel: int, **named: tuple[Any, Sequence[str]]) -> None:
        """Name columns (``x``) and rows (``y``) of a map where its cells are pointed at.

        Plotly writes ``%{x}`` as the label of the tick that stands there. Cells are more than
        there is room for labels, so axes of their own, without labels, lie over those that are
        seen.

        Parameters
        ----------
        panel : int
            All that is added to it from now on stands on these axes.
        **named : (array_like of float, sequence of str)
            Where the cells have their centres, and their names, escaped already.
        """
        self.add("scatter", panel, x=[None], y=[None], hoverinfo="skip")
        self._named[panel] = len(self.panels) + panel
        over, own = number(panel), number(self._named[panel])
        for letter, other in (("x", "y"), ("y", "x")):
            centres, names = named.get(letter, ([], []))
            self.layout[f"{letter}axis{own}"] = {
                "overlaying": f"{letter}{over}",
                "matches": f"{letter}{over}",
                "anchor": f"{other}{own}",
                "showticklabels": False,
                "ticks": "",
                "showgrid": False,
                "zeroline": False,
                "tickmode": "array",
                "tickvals": typed(centres),
                "ticktext": list(names),
            }

    def vary(self, path: str, wide: Any, narrow: Any) -> None:
        """Set what is one thing on a wide screen and another on a narrow one."""
        self._variants[path] = (wide, narrow)

    def vary_axis(self, letter: str, panel: int, made: Callable[[float], dict[str, Any]]) -> None:
        """Set up an axis by its length in pixels."""
        wide, narrow = (made(x) for x in self.lengths(letter))
        for name, value in wide.items():
            path = f"{letter}axis{number(panel)}.{name}"
            if value == narrow[name]:
                self.axis(letter, panel, **{name: value})
            else:
                self.vary(path, value, narrow[name])

    def sites_across(self, where: Places, panel: int = 0) -> None:
        """Set up an x axis of sites."""
        ends = [float(where.at[0]) - 0.6, float(where.at[-1]) + 0.6]
        self.axis("x", panel, title=where.title(), range=ends)
        self.vary_axis("x", panel, lambda room: site_ticks(where, room, across=True))

    def lengths(self, letter: str) -> tuple[float, float]:
        """Return how long an axis is in pixels, on a wide and on a narrow screen."""
        if letter == "y":
            return self.high, self.high
        width = self._width or WIDE
        return self._share * (width - BAR) / self._columns - 70, NARROW - BAR - 60

    def write(self, text: str, panel: int = 0, **place: Any) -> None:
        """Write a text, escaped already, in a panel."""
        usual = {"showarrow": False, "xref": f"x{number(panel)}", "yref": f"y{number(panel)}"}
        self.layout["annotations"].append(usual | {"text": text} | place)

    def entry(self, name: str, **given: Any) -> None:
        """Name a colour or a line above the panels."""
        point: dict[str, Any] = {"x": [None], "y": [None], "hoverinfo": "skip", "showlegend": True}
        self.add("scatter", **({"mode": "lines", "name": name} | point | given))

    def bar_alone(self) -> None:
        """Show the bar of colours where no map has one."""
        marker = {"coloraxis": "coloraxis", "color": [0], "opacity": 0}
        self.add("scatter", x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip")

    def colours_of(
        self,
        *panels: int,
        title: str,
        scale: Any,
        bar: dict[str, Any] | None = None,
        **ends: float,
    ) -> None:
        """Set up the scale of colours, which traces call ``coloraxis``; its bar beside panels."""
        self._bar = panels
        text = {"text": title, "side": "right", "font": {"size": 12}}
        usual = {"title": text, "thickness": 12, "outlinewidth": 0}
        usual["yanchor"] = "top"
        self.layout["coloraxis"] = {"colorscale": scale, "colorbar": usual | (bar or {})} | ends

    @property
    def _width(self) -> float | None:
        return None if self.look.figsize is None else self.look.figsize[0] * PIXELS

    def figure(self) -> dict[str, Any]:
        """Return the whole figure, as on a wide screen or in the size that the user chose."""
        self._lay_out()
        chosen = int(self._width is not None and self._width < BREAK)
        variants = [{k: pair[i] for k, pair in self._variants.items()} for i in (0, 1)]
        changed(self.layout, variants[chosen])
        self.layout["meta"] = {"wide": variants[0], "narrow": variants[1]}
        return {"data": self.data, "layout": self.layout}

    def _lay_out(self) -> None:
        """Give every panel its place, and write titles, claim and caption."""
        titled = any(self.panels)
        key = [t["name"] for t in self.data if t.get("showlegend")]
        self.layout["showlegend"] = bool(key)
        for i, title in enumerate(self.panels):
            if title:
                self.write(
                    f"<b>{escaped(title)}</b>",
                    i,
                    xref=f"x{number(i)} domain",
                    yref=f"y{number(i)} domain",
                    x=0,
                    y=1,
                    xanchor="left",
                    yanchor="bottom",
                    yshift=self._over,
                )
        panels = Panels(
            len(self.panels),
            self.high,
            head=self._over + (20.0 if titled else 4.0),
            foot=self._foot,
            key=key,
            bar=self._bar,
            whole=None if self.look.figsize is None else self.look.figsize[1] * PIXELS,
        )
        wide, narrow = (
            panels.arranged(
                worded(self._shown, self.look, self._notes, width), columns, width, share
            )
            for width, columns, share in (
                (self._width or WIDE, self._columns, self._share),
                (self._width or NARROW, 1, 1.0),
            )
        )
        for path, value in wide.items():
            self.vary(path, value, narrow[path])
        if self._width is not None:
            self.layout["width"] = self._width
