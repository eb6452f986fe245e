"""How far a run is, shown on standard error."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

WITH_TOTAL = "{{desc}} {{percentage:3.0f}}%|{{bar:30}}| {note} [{{elapsed}}<{{remaining}}]"
WITHOUT = "{{desc}} {note} [{{elapsed}}]"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    done, total : int
        Bytes of text; `total` is 0 where it cannot be known.
    tokens : int
        Tokens measured so far.
    what : str
        What is being done: before a sample is measured it is drawn.
    ended : bool
        Whether Ctrl-C has ended the run here.
    """

    done: int
    total: int
    tokens: int
    what: str = "measuring"
    ended: bool = False


def in_notebook() -> bool:
    """Whether the code runs in a Jupyter notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def say(words: str) -> None:
    """Write a line on standard error, below a bar that is shown there."""
    print(f"\n{words}", file=sys.stderr, flush=True)  # noqa: T201


class Meter:
    """A bar in terminals and notebooks; elsewhere, if asked for, a line now and then.

    Parameters
    ----------
    lines : bool
        Whether to write lines where nobody watches: every `EVERY_S` seconds.

    Attributes
    ----------
    tokens : int
        Measured so far.
    seconds : float
        Since the model was loaded.
    """

    EVERY_S = 10.0

    def __init__(self, *, lines: bool) -> None:
        self.lines = lines
        self.watched = in_notebook() or sys.stderr.isatty()
        self.tokens = 0
        self._start = self._told = time.monotonic()
        self._bar: Any = None
        self._what = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(complete=kind is None)

    @property
    def seconds(self) -> float:
        """Since the model was loaded."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / max(self.seconds, 1e-3)

    def __call__(self, step: Progress) -> None:
        """Show how far the measurement is."""
        if step.ended:
            self._close(complete=False)
            return
        if not step.tokens:
            # The model is loaded: what follows is timed.
            self._start = time.monotonic()
        self.tokens = step.tokens
        note = f"{step.tokens:,} tokens, {self.rate:,.0f} tokens/s" if step.tokens else ""
        self.show(step.what, step.done, step.total, note)

    def show(self, what: str, done: int = 0, total: int = 0, note: str = "") -> None:
        """Show how far something is.

        Parameters
        ----------
        what : str
            What is being done.
        done, total : int
            Steps; `total` is 0 where it is not known.
        note : str
            What else there is to say.
        """
        if self.watched:
            self._draw(what, done, total, note)
        elif self.lines:
            self._write(what, done, total, note)
        self._what = what

    def _write(self, what: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if what == self._what and now - self._told < self.EVERY_S:
            return
        self._told = now
        share = f"{done / total:.0%} " if done and total else ""
        print(f"{what} {share}{note}".rstrip(), file=sys.stderr, flush=True)  # noqa: T201

    def _draw(self, what: str, done: int, total: int, note: str) -> None:
        if self._bar is None or what != self._what:
            self._close(complete=True)
            self._bar = _tqdm()(
                # tqdm puts a colon behind it in its own format only.
                desc=what,
                total=total or None,
                file=sys.stderr,
                dynamic_ncols=True,
            )
        shown = note.replace("{", "{{").replace("}", "}}")
        self._bar.bar_format = (WITH_TOTAL if total else WITHOUT).format(note=shown)
        self._bar.n = done
        self._bar.refresh()

    def _close(self, *, complete: bool) -> None:
        if self._bar is None:
            return
        if complete and self._bar.total:
            self._bar.n = self._bar.total
            self._bar.refresh()
        self._bar.close()
        self._bar = None


def _tqdm() -> Any:
    # Without ipywidgets the bar of notebooks is not there; text is shown instead.
    widgets = in_notebook() and importlib.util.find_spec("ipywidgets") is not None
    return importlib.import_module("tqdm.notebook" if widgets else "tqdm.std").tqdm
