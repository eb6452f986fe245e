"""Ctrl-C during a run: the first asks for its end, the second is Python's own."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from hiddenscope.progress import say

if TYPE_CHECKING:
    from types import TracebackType


class Interrupt:
    """Whether Ctrl-C asks a run to end.

    Until `arm` is called, in threads other than the main one, and where somebody else handles
    the signal, Ctrl-C does what it did before.

    Attributes
    ----------
    wanted : bool
        Whether it was pressed.
    """

    def __init__(self) -> None:
        self.wanted = False

    def arm(self) -> None:
        """From now on the next Ctrl-C only asks for the end."""
        # Python lets handlers be set in its main thread alone.
        if self.wanted or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: Any) -> None:
        self.wanted = True
        self._disarm()
        # The signal may come while something is written to the same stream, which Python refuses;
        # and where nobody reads, the run goes on to its end all the same.
        with suppress(RuntimeError, OSError, ValueError):
            say("ending after this group of windows; Ctrl-C again stops at once, without a result")

    def _disarm(self) -> None:
        if signal.getsignal(signal.SIGINT) == self._ask:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._disarm()
