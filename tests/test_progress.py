"""What is shown of how far a run is, and where."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from conftest import TEXT

import hiddenscope as hs
from hiddenscope import progress
from hiddenscope.progress import Meter, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Watched:
    """Stands in for standard error, in the test itself: pytest puts its own back before each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, stream: io.StringIO) -> io.StringIO:
        self._monkeypatch.setattr("sys.stderr", stream)
        return stream


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def bars(terminal: io.StringIO) -> list[str]:
    return [part.strip() for part in terminal.getvalue().split("\r") if part.strip()]


def test_a_terminal_has_a_bar_that_ends_full(watched: Watched) -> None:
    terminal = watched(Terminal())
    with Meter(lines=False) as meter:
        meter.show("loading {demo}")
        meter(Progress(0, 200, 0))
        meter(Progress(50, 200, 1234))
        assert meter.tokens == 1234
        assert "measuring  25%|" in bars(terminal)[-1]
        assert "1,234 tokens, " in bars(terminal)[-1]
        assert " tokens/s [" in bars(terminal)[-1]
        meter.show("drawing", 1, 8, "depth")
        assert any(bar.startswith("measuring 100%|") for bar in bars(terminal))
        assert "drawing  12%|" in bars(terminal)[-1]
        assert "| depth [" in bars(terminal)[-1]
    assert bars(terminal)[0].startswith("loading {demo}")
    assert bars(terminal)[-1].startswith("drawing 100%|")


def test_a_bar_that_is_broken_off_does_not_end_full(watched: Watched) -> None:
    terminal = watched(Terminal())
    meter = Meter(lines=False)
    meter(Progress(0, 200, 0))
    meter(Progress(50, 200, 10))
    meter.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "25%" in terminal.getvalue()
    assert "100%" not in terminal.getvalue()


def test_a_corpus_of_unknown_size_has_no_share(watched: Watched) -> None:
    terminal = watched(Terminal())
    with Meter(lines=False) as meter:
        meter(Progress(0, 0, 0))
        meter(Progress(50, 0, 10))
    assert "%" not in terminal.getvalue()
    assert "10 tokens" in bars(terminal)[-1]


def test_elsewhere_a_line_is_written_now_and_then(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = watched(io.StringIO())
    now = 100.0
    monkeypatch.setattr("hiddenscope.progress.time.monotonic", lambda: now)
    with Meter(lines=True) as meter:
        meter.show("loading demo")
        meter(Progress(0, 200, 0))
        for _ in range(25):
            now += 1.0
            meter(Progress(50, 200, int(10 * (now - 100))))
    assert lines.getvalue().splitlines() == [
        "loading demo",
        "measuring",
        "measuring 25% 100 tokens, 10 tokens/s",
        "measuring 25% 200 tokens, 10 tokens/s",
    ]


@pytest.mark.parametrize(
    ("given", "terminal", "shows"),
    [
        (None, False, ""),
        (None, True, "%|"),
        (False, True, ""),
        (True, True, "%|"),
        (True, False, "measuring\n"),
    ],
)
def test_a_run_shows_itself_where_somebody_watches(
    watched: Watched, given: bool | None, terminal: bool, shows: str
) -> None:
    made = watched(Terminal() if terminal else io.StringIO())
    hs.profile("demo", text=TEXT, progress=given)
    assert made.getvalue() == "" if not shows else shows in made.getvalue()
    if shows:
        assert "loading demo" in made.getvalue()


def test_a_notebook_is_told_by_its_shell(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    lines = watched(io.StringIO())
    assert not progress.in_notebook()
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert progress.in_notebook()
    found = progress.importlib.util.find_spec
    monkeypatch.setattr(
        progress.importlib.util, "find_spec", lambda n: None if n == "ipywidgets" else found(n)
    )
    with Meter(lines=False) as meter:
        meter(Progress(50, 200, 10))
    assert "measuring  25%|" in lines.getvalue()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not progress.in_notebook()
