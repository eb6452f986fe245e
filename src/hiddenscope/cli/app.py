"""The application: its commands, and how errors reach the user."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from typing import Annotated

import typer

from hiddenscope import __version__
from hiddenscope.cli import claims, export, plot, profile, report, show, sites, terminal
from hiddenscope.cli.runs import INTERRUPTED, Interrupted
from hiddenscope.errors import HiddenscopeError

ERROR = 2

app = typer.Typer(
    name="hiddenscope",
    help="Measure and show how the hidden states of transformer language models are distributed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("profile")(profile.command)
app.command("show")(show.command)
app.command("claims")(claims.command)
app.command("plot", cls=plot.PlotCommand)(plot.command)
app.command("report")(report.command)
app.command("export")(export.command)
app.command("sites")(sites.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hiddenscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Measure and show how the hidden states of transformer language models are distributed."""


def main() -> None:
    """Run the command line; our own errors end it in one line and exit code 2."""
    # What is imported stays: to look through it again and again for what can be freed takes a
    # tenth of the time of a short command.
    gc.set_threshold(100_000, 30, 30)
    # A run that is ended by the system cleans up as one that is ended by hand.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # Messages that libraries log about themselves on import do not concern the measurement.
    for library in ("torchao", "torch.utils._pytree"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with terminal.guarded() as guard:
        code = _run()
        failure = guard.failure()
        if failure is not None:
            _say_error(f"cannot write to standard output ({failure}): files are not affected")
            code = code or ERROR
    raise SystemExit(code)


def _run() -> int | str | None:
    try:
        app()
    except HiddenscopeError as error:
        _say_error(str(error))
        return ERROR
    except (KeyboardInterrupt, SystemExit) as stopped:
        # typer turns Ctrl-C into its exit code without a word.
        if isinstance(stopped, SystemExit) and stopped.code != INTERRUPTED:
            return stopped.code
        message = "interrupted: no result was written"
        if isinstance(stopped, Interrupted):
            message = stopped.message
        typer.echo(message, err=True)
        return INTERRUPTED
    return None


def _say_error(message: str) -> None:
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(message, err=True)
