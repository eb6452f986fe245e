"""One HTML page that shows a profile and explains itself: no network, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.atomic import replacing
from hiddenscope.report.render import render

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


def save(tree: xr.DataTree, path: Path, plotlyjs: str = "inline") -> Path:
    """Write the page of a profile; a file that is there stays until the new one is complete.

    Parameters
    ----------
    tree, plotlyjs : DataTree, str
        As in `render`.
    path : Path

    Raises
    ------
    InputError
        As in `render`.
    OutputError
        The place cannot be written.
    """
    page = render(tree, plotlyjs)
    with replacing(path, "the report") as made:
        made.write_text(page, encoding="utf-8", newline="\n")
    return path


__all__ = ["render", "save"]
