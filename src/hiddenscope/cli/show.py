"""``hiddenscope show``: a profile as a table, and its checks."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hiddenscope.cli import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hiddenscope.profiles import Profile

_BARS = " ▁▂▃▄▅▆▇█"
_SPARK_BINS = 16
_DECADES = 6


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def command(
    profile: Annotated[
        Path | None,
        typer.Argument(help="A profile.nc or a run's folder.", show_default="the newest run"),
    ] = None,
    view: Annotated[
        str, typer.Option(help="Tokens to speak of: rest, all, first, first+special, …")
    ] = "rest",
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.TABLE,
) -> None:
    """Show a profile: a row a site, and the checks."""
    from rich.console import Console

    from hiddenscope.profiles import Profile

    made = Profile.open(runs.find(profile))
    if format is Format.TABLE:
        print_profile(made, view, Console(highlight=False))
    elif format is Format.CSV:
        typer.echo(made.moments(view).to_csv(), nl=False)
    else:
        table = made.moments(view)
        rows = json.loads(table.reset_index().to_json(orient="records", double_precision=15))
        typer.echo(
            json.dumps(
                {
                    "view": view,
                    "tokens": made.tokens,
                    "sites": rows,
                    "checks": made.checks,
                    "manifest": made.manifest,
                },
                ensure_ascii=False,
                indent=2,
            )
        )


def print_profile(made: Profile, view: str, console: Console) -> None:
    """Print the table by site and the checks."""
    from rich.markup import escape
    from rich.table import Table

    manifest = made.manifest
    name, corpus = manifest["model"]["name"], manifest["corpus"]["name"]
    table = Table(
        title=f"[bold]{escape(name)}[/bold] on {escape(corpus)}",
        caption=escape(made.caption(view)),
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column("site", no_wrap=True, vertical="bottom")
    for column in ("HF", "tokens", "std", "min", "max", "excess\nkurtosis"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("log density\n−max … +max", no_wrap=True)
    moments = made.moments(view)
    for site, row in moments.iterrows():
        table.add_row(
            str(site),
            "–" if row["hf_index"] < 0 else f"{int(row['hf_index'])}",
            _count(int(row["tokens"])),
            *(_number(row[c]) for c in ("std", "min", "max", "excess_kurtosis")),
            _spark(made, str(site), view, row["min"], row["max"]),
        )
    console.print(table)
    console.print()
    for check in made.checks:
        mark, style = ("✓", "green") if check["passed"] else ("✗", "bold red")
        if check["level"] == "note":
            mark, style = ("·", "dim")
        elif check["level"] == "warning" and not check["passed"]:
            mark, style = ("!", "yellow")
        console.print(f"[{style}]{mark}[/] {escape(check['name'])}: {escape(check['detail'])}")


def _count(tokens: int) -> str:
    return f"{tokens:,}" if tokens < 10_000_000 else f"{tokens / 1e6:,.1f}M"


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN
        return "–"
    digits = 3
    magnitude = abs(value)
    if magnitude and not 1e-3 <= magnitude < 1e5:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}" if magnitude < 100 else f"{value:,.0f}"


def _spark(made: Profile, site: str, view: str, low: float, high: float) -> str:
    if not low < high:
        return ""
    reach = max(abs(low), abs(high))
    counts = made.histogram(
        _SPARK_BINS, range=(-reach * 1.01, reach * 1.01), view=view, sites=[site]
    ).values[0]
    return sparkline(counts.tolist())


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts in characters, their height logarithmic over six decades."""
    from math import log10

    top = max(counts)
    marks = []
    for count in counts:
        height = 1 + log10(count / top) / _DECADES if count else 0.0
        marks.append(_BARS[0] if not count else _BARS[max(1, round(height * (len(_BARS) - 1)))])
    return "".join(marks)
