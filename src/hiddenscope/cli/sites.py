"""``hiddenscope sites``: every site of a model, without running a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hiddenscope.cli import terminal
from hiddenscope.cli.options import Format

if TYPE_CHECKING:
    import pandas as pd


def command(
    model: Annotated[
        str,
        typer.Argument(help="'demo', a local folder, a .gguf file, or a name on the hub."),
    ] = "demo",
    sites: Annotated[str, typer.Option(help="Sites and patterns, with commas between.")] = "all",
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.TABLE,
) -> None:
    """List the sites of a model: name, index in Hugging Face's tuple, width, module, readers.

    `read by` names the linear layers whose input is bitwise the site's state, as the model with its
    head calls them.
    """
    from hiddenscope.measuring import choose_sites, site_table
    from hiddenscope.models import find_structure, load
    from hiddenscope.sites import check_patterns
    from hiddenscope.words import missing_words

    check_patterns(sites)
    loaded = load(model, revision=revision, trust_remote_code=trust_remote_code)
    structure = find_structure(loaded.model, loaded.outer)
    table = site_table(structure, choose_sites(sites, structure))
    if format is Format.JSON:
        typer.echo(table.to_json(orient="records", indent=2))
    elif format is Format.CSV:
        typer.echo(table.to_csv(index=False), nl=False)
    else:
        _print(table)
        for stream in structure.streams:
            typer.echo(f"{stream.name}: {len(stream.blocks)} blocks, {stream.found}")
            for point, why in stream.refusals().items():
                typer.echo(f"  no {point} in some blocks: {why}")
        said = missing_words(structure.linear.missing)
        for words in (*said, *filter(None, [structure.linear.head])):
            typer.echo(words)


def _in_short(names: str) -> str:
    """Write names of one parent as a shell would: ``self_attn.{q_proj,k_proj,v_proj}``."""
    parts = [name.rpartition(".") for name in names.split()]
    if len(parts) < 2 or len({parent for parent, *_ in parts}) > 1:
        return names
    return f"{parts[0][0]}.{{{','.join(last for *_, last in parts)}}}"


def _print(table: pd.DataFrame) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns = [name for name in table.columns if name != "stream" or table["stream"].nunique() > 1]
    for name in columns:
        right = name in {"HF", "width"}
        shown.add_column(name, justify="right" if right else "left", overflow="fold")
    table = table.assign(**{"read by": table["read by"].map(_in_short)})
    for row in table[columns].itertuples(index=False):
        shown.add_row(*(escape("–" if value == -1 else str(value)) for value in row))
    terminal.console().print(shown)
