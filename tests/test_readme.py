"""What the README shows runs, and what it claims holds."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path

import pytest

from hiddenscope.cli import main

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


def offline(text: str) -> str:
    """Put the embedded model where the README names one on the hub."""
    return text.replace('path = "gpt2"', f"path = {str(files('hiddenscope') / 'assets/demo')!r}")


def test_the_notebook_and_hiddenscope_yield_the_same_numbers() -> None:
    notebook, profiled, *_ = blocks("python")
    lines = [x for x in notebook.splitlines() if x.strip() and not x.startswith(("import", "from"))]
    assert len(lines) <= 10
    assert profiled.count("assert") == 3
    names: dict[str, object] = {}
    exec(offline(notebook), names)
    exec(profiled, names)
    # The comparison is not of empty things.
    assert len(names["counts"]) == names["covariance"].shape[0] == 13
    assert all(c.sum() == names["flat"].shape[1] for c in names["counts"])


@pytest.mark.parametrize("number", [2, 3, 4])
def test_the_python_examples_run(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[number], {})


def test_there_is_no_example_that_is_not_run() -> None:
    assert len(blocks("python")) == 5


def test_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        monkeypatch.setattr("sys.argv", shlex.split(command.replace(" gpt2 ", " demo ")))
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code, capsys.readouterr().err
    assert (tmp_path / "depth.svg").stat().st_size
    assert (tmp_path / "report.html").stat().st_size
    assert len(list((tmp_path / "figures").glob("*.png"))) == 11
    assert len(list(tmp_path.glob("hiddenscope-runs/*/profile.nc"))) == 2


def test_the_pictures_are_there() -> None:
    pictures = re.findall(r'<img src="([^"]+)"', README.read_text("utf-8"))
    assert len(pictures) == 2
    for path in pictures:
        assert (README.parent / path).stat().st_size
