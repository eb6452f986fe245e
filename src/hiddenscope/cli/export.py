"""``hiddenscope export``: what was measured, in a file that another tool reads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hiddenscope.cli import options, runs


class Kind(StrEnum):
    """What to write."""

    SMOOTHQUANT = "smoothquant"


def command(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="smoothquant: the largest magnitude of each channel that each linear layer reads, "
            "over all tokens, by the layer's name, for torch.load."
        ),
    ],
    profile: options.Profile = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path(
        "act_scales.pt"
    ),
) -> None:
    """Write what was measured as another tool reads it.

    SmoothQuant's activation scales need a profile of what linear layers read:
    `hiddenscope profile MODEL SOURCE --sites trunk,linear`.
    """
    from hiddenscope import analysis
    from hiddenscope.profiles import Profile
    from hiddenscope.words import visible

    made = Profile.open(runs.find(profile))
    found = analysis.activation_scales(made.dataset)
    written = made.export_smoothquant(output)
    typer.echo(f"{made.manifest['model']['name']}: {made.caption('all')}")
    for words in found.words():
        typer.echo(visible(words))
    typer.echo(str(written))
