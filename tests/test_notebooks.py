"""The notebooks in docs/notebooks run as they stand, and are kept with what they showed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat import NotebookNode

from tools import fetch_real

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
PICTURES = {"article": 12, "quantisation": 3, "training": 3}
"""How many figures each notebook draws."""


@pytest.fixture(autouse=True)
def _as_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pyplot show its figures, which it does not with the backend of the other tests."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")


def run(name: str, place: Path) -> NotebookNode:
    """Execute a notebook in an empty folder; a cell that fails raises."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    worker = ExecutePreprocessor(timeout=600, kernel_name="python3")
    worker.preprocess(notebook, {"metadata": {"path": str(place)}})
    return notebook


def shown(notebook: NotebookNode, kind: str) -> list[str]:
    """Return what the cells showed of a kind, such as image/png."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [out["data"][kind] for out in outputs if kind in out.get("data", {})]


def test_every_notebook_is_known_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_is_kept_with_its_figures_and_without_paths(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(shown(notebook, "image/png")) == PICTURES[name]
    kinds = {out.output_type for cell in code for out in cell.outputs}
    assert kinds <= {"execute_result", "display_data"}
    written = nbformat.writes(notebook)
    assert not any(place in written for place in ("/home/", "/root/", "/tmp/"))


def test_a_training_that_is_watched_is_not_changed(tmp_path: Path) -> None:
    notebook = run("training", tmp_path)
    assert len(shown(notebook, "image/png")) == PICTURES["training"]
    assert "'losses and gradients are the same bits'" in shown(notebook, "text/plain")


@pytest.mark.real
@pytest.mark.parametrize("name", ["article", "quantisation"])
def test_a_notebook_on_a_real_model_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOLLM2", str(fetch_real.place()))
    notebook = run(name, tmp_path)
    assert len(shown(notebook, "image/png")) == PICTURES[name]
