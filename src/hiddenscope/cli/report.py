"""``hiddenscope report``: one HTML page of a profile."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hiddenscope.cli import options, runs


class Plotlyjs(StrEnum):
    """Where the page has Plotly's script from."""

    INLINE = "inline"
    CDN = "cdn"


def command(
    profile: options.Profile = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html file to write.")] = Path(
        runs.REPORT
    ),
    stream: options.StreamName = None,
    plotlyjs: Annotated[
        Plotlyjs,
        typer.Option(help="Plotly's script in the page (5 MB), or from the network when it opens."),
    ] = Plotlyjs.INLINE,
) -> None:
    """Write one HTML page that shows a profile, explains itself and needs no network."""
    from hiddenscope.profiles import Profile

    made = Profile.open(runs.find(profile))
    if stream is not None:
        made = made.on(stream)
    typer.echo(str(made.report(output, plotlyjs=plotlyjs.value)))
