"""``python -m hiddenscope``."""

from hiddenscope.cli import main

main()
