"""Folders of runs: making a new one, finding the newest."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hiddenscope.errors import OutputError, ProfileError
from hiddenscope.figures import KINDS, SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 130
RUNS = Path("hiddenscope-runs")
PROFILE = "profile.nc"
REPORT = "report.html"


class Interrupted(SystemExit):
    """Ctrl-C after a result was written; says what there is."""

    def __init__(self, message: str) -> None:
        super().__init__(INTERRUPTED)
        self.message = message


@contextmanager
def folder_for(output: Path | None, label: str, *, force: bool) -> Iterator[Path]:
    """Make the folder of a run, before anything is measured; leave none behind that is empty.

    Parameters
    ----------
    output : Path or None
        By default a new one, ``hiddenscope-runs/demo-001``, that no other run has.
    label : str
        What the new folder is named after.
    force : bool
        Whether an earlier result may be there.

    Raises
    ------
    OutputError
        It holds a result, or cannot be written.
    """
    folder = RUNS if output is None else output
    try:
        made = [p for p in (folder, *folder.parents) if not p.exists()]
        if (folder / PROFILE).exists() and not force:
            msg = f"{str(folder)!r} holds a result already: choose another folder or add --force"
            raise OutputError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        if output is None:
            folder = _claim(label)
            made.insert(0, folder)
        # Deleted at once: it only shows that files can be made here.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        shown = str(folder) if len(str(folder)) <= 100 else f"{str(folder)[:100]}…"
        msg = f"cannot write into {shown!r}: {error.strerror or error}; choose another -o"
        raise OutputError(msg) from error
    try:
        yield folder
    finally:
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def label_of(model: str) -> str:
    """Return what a run of a model is called: the last part of its path or name."""
    return Path(model).name.removesuffix(".gguf")


def _claim(label: str) -> Path:
    """Make the next free folder; making it reserves it, so that no other run takes it."""
    stem = re.sub(r"[^\w.-]+", "-", label)[:60].strip("-.") or "run"
    taken = [
        int(m[1])
        for p in RUNS.glob(f"{stem}-*")
        if (m := re.fullmatch(rf"{re.escape(stem)}-(\d+)", p.name))
    ]
    for number in count(max(taken, default=0) + 1):
        folder = RUNS / f"{stem}-{number:03d}"
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def remove_figures(folder: Path) -> None:
    """Remove figures and report of an earlier result, which are not of this profile."""
    (folder / REPORT).unlink(missing_ok=True)
    for kind in KINDS:
        for suffix in SUFFIXES:
            (folder / "figures" / f"{kind}{suffix}").unlink(missing_ok=True)


def find(profile: Path | None) -> Path:
    """Return the profile to read: the one named, or that of the newest run.

    Raises
    ------
    ProfileError
        None is named and there are no runs here.
    """
    if profile is not None:
        return profile
    found = sorted(RUNS.glob(f"*/{PROFILE}"), key=lambda p: p.stat().st_mtime)
    if not found:
        msg = (
            f"there is no run under {str(RUNS)!r}: make one with `hiddenscope profile`, "
            "or name a profile.nc"
        )
        raise ProfileError(msg)
    return found[-1]
