"""``hiddenscope plot``: one figure of a profile, or all of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from hiddenscope.cli import options, runs
from hiddenscope.progress import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

ALL = "all"
ORDER = "hiddenscope plot [PROFILE] KIND, such as `hiddenscope plot runs/demo-001 histogram`"


EVERY = "--title, --caption, --figsize, --cmap, --highlight"


class PlotCommand(TyperCommand):
    """Lists the figures in its help; what they take is looked up only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with a paragraph for each figure."""
        from hiddenscope import figures

        lines = [f"{kind}: {figures.summary(kind)} {_flags(kind)}" for kind in figures.KINDS]
        lines.append(f"Every figure: {EVERY}.")
        self.epilog = "\n\n".join(lines)
        super().format_help(ctx, formatter)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flags(kind: str) -> str:
    """List the options of a figure that the command has, but for those that every figure takes."""
    from hiddenscope import figures

    ours = {name.rstrip("_") for name in inspect.signature(command).parameters} - {*figures.LOOK}
    return ", ".join(_flag(name) for name in figures.options(kind) if name in ours)


def command(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[PROFILE] KIND",
            help="A profile.nc or a run's folder (by default the newest run), and the figure: "
            "one of those below, or all.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A .png, .svg or .pdf file, or an .html file to zoom and point at; of all "
            "figures a folder.",
            show_default="KIND.png, figures",
        ),
    ] = None,
    view: options.View = "rest",
    against: Annotated[
        str | None, typer.Option(help="The other view of compare_views.", show_default="first")
    ] = None,
    sites: options.Sites = None,
    stream: options.StreamName = None,
    bins: Annotated[int | None, typer.Option(help="Bins of a histogram.")] = None,
    x: Annotated[
        str | None,
        typer.Option(help="x axis: linear or asinh; of the ridge also sigma, of positions log."),
    ] = None,
    norm: Annotated[str | None, typer.Option(help="l2, or linf: the largest magnitude.")] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="LOW,HIGH", help="Range of the axis of activations, or of colours."
        ),
    ] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--no-log", help="Logarithmic counts or magnitudes.")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Channels to number, with commas between.")
    ] = None,
    without: Annotated[
        str | None, typer.Option(help="Channels to leave out of R², with commas between.")
    ] = None,
    massive: options.Massive = None,
    ratio: options.Ratio = None,
    outlier: options.Outlier = None,
    site_share: options.SiteShare = None,
    token_share: options.TokenShare = None,
    title: Annotated[
        str | None, typer.Option(help="Instead of the figure's own; '' for none.")
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="Instead of the figure's own; '' for none.")
    ] = None,
    figsize: Annotated[str | None, typer.Option(metavar="WIDTH,HEIGHT", help="In inches.")] = None,
    cmap: Annotated[str | None, typer.Option(help="A colour map of Matplotlib.")] = None,
    highlight: Annotated[
        str | None, typer.Option(help="Colours of channels that stand out, with commas between.")
    ] = None,
) -> None:
    """Draw one figure of a profile, or all."""
    from hiddenscope import figures
    from hiddenscope.errors import FigureError
    from hiddenscope.profiles import Profile

    kind = arguments[-1]
    if len(arguments) > 2:
        msg = f"expected {ORDER}; got {len(arguments)} arguments: {' '.join(arguments)}"
        raise FigureError(msg)
    if kind not in {*figures.KINDS, ALL}:
        if arguments[0] in {*figures.KINDS, ALL}:
            msg = f"the figure comes last: {ORDER}"
            raise FigureError(msg)
        msg = f"there is no figure {kind!r}: choose one of {', '.join(figures.KINDS)} or {ALL}"
        raise FigureError(msg)
    asked: dict[str, Any] = {
        "view": view,
        "against": against,
        "sites": sites,
        "bins": bins,
        "x": x,
        "norm": norm,
        "range": _numbers("--range", range_, float),
        "log": log,
        "channels": _numbers("--channels", channels, int),
        "massive": massive,
        "ratio": ratio,
        "outlier": outlier,
        "site_share": site_share,
        "token_share": token_share,
        "without": _numbers("--without", without, int),
        "figsize": _numbers("--figsize", figsize, float),
        "cmap": cmap,
        "highlight": highlight.split(",") if highlight else None,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    # An empty text is none.
    given |= {
        key: v or None for key, v in (("title", title), ("caption", caption)) if v is not None
    }
    if kind != ALL:
        strange = next((name for name in given if name not in figures.options(kind)), None)
        if strange is not None:
            msg = (
                f"the figure {kind!r} takes no {_flag(strange)}: it takes {_flags(kind)}; "
                f"every figure takes {EVERY}"
            )
            raise FigureError(msg)
        target = figures.check_path(output if output is not None else Path(f"{kind}.png"))
        given["interactive"] = figures.is_page(target)
    made = Profile.open(runs.find(Path(arguments[0]) if len(arguments) == 2 else None))
    if stream is not None:
        made = made.on(stream)
    if kind != ALL:
        typer.echo(str(figures.save(figures.draw(kind, made.stream, **given), target)))
        return
    with Meter(lines=False) as meter:
        drawn, refused = draw_all(made.stream, output or Path("figures"), given, meter.show)
    for reason in refused:
        typer.echo(reason, err=True)
    for path in drawn:
        typer.echo(str(path))
    if not drawn:
        raise FigureError(refused[0])


def draw_all(
    tree: xr.DataTree,
    folder: Path,
    chosen: dict[str, Any],
    tell: Callable[[str, int, int, str], None] | None = None,
) -> tuple[list[Path], list[str]]:
    """Write every figure; return their files, and why there is none of some.

    Parameters
    ----------
    tree : DataTree
    folder : Path
    chosen : dict
        Options: each figure gets those that it takes.
    tell : callable, optional
        Told before each figure what is being done, how many are done, of how many, and which.
    """
    from hiddenscope import figures
    from hiddenscope.errors import FigureError

    drawn, refused = [], []
    for n, kind in enumerate(figures.KINDS):
        if tell is not None:
            tell("drawing", n, len(figures.KINDS), kind)
        own = {key: value for key, value in chosen.items() if key in figures.options(kind)}
        try:
            figure = figures.draw(kind, tree, **own)
        except FigureError as error:
            refused.append(f"no figure {kind}: {error}")
            continue
        drawn.append(figures.save(figure, folder / f"{kind}.png"))
    return drawn, refused


def _numbers(option: str, text: str | None, kind: type[int | float]) -> tuple[Any, ...] | None:
    from hiddenscope.errors import FigureError

    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        what = "channel numbers" if kind is int else "numbers"
        msg = f"{option} takes {what} with commas between, got {text!r}"
        raise FigureError(msg) from None
