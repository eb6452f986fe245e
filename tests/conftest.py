"""What several tests share: the demo model, a small profile of it, and tiny random models."""

from __future__ import annotations

import gc
import io
import os

# Nothing here may reach for a network; set before transformers is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hiddenscope.corpus import Document, Tally, Windower
    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile
    from hiddenscope.tokens import Tokens

    Run = Callable[..., tuple[int, str, str]]

TEXT = (
    "The river had risen in the night. When the miller opened his door he saw water where the "
    "lower field had been, and two ducks swimming over what was, until yesterday, his barley."
)


SLOW = (
    "test_report.py",
    "test_families.py",
    "test_cli.py",
    "test_figures.py",
    "test_sweep.py",
    "test_independence.py",
    "test_readme.py",
    "test_profiles.py",
    "test_first_tokens.py",
    "test_plotly.py",
    "test_claims.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that two processes end at the same time."""
    items.sort(key=lambda item: SLOW.index(name) if (name := item.path.name) in SLOW else len(SLOW))


def cut_into_windows(
    windower: Windower, documents: Iterable[Document]
) -> tuple[list[Tokens], Tally]:
    """Return the windows of all documents, and what was counted."""
    from hiddenscope.corpus import Tally

    tally = Tally()
    return list(windower(documents, tally)), tally


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    # Two processes on two cores leave one thread to each.
    alone = {"PYTEST_XDIST_WORKER", "OMP_NUM_THREADS"}.isdisjoint(os.environ)
    torch.set_num_threads(2 if alone else 1)
    # What was imported stays: to look through it again and again takes a twentieth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


@pytest.fixture(scope="session")
def demo() -> LoadedModel:
    """The embedded model; tests must leave it as it is."""
    from hiddenscope.models import load

    return load("demo")


@pytest.fixture(scope="session")
def demo_profile(demo: LoadedModel) -> Profile:
    """The demo model on two short texts in small windows: first, regular, many windows."""
    import hiddenscope as hs

    return hs.profile("demo", text=[TEXT * 3, TEXT[:90]], window=32, batch_tokens=128)


@pytest.fixture(scope="session")
def profile_file(demo_profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same profile as a file; tests must not write to it."""
    return demo_profile.save(tmp_path_factory.mktemp("profile") / "profile.nc")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama, for what needs a model and no model in particular."""
    import tiny  # it imports transformers

    return tiny.save(tiny.make("llama"), tmp_path_factory.mktemp("small"))


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut texts into parts of 300 bytes and pieces of 100, as else those of a MiB are."""
    monkeypatch.setattr("hiddenscope.corpus.cutting.PART_BYTES", 300)
    monkeypatch.setattr("hiddenscope.corpus.cutting.PIECE_BYTES", 100)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in an empty folder, as the console script does."""
    from hiddenscope.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object, stdin: bytes | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hiddenscope", *map(str, arguments)])
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call
