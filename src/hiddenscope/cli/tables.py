"""Tables on a terminal and in files."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import typer

from hiddenscope.atomic import replacing
from hiddenscope.cli.options import Format
from hiddenscope.errors import OutputError
from hiddenscope.words import number, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from rich.console import Console

SUFFIXES = (".csv", ".json", ".parquet")
LONGEST = 48
"""Characters of a text in a cell before another cell; longer ones lose their middle."""


def as_csv(table: pd.DataFrame) -> str:
    """Write a table as CSV."""
    return flat(table).to_csv(index=False)


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """Write what a cell holds by name as JSON, for what knows only numbers and texts."""
    return table.map(
        lambda value: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    )


def as_json(table: pd.DataFrame) -> str:
    """Write a table as a list of records."""
    return json.dumps(records(table), ensure_ascii=False, indent=2)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, every digit kept; what is missing is None."""
    plain = table.astype(object)
    rows = plain.where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def check_path(path: Path) -> Path:
    """Refuse a file that no table can be written as, before one is made.

    Raises
    ------
    OutputError
        Its suffix is unknown, or a library for it is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        msg = f"cannot save a table as {path.name!r}: end its name in {', '.join(SUFFIXES)}"
        raise OutputError(msg)
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        msg = "Parquet needs pyarrow: pip install 'hiddenscope[parquet]', or save as .csv"
        raise OutputError(msg)
    return path


def write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, JSON or Parquet, by the file's suffix, atomically.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    suffix = check_path(path).suffix.lower()
    with replacing(path, "the table") as made:
        if suffix == ".parquet":
            flat(table).to_parquet(made, index=False)
        else:
            text = as_csv(table) if suffix == ".csv" else as_json(table) + "\n"
            made.write_text(text, encoding="utf-8")
    return path


def check_output(output: Path | None, format: Format) -> None:
    """Refuse where a table cannot go, before one is made.

    Raises
    ------
    OutputError
        Parquet would be printed; or as `check_path`.
    """
    if output is not None:
        check_path(output)
    elif format is Format.PARQUET:
        msg = "Parquet is not printed: add -o table.parquet"
        raise OutputError(msg)


def hand_over(table: pd.DataFrame, output: Path | None, format: Format) -> None:
    """Write a table to a file and print its name, or print it as CSV or JSON.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    if output is not None:
        typer.echo(str(write(table, output)))
    else:
        typer.echo(as_csv(table) if format is Format.CSV else as_json(table) + "\n", nl=False)


def show(table: pd.DataFrame, console: Console) -> None:
    """Print a table: columns that do not fit are left out and named; piped output has all."""
    plain = flat(table)
    columns = {str(name): [cell(value) for value in plain[name].tolist()] for name in plain}
    # A long text at the end of a line is in nobody's way.
    for name in list(columns)[:-1]:
        columns[name] = [shorten(text, LONGEST) for text in columns[name]]
    kept = list(columns)
    if console.is_terminal:
        kept = fitting(
            {name: max(map(len, [name, *cells])) for name, cells in columns.items()}, console.width
        )
    print_columns({name: columns[name] for name in kept}, _right(table), console)
    if left := [name for name in columns if name not in kept]:
        words = f"more columns: {', '.join(left)} (-o table.csv)"
        console.print(words, style="dim", markup=False)


def fitting(widths: dict[str, int], room: int, gap: int = 2) -> list[str]:
    """Return the columns, from the left, that fit beside each other with a gap between."""
    kept: list[str] = []
    used = 0
    for name, width in widths.items():
        used += width + gap * bool(kept)
        if used > room and kept:
            break
        kept.append(name)
    return kept


def print_columns(columns: dict[str, list[str]], right: Sequence[str], console: Console) -> None:
    """Print columns of texts, a header above each; nothing is wrapped."""
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for n, row in enumerate(rows):
        cells = [
            text.rjust(wide) if name in right else text.ljust(wide)
            for name, text, wide in zip(columns, row, widths, strict=True)
        ]
        line = "  ".join(cells).rstrip()
        console.print(line, style="bold" if not n else None, markup=False, soft_wrap=True)


def _right(table: pd.DataFrame) -> list[str]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return [
        str(name)
        for name in table
        if is_numeric_dtype(table[name]) and not is_bool_dtype(table[name])
    ]


def cell(value: Any) -> str:
    """Write one value; numbers with three digits, texts on one line without control characters."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        whole = value == value and value.is_integer() and abs(value) < 1e15  # noqa: PLR0124 - NaN
        return f"{int(value):,}" if whole else number(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value is None else visible(str(value))
