"""``hiddenscope claims``: published statements about hidden states, judged by a profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hiddenscope.cli import options, runs, terminal
from hiddenscope.cli.options import Format

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


def command(
    profile: options.Profile = None,
    view: options.View = "rest",
    stream: options.StreamName = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .csv, .json or .parquet file.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.TABLE,
) -> None:
    """Judge published statements about hidden states by a profile: what holds here."""
    from hiddenscope.cli import tables
    from hiddenscope.profiles import Profile, overview

    tables.check_output(output, format)
    made = Profile.open(runs.find(profile))
    if stream is not None:
        made = made.on(stream)
    table = made.table("claims", view)
    if output is not None or format is not Format.TABLE:
        tables.hand_over(table, output, format)
        return
    console = terminal.console()
    console.print(overview.title(made), style="bold", markup=False)
    console.print(made.caption(view), markup=False)
    print_claims(table, console)


def print_claims(table: pd.DataFrame, console: Console) -> None:
    """Print claims by source: a mark, the statement, and below it the numbers."""
    from rich.table import Table
    from rich.text import Text

    from hiddenscope.analysis import verdicts
    from hiddenscope.words import visible

    marks = {
        verdicts.HOLDS: ("✓", "green"),
        verdicts.FAILS: ("✗", "red"),
        verdicts.UNTOLD: ("?", "yellow"),
    }
    for source, part in table.groupby(table["source"].map(verdicts.authors), sort=False):
        console.print()
        console.print(str(source), style="bold", markup=False)
        shown = Table.grid(padding=(0, 1, 0, 0))
        for row in part.itertuples():
            mark, style = marks[str(row.verdict)]
            told = "" if row.verdict == verdicts.HOLDS else f" ({row.verdict})"
            finding = f"\n{visible(str(row.finding))}"
            words = Text.assemble(str(row.statement), (told, style), (finding, "dim"))
            shown.add_row(Text(terminal.shown(mark), style), words)
        console.print(shown)
