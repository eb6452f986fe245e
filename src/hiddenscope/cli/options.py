"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How to print a table."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


View = Annotated[str, typer.Option(help="Tokens to speak of: rest, all, first, first+special, …")]
Sites = Annotated[
    str | None,
    typer.Option(help="Sites and patterns, with commas between.", show_default="the trunk"),
]
StreamName = Annotated[
    str | None,
    typer.Option(
        "--stream", help="decoder, mlp_act, …", show_default="the residual stream, or the first"
    ),
]
Profile = Annotated[
    Path | None,
    typer.Argument(help="A profile.nc or a run's folder.", show_default="the newest run"),
]
Massive = Annotated[
    float | None, typer.Option(help="Least magnitude that is massive.", show_default="the run's")
]
Ratio = Annotated[
    float | None,
    typer.Option(help="The same in medians of the site.", show_default="the run's"),
]
Outlier = Annotated[
    float | None,
    typer.Option(
        help="Least magnitude far out of what linear layers read: a power of two, or the run's.",
        show_default="the run's",
    ),
]
SiteShare = Annotated[
    float | None, typer.Option(help="Share of blocks of an outlier channel.", show_default="0.25")
]
TokenShare = Annotated[
    float | None, typer.Option(help="Share of tokens of an outlier channel.", show_default="0.06")
]
