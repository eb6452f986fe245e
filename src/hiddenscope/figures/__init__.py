"""Figures in two steps: tables and words are prepared, then drawn.

`prepare` needs no library that draws. Every figure is made to be printed at 80 mm, or at 175 mm
where it has several panels; no text is smaller than 5 pt there. A drawing computes nothing: what
it shows can be had as a table.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hiddenscope.errors import FigureError
from hiddenscope.figures.look import Look
from hiddenscope.figures.saving import SUFFIXES, check_path, is_page, save

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from hiddenscope.figures.prepared import Prepared

KINDS = (
    *("histogram", "ridge", "depth", "norms", "positions", "scatter"),
    *("covariance", "r2", "wing", "outliers", "compare_views"),
)
"""Every figure: a module here prepares it, one of the same name in `matplotlib` draws that, and one
in `plotly`, where there is one, draws it to be explored."""


def _preparer(kind: str) -> Any:
    if kind not in KINDS:
        msg = f"there is no figure {kind!r}: choose one of {', '.join(KINDS)}"
        raise FigureError(msg)
    return importlib.import_module(f"hiddenscope.figures.{kind}").prepare


LOOK = tuple(field.name for field in fields(Look))
"""How a figure is to look: options that every kind takes."""


def options(kind: str) -> tuple[str, ...]:
    """Return the names of the options that a figure takes, those in `LOOK` last.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    return tuple(signature(kind).parameters)


def signature(kind: str) -> inspect.Signature:
    """Return how ``p.plot.<kind>`` is called.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    _, *own = inspect.signature(_preparer(kind)).parameters.values()
    return inspect.Signature([*own, *inspect.signature(Look).parameters.values()])


def describe(kind: str) -> str:
    """Return the documentation of a figure and its options.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    preparer = _preparer(kind)
    text = (inspect.getdoc(preparer) or "").replace("tree : DataTree\n", "")
    look = inspect.getdoc(Look) or ""
    _, _, options_of_look = look.partition("----------\n")
    example = f">>> p.plot.{kind}(view='all', figsize=(8, 5)).savefig('{kind}.png')"
    return (
        f"{text}\n{options_of_look}\n\n"
        "Returns\n-------\nFigure\n    It shows itself in a notebook; its axes are ``fig.axes``."
        f"\n\nExamples\n--------\n{example}\n"
    )


def summary(kind: str) -> str:
    """Say in a line what a figure shows.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    return (inspect.getdoc(_preparer(kind)) or "").partition("\n")[0]


def prepare(kind: str, tree: xr.DataTree, *views: str, **chosen: Any) -> Prepared:
    """Compute all that a figure shows: tables, scales, title, claim and caption.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    tree : DataTree
        A profile's tree (``p.dataset``) or one of its streams.
    *views : str
        Of a figure that compares views.
    **chosen
        Options of the figure (`options`, `describe`) other than its look, such as ``view="all"``
        and ``sites="block.*.resid_post"``. None stands for the default.

    Returns
    -------
    Prepared
        An object of the kind's own class.

    Raises
    ------
    FigureError
        There is no such figure or option, or the profile has nothing to draw it from.
    SiteError, ViewError, InputError
        A site, view or value of an option is unknown.
    """
    preparer, known = _preparer(kind), options(kind)
    unknown = [key for key in chosen if key not in known or key in LOOK]
    if unknown:
        msg = f"the figure {kind!r} has no option {unknown[0]!r}: it takes {', '.join(known)}"
        raise FigureError(msg)
    given = {key: value for key, value in chosen.items() if value is not None}
    prepared: Prepared = preparer(tree, *views, **given)
    return prepared


def draw(kind: str, tree: xr.DataTree, *views: str, **chosen: Any) -> Any:
    """Draw a figure of a profile with Matplotlib, or with Plotly where it is to be interactive.

    Parameters
    ----------
    kind, tree, *views : str, DataTree, str
        As in `prepare`.
    **chosen
        Options of the figure, and of its look:

        figsize : (float, float), in inches, by default as it is to be printed;
        ax : Axes, to draw a figure of one panel on;
        fig : Figure, SubFigure or as many Axes as the figure has panels, to draw on;
        title, caption : str, or None for none;
        cmap : str or Colormap, the colours of blocks, densities or the matrix;
        highlight : sequence of colours, those of the channels that stand out;
        interactive : bool, for a figure of Plotly.

        What Matplotlib's ``rcParams`` or a style sets otherwise than by default is respected.

    Returns
    -------
    Figure, or the SubFigure that was given, or ``plotly.graph_objects.Figure``
        It shows itself in a notebook; `save` or ``savefig`` writes it. Its axes are ``fig.axes``.

    Raises
    ------
    FigureError, SiteError, ViewError, InputError
        As in `prepare`; or it cannot be drawn where it should.
    """
    styled = {key: chosen.pop(key) for key in LOOK if key in chosen}
    return _drawn(kind, prepare(kind, tree, *views, **chosen), styled)


def draw_series(table: xr.Dataset, model: str, column: str = "std", **look: Any) -> Figure:
    """Draw a column of several profiles side by side.

    Parameters
    ----------
    table : Dataset[site, step]
        As `hiddenscope.analysis.side_by_side` returns it.
    model : str
        How they are called together.
    column : str
    **look
        As in `draw`.

    Raises
    ------
    FigureError
        There is no such column or option, or it cannot be drawn where it should.
    """
    unknown = [key for key in look if key not in LOOK]
    if unknown:
        msg = f"a series has no option {unknown[0]!r}: it takes {', '.join(LOOK)}"
        raise FigureError(msg)
    prepared = importlib.import_module("hiddenscope.figures.steps").prepare(table, model, column)
    figure: Figure = _drawn("steps", prepared, look)
    return figure


def plotly_figure(kind: str, prepared: Prepared, look: Look | None = None) -> dict[str, Any]:
    """Draw for Plotly what was prepared, without importing Plotly.

    Parameters
    ----------
    kind : str
        Of the figure.
    prepared : Prepared
        As `prepare` returns it.
    look : Look, optional
        Without `ax` and `fig`.

    Returns
    -------
    dict
        ``data`` and ``layout`` as Plotly's JavaScript takes them, arrays as base64. The layout
        fixes no colour of text or background; its ``meta`` holds what ``Plotly.relayout`` takes
        on a screen from so many pixels' width on.

    Raises
    ------
    FigureError
        Nobody has drawn this figure for Plotly, or it cannot look so.
    """
    module = f"hiddenscope.figures.plotly.{kind}"
    if importlib.util.find_spec(module) is None:
        msg = f"the figure {kind!r} has no interactive drawing: leave out interactive"
        raise FigureError(msg)
    made: dict[str, Any] = importlib.import_module(module).draw(prepared, look or Look())
    return made


def _drawn(kind: str, prepared: Prepared, options: dict[str, Any]) -> Any:
    look = Look(**options)
    if look.interactive:
        made = plotly_figure(kind, prepared, look)
        return importlib.import_module("plotly.graph_objects").Figure(made)
    # Imports Matplotlib.
    place = "hiddenscope.figures.matplotlib"
    checked, style, drawing = (
        importlib.import_module(f"{place}.{name}") for name in ("checked", "style", kind)
    )
    chosen = checked.checked(look)
    with style.styled():
        return drawing.draw(prepared, chosen).figure


__all__ = [
    "KINDS",
    "LOOK",
    "SUFFIXES",
    "check_path",
    "describe",
    "draw",
    "draw_series",
    "is_page",
    "options",
    "plotly_figure",
    "prepare",
    "save",
    "signature",
    "summary",
]
