"""What an interactive figure is drawn on: panels, words and keys, for screens of any width."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hiddenscope.figures.plotly.axes import site_ticks
from hiddenscope.figures.plotly.defaults import AXIS, CAPTION_STYLE, TITLE_STYLE, USUAL, X_AXIS
from hiddenscope.figures.plotly.palette import Palette
from hiddenscope.figures.plotly.panels import SCREENS, Across, Panels, changed, number, screen
from hiddenscope.figures.plotly.values import typed
from hiddenscope.figures.plotly.words import worded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Places
    from hiddenscope.figures.prepared import Prepared

PIXELS = 96
"""In an inch."""
USUAL_WIDTH = 900
"""In pixels: what a figure looks like where nothing else is known."""


class Sheet(Palette):
    """Panels of one figure, in a grid on a wide screen, one below another on a narrow one.

    What differs between screens is kept in the layout, under ``meta``: for each of `SCREENS` what
    ``Plotly.relayout`` takes.

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
        self._variants: dict[str, Sequence[Any]] = {}
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = deepcopy(USUAL)
        # The caption is the first annotation, the panels' titles are those after it.
        self.layout["annotations"] = [CAPTION_STYLE | {"yshift": -foot}]
        if any(panels):
            for i in range(len(panels)):
                above = {letter: f"{letter[0]}{number(i)} domain" for letter in ("xref", "yref")}
                self.write("", i, **TITLE_STYLE, **above, yshift=over)
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

    def vary(self, path: str, values: Sequence[Any]) -> None:
        """Set what differs between the `SCREENS`."""
        self._variants[path] = values

    def vary_axis(self, letter: str, panel: int, made: Callable[[float], dict[str, Any]]) -> None:
        """Set up an axis by its length in pixels."""
        settings = [made(x) for x in self.lengths(letter)]
        for name, value in settings[0].items():
            values = [s[name] for s in settings]
            if all(v == value for v in values):
                self.axis(letter, panel, **{name: value})
            else:
                self.vary(f"{letter}axis{number(panel)}.{name}", values)

    def sites_across(self, where: Places, panel: int = 0) -> None:
        """Set up an x axis of sites."""
        ends = [float(where.at[0]) - 0.6, float(where.at[-1]) + 0.6]
        self.axis("x", panel, title=where.title(), range=ends)
        self.vary_axis("x", panel, lambda room: site_ticks(where, room, across=True))

    def lengths(self, letter: str) -> list[float]:
        """Return how long an axis is in pixels, at least, on each of the `SCREENS`."""
        if letter == "y":
            return [self.high] * len(SCREENS)
        return [across.axis for across in self._across()]

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

    def _across(self) -> list[Across]:
        """Return how the panels stand on each of the `SCREENS`."""
        usual = (self._columns, self._share)
        return [
            Across(self._width or width, *((1, 1.0) if width == SCREENS[0] else usual))
            for width in SCREENS
        ]

    @property
    def _width(self) -> float | None:
        return None if self.look.figsize is None else self.look.figsize[0] * PIXELS

    def figure(self) -> dict[str, Any]:
        """Return the whole figure, as on a wide screen or in the size that the user chose."""
        self._lay_out()
        variants = {
            str(screen): {path: values[i] for path, values in self._variants.items()}
            for i, screen in enumerate(SCREENS)
        }
        changed(self.layout, variants[str(screen(self._width or USUAL_WIDTH))])
        self.layout["meta"] = variants
        return {"data": self.data, "layout": self.layout}

    def _lay_out(self) -> None:
        """Give every panel its place, and write titles, claim and caption."""
        key = [t["name"] for t in self.data if t.get("showlegend")]
        self.layout["showlegend"] = bool(key)
        panels = Panels(
            self.panels,
            self.high,
            over=self._over,
            foot=self._foot,
            key=key,
            bar=self._bar,
            whole=None if self.look.figsize is None else self.look.figsize[1] * PIXELS,
        )
        arranged = [
            panels.arranged(worded(self._shown, self.look, self._notes, across.width), across)
            for across in self._across()
        ]
        for path in arranged[0]:
            self.vary(path, [a[path] for a in arranged])
        if self._width is not None:
            self.layout["width"] = self._width
