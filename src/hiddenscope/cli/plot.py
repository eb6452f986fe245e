"""``hiddenscope plot``: one figure of a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hiddenscope.cli import runs


def command(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[PROFILE] KIND",
            help="A profile.nc or a run's folder (by default the newest run), and the figure: "
            "histogram, ridge, depth, scatter, covariance, r2, wing or outliers.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A .png, .svg or .pdf file.", show_default="KIND.png"),
    ] = None,
    view: Annotated[
        str, typer.Option(help="Tokens to show: rest, all, first, first+special, …")
    ] = "rest",
    sites: Annotated[
        str | None, typer.Option(help="Sites and patterns, with commas between.")
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(help="decoder, mlp_act, …", show_default="the residual stream, or the first"),
    ] = None,
    bins: Annotated[int | None, typer.Option(help="Bins of a histogram.")] = None,
    x: Annotated[
        str | None, typer.Option(help="x axis: linear or asinh; of the ridge also sigma.")
    ] = None,
    without: Annotated[
        str | None, typer.Option(help="Channels to leave out of R², with commas between.")
    ] = None,
) -> None:
    """Draw one figure of a profile."""
    from hiddenscope import figures
    from hiddenscope.errors import FigureError
    from hiddenscope.profiles import Profile

    if len(arguments) > 2:
        msg = f"expected [PROFILE] KIND, got {len(arguments)} arguments: {' '.join(arguments)}"
        raise FigureError(msg)
    kind = arguments[-1]
    figures.options(kind)
    target = figures.check_path(output if output is not None else Path(f"{kind}.png"))
    made = Profile.open(runs.find(Path(arguments[0]) if len(arguments) == 2 else None))
    if stream is not None:
        made = made.on(stream)
    options = {"sites": sites, "bins": bins, "x": x, "without": _channels(without)}
    figure = figures.draw(kind, made.stream, view=view, **options)
    typer.echo(str(figures.save(figure, target)))


def _channels(without: str | None) -> tuple[int, ...] | None:
    from hiddenscope.errors import FigureError

    if without is None:
        return None
    try:
        return tuple(int(part) for part in without.split(",") if part.strip())
    except ValueError:
        msg = f"--without takes channel numbers with commas between, got {without!r}"
        raise FigureError(msg) from None
