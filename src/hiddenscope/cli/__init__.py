"""The command line: one file a command."""

from hiddenscope.cli.app import main

__all__ = ["main"]
