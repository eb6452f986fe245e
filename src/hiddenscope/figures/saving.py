"""Writing a figure to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hiddenscope.atomic import replacing
from hiddenscope.errors import FigureError

if TYPE_CHECKING:
    from typing import Any

INTERACTIVE = ".html"
SUFFIXES = (".png", ".svg", ".pdf", INTERACTIVE)
FIT = """
const figure = document.getElementById("{plot_id}"), { meta, width = Infinity } = figure.layout;
const screens = Object.keys(meta), most = Math.min(window.innerWidth, width);
Plotly.relayout(figure, meta[screens.findLast((s) => s <= most) ?? screens[0]]);
"""


def is_page(path: str | Path) -> bool:
    """Say whether a file of this name holds an interactive figure."""
    return Path(path).suffix.lower() == INTERACTIVE


def check_path(path: str | Path) -> Path:
    """Refuse a file that no figure can be written as, before one is drawn.

    Raises
    ------
    FigureError
        The suffix is not one of ``.png``, ``.svg``, ``.pdf`` and ``.html``.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        msg = f"cannot save a figure as {target.name!r}: end its name in {', '.join(SUFFIXES)}"
        raise FigureError(msg)
    return target


def save(figure: Any, path: str | Path) -> Path:
    """Write a figure as PNG (300 dpi), SVG (text stays text), PDF or HTML, by the file's suffix.

    The same figure gives the same bytes. It is written beside its place and then renamed, so a
    file that is there already is replaced atomically. An HTML file needs no network.

    Parameters
    ----------
    figure : Figure
        Of Matplotlib; for HTML, and only for that, of Plotly.
    path : str or path

    Raises
    ------
    FigureError
        The suffix is not one of ``.png``, ``.svg``, ``.pdf`` and ``.html``, or not one for this
        figure.
    OutputError
        The place cannot be written.
    """
    target = check_path(path)
    interactive = hasattr(figure, "write_html")
    if interactive != is_page(target):
        others = [suffix for suffix in SUFFIXES if is_page(f"x{suffix}") == interactive]
        kind = "an interactive figure" if interactive else "a figure of Matplotlib"
        msg = f"{target.name!r} cannot hold {kind}: end its name in {', '.join(others)}"
        raise FigureError(msg)
    with replacing(target, "the figure") as made:
        if interactive:
            figure.write_html(made, div_id="figure", post_script=FIT)
        else:
            figure.savefig(made)
    return target
