"""The recipes of CONTRIBUTING.md, each carried out in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEXT

ROOT = Path(__file__).parents[1]
AT_MOST = 3
"""Files that a recipe may touch."""
RECIPES = {
    title: body
    for title, body in re.findall(
        r"^## (Add .*?)\n(.*?)(?=^## |\Z)",
        (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
        re.M | re.S,
    )
}
PRELUDE = f"""
import pathlib, warnings
import torch, transformers
import hiddenscope, hiddenscope.corpus
import hiddenscope as hs
torch.set_num_threads(1)
warnings.simplefilter("ignore", hs.HiddenscopeWarning)
TEXT = {TEXT!r}
"""


def blocks(body: str) -> list[tuple[str, str]]:
    """Return what each block of code is for, and the code."""
    return [
        (first.removeprefix("# ").removeprefix("+++ "), code)
        for first, code in re.findall(r"^```(?:python|diff)\n(.*?)\n(.*?)^```", body, re.M | re.S)
    ]


def carry_out(package: Path, place: str, code: str) -> None:
    """Write a new file, or change what is there as a diff says."""
    target = package / place.removeprefix("src/hiddenscope/")
    if not code.startswith((" ", "+", "-")):
        assert not target.exists()
        target.write_text(code, "utf-8")
        return
    lines = code.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = target.read_text("utf-8")
    assert text.count(before) == 1, f"{place} does not hold once what the recipe says:\n{before}"
    target.write_text(text.replace(before, after), "utf-8")


def test_there_are_five() -> None:
    assert [title.split()[-1] for title in RECIPES] == [
        "statistic",
        "figure",
        "claim",
        "architecture",
        "text",
    ]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_touches_few_files(title: str) -> None:
    places = {place for place, _ in blocks(RECIPES[title])} - {"use"}
    assert 1 <= len(places) <= AT_MOST


def test_the_recipes_work(tmp_path: Path) -> None:
    package = tmp_path / "src" / "hiddenscope"
    shutil.copytree(ROOT / "src" / "hiddenscope", package)
    uses = []
    for title, body in RECIPES.items():
        for place, code in blocks(body):
            if place == "use":
                uses.append(f"# {title}\n{code}")
            else:
                carry_out(package, place, code)
    assert len(uses) == len(RECIPES)
    folder = tmp_path / "empty"
    folder.mkdir()
    # One process for all: importing the libraries takes longer than the recipes.
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + "\n".join(uses) + "\nprint(hiddenscope.__file__)"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == package


def test_the_layers_are_those_that_are_checked() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    shown = re.search(r"```text\n(.*?)```", page, re.S)
    checked = re.search(
        r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S
    )
    assert shown is not None
    assert checked is not None
    layers = re.findall(r'"(.*?)"', checked[1])
    lines = shown[1].splitlines()
    assert len(lines) == len(layers)
    for line, layer in zip(lines, layers, strict=True):
        assert re.match(rf"{re.escape(layer)}(?: |$)", line), line
