"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

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
Massive = Annotated[
    float | None, typer.Option(help="Least magnitude that is massive.", show_default="the run's")
]
Ratio = Annotated[
    float | None,
    typer.Option(help="The same in medians of the site.", show_default="the run's"),
]
SiteShare = Annotated[
    float | None, typer.Option(help="Share of blocks of an outlier channel.", show_default="0.25")
]
TokenShare = Annotated[
    float | None, typer.Option(help="Share of tokens of an outlier channel.", show_default="0.06")
]
