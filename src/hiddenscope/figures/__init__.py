"""Figures in two steps: tables and words are prepared, then drawn.

`prepare` needs no library that draws. Every figure is made to be printed at 80 mm, or at 175 mm
where it has several panels; no text is smaller than 5 pt there. A drawing computes nothing: what
it shows can be had as a table.
"""

from __future__ import annotations

import importlib
import inspect
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiddenscope.errors import FigureError, OutputError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from hiddenscope.figures.prepared import Prepared

KINDS = ("histogram", "ridge", "depth", "scatter", "covariance", "r2", "wing", "outliers")
"""Every figure: a module here prepares it, one of the same name in `matplotlib` draws that."""

SUFFIXES = (".png", ".svg", ".pdf")


def _preparer(kind: str) -> Any:
    if kind not in KINDS:
        msg = f"there is no figure {kind!r}: choose one of {', '.join(KINDS)}"
        raise FigureError(msg)
    return importlib.import_module(f"hiddenscope.figures.{kind}").prepare


def options(kind: str) -> tuple[str, ...]:
    """Return the names of the options that a figure takes.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    parameters = inspect.signature(_preparer(kind)).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def describe(kind: str) -> str:
    """Return the documentation of a figure and its options.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    return inspect.getdoc(_preparer(kind)) or ""


def prepare(kind: str, tree: xr.DataTree, **chosen: Any) -> Prepared:
    """Compute all that a figure shows: tables, scales, title, claim and caption.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    tree : DataTree
        A profile's tree (``p.dataset``) or one of its streams.
    **chosen
        Options of the figure (`options`, `describe`), such as ``view="all"`` and
        ``sites="block.*.resid_post"``. None stands for the default.

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
    given = {key: value for key, value in chosen.items() if value is not None}
    unknown = [key for key in given if key not in known]
    if unknown:
        msg = f"the figure {kind!r} has no option {unknown[0]!r}: it takes {', '.join(known)}"
        raise FigureError(msg)
    prepared: Prepared = preparer(tree, **given)
    return prepared


def draw(kind: str, tree: xr.DataTree, **chosen: Any) -> Figure:
    """Draw a figure of a profile with Matplotlib.

    Parameters
    ----------
    kind, tree, **chosen
        As in `prepare`.

    Returns
    -------
    Figure
        It shows itself in a notebook; `save` or ``savefig`` writes it.

    Raises
    ------
    FigureError, SiteError, ViewError, InputError
        As in `prepare`.
    """
    prepared = prepare(kind, tree, **chosen)
    # Imports Matplotlib.
    module = importlib.import_module(f"hiddenscope.figures.matplotlib.{kind}")
    style = importlib.import_module("hiddenscope.figures.matplotlib.style")
    with style.styled():
        figure: Figure = module.draw(prepared)
    return figure


def check_path(path: str | Path) -> Path:
    """Refuse a file that no figure can be written as, before one is drawn.

    Raises
    ------
    FigureError
        The suffix is not one of ``.png``, ``.svg`` and ``.pdf``.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        msg = f"cannot save a figure as {target.name!r}: end its name in {', '.join(SUFFIXES)}"
        raise FigureError(msg)
    return target


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG (300 dpi), SVG (text stays text) or PDF, by the file's suffix.

    The same figure gives the same bytes. It is written beside its place and then renamed, so a
    file that is there already is replaced atomically.

    Raises
    ------
    FigureError
        The suffix is not one of ``.png``, ``.svg`` and ``.pdf``.
    OutputError
        The place cannot be written.
    """
    target = check_path(path)
    held = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, held = tempfile.mkstemp(
            suffix=target.suffix.lower(), prefix=".figure-", dir=target.parent
        )
        os.close(handle)
        Path(held).chmod(0o644)
        figure.savefig(held)
        Path(held).replace(target)
    except OSError as error:
        msg = f"cannot write the figure {str(target)!r}: {error.strerror or error}"
        raise OutputError(msg) from error
    finally:
        if held is not None:
            Path(held).unlink(missing_ok=True)
    return target


__all__ = ["KINDS", "SUFFIXES", "check_path", "describe", "draw", "options", "prepare", "save"]
