"""``hiddenscope show``: a profile as a table, and its checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hiddenscope.cli import options, runs, terminal
from hiddenscope.cli.options import Format

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hiddenscope.profiles import Profile

ALL = "all"
LEFT_OUT = ("excess kurtosis", "HF", "histogram")
"""Columns of the table by site that a narrow terminal goes without, the last one first."""


def command(
    profile: options.Profile = None,
    view: options.View = "rest",
    sites: options.Sites = None,
    stream: Annotated[
        str | None,
        typer.Option(help="decoder, mlp_act, …", show_default="every stream with a trunk"),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="One table: sites, channels, outliers, extremes, norms, positions, claims, checks "
            "or manifest; all of them with -o FOLDER.",
        ),
    ] = None,
    site: Annotated[str | None, typer.Option(help="The same as --sites.", hidden=True)] = None,
    top: Annotated[int | None, typer.Option(help="Only the first rows of a table.")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Largest magnitude first.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A .csv, .json or .parquet file, or a folder."),
    ] = None,
    massive: options.Massive = None,
    ratio: options.Ratio = None,
    outlier: options.Outlier = None,
    site_share: options.SiteShare = None,
    token_share: options.TokenShare = None,
    format: Annotated[
        Format, typer.Option(help="How to print, and how files in a folder are written.")
    ] = Format.TABLE,
) -> None:
    """Show a profile: a table by site, and the checks; or any of its tables."""
    from hiddenscope import analysis
    from hiddenscope.cli import tables
    from hiddenscope.profiles import Profile

    sites = sites or site
    _check(table, output, format, top=top, sort=sort)
    made = Profile.open(runs.find(profile))
    if stream is not None:
        made = made.on(stream)
    console = terminal.console()
    given = {
        "massive": massive,
        "ratio": ratio,
        "outlier": outlier,
        "site_share": site_share,
        "token_share": token_share,
    }
    thresholds = {key: value for key, value in given.items() if value is not None}
    if table == ALL:
        suffix = ".csv" if format is Format.TABLE else f".{format}"
        tables.check_path(Path(f"any{suffix}"))
        for name in analysis.TABLES:
            whole = analysis.table(made.stream, name, view, sites, top=top, thresholds=thresholds)
            assert output is not None
            typer.echo(str(tables.write(whole, output / f"{name}{suffix}")))
        return
    if table is None and output is None:
        if format is Format.TABLE:
            print_profile(made, view, console, sites, thresholds, alone=stream is not None)
        else:
            _write_whole(made, view, sites, format)
        return
    chosen = analysis.table(
        made.stream, table or "sites", view, sites, sort=sort, top=top, thresholds=thresholds
    )
    if output is None and format is Format.TABLE:
        tables.show(chosen, console)
    else:
        tables.hand_over(chosen, output, format)


def _check(
    table: str | None,
    output: Path | None,
    format: Format,
    *,
    top: int | None,
    sort: str | None,
) -> None:
    """Refuse what cannot be shown, before a profile is read."""
    from hiddenscope import analysis
    from hiddenscope.cli import tables
    from hiddenscope.errors import InputError

    msg = ""
    if table is not None and table not in {*analysis.TABLES, ALL}:
        msg = f"there is no table {table!r}: choose one of {', '.join(analysis.TABLES)} or {ALL}"
    elif table == ALL and sort is not None:
        msg = "--sort goes with one table, not with all of them"
    elif table == ALL and output is None:
        msg = "all tables go into a folder: add -o FOLDER"
    elif table is None and output is None and (top is not None or sort is not None):
        option = "sort" if top is None else "top"
        msg = f"--{option} goes with --table, not with the whole profile"
    if msg:
        raise InputError(msg)
    if table != ALL:
        tables.check_output(output, format)


def _write_whole(made: Profile, view: str, sites: str | None, format: Format) -> None:
    from hiddenscope import analysis
    from hiddenscope.cli import tables

    table = made.moments(view)
    if sites is not None:
        table = table.loc[analysis.choose_sites(made.stream, sites)]
    if format is Format.CSV:
        typer.echo(table.to_csv(), nl=False)
        return
    rows = tables.records(table.reset_index())
    held = {"view": view, "stream": made.stream.name, "tokens": made.tokens, "sites": rows}
    held |= {"checks": made.checks, "manifest": made.manifest}
    typer.echo(json.dumps(held, ensure_ascii=False, indent=2))


def print_profile(
    made: Profile,
    view: str,
    console: Console,
    sites: str | None = None,
    thresholds: dict[str, float] | None = None,
    *,
    alone: bool = False,
) -> None:
    """Print the table by site of each stream with a trunk, or of one alone, and the checks."""
    from hiddenscope import analysis
    from hiddenscope.sites import Site

    streams = [made.on(name) for name in made.streams]
    trunks = [s for s in streams if any(Site(name).in_trunk for name in s.sites)]
    for held in [made] if alone or not trunks else trunks:
        if not _tokens_in(held, view):
            filled = ", ".join(f"{n:,} {name}" for name, n in held.tokens.items() if n)
            console.print(f"the view {view!r} holds no tokens: there are {filled}", markup=False)
            continue
        found = held.outliers(view, **(thresholds or {}))
        console.print(_table(held, view, sites, console))
        for words in analysis.outlier_words(found):
            console.print(words, markup=False)
        hidden = len(held.sites) - len(analysis.trunk_sites(held.stream))
        if hidden and sites is None:
            console.print(f"{hidden} more sites: --sites all", style="dim", markup=False)
    others = [str(s.stream.name) for s in streams if s not in trunks]
    if others and not alone and trunks:
        console.print(f"more streams: --stream {', '.join(others)}", style="dim", markup=False)
    console.print()
    print_checks(made, console)


def _tokens_in(made: Profile, view: str) -> int:
    from hiddenscope import analysis

    return sum(made.tokens[name] for name in analysis.strata_of(made.stream).select(view))


def print_checks(made: Profile, console: Console) -> None:
    """Print what a run checked of itself, a line each."""
    from rich.markup import escape

    from hiddenscope.profiles import overview
    from hiddenscope.words import visible

    styles = {"✓": "green", "✗": "bold red", "!": "yellow", "·": "dim"}
    for check in made.checks:
        sign = overview.mark(check)
        words = escape(visible(f"{check['name']}: {check['detail']}"))
        console.print(f"[{styles[sign]}]{terminal.shown(sign)}[/] {words}")


def _table(made: Profile, view: str, sites: str | None, console: Console) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from hiddenscope.cli import tables
    from hiddenscope.profiles import overview
    from hiddenscope.words import visible

    table = Table(
        title=f"[bold]{escape(visible(overview.title(made)))}[/bold]",
        caption=escape(made.caption(view)),
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    rows = overview.rows(made, view, sites)
    columns = {
        name: [name.replace(" ", "\n"), *(row.cells[i] for row in rows)]
        for i, name in enumerate(overview.COLUMNS)
    }
    # The small histograms are drawn in characters that not every terminal has.
    if terminal.can_show(overview.BARS):
        shares = [overview.sparkline(row.counts) for row in rows]
        columns["histogram"] = ["log density\n−max … +max", *shares]
    kept = list(columns)
    if console.is_terminal:
        # On a narrow one the last of these are left out, and no digits.
        order = sorted(columns, key=lambda name: name in LEFT_OUT and LEFT_OUT.index(name) + 1)
        wide = {n: max(len(part) for c in columns[n] for part in c.split("\n")) for n in order}
        kept = [name for name in columns if name in tables.fitting(wide, console.width, gap=1)]
    for name in kept:
        side: Any = "left" if name in {"site", "histogram"} else "right"
        table.add_column(columns[name][0], justify=side, no_wrap=True, vertical="bottom")
    for cells in zip(*(columns[name][1:] for name in kept), strict=True):
        table.add_row(*cells)
    return table
