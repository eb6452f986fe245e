"""Folders of runs: making a new one, finding the newest."""

from __future__ import annotations

import re
from pathlib import Path

from hiddenscope.errors import OutputError, ProfileError

RUNS = Path("hiddenscope-runs")
PROFILE = "profile.nc"


def new_folder(model: str) -> Path:
    """Name a folder for a run that does not exist yet: ``hiddenscope-runs/demo-001``."""
    stem = re.sub(r"[^\w.-]+", "-", Path(model).name).strip("-.") or "run"
    taken = [
        int(m[1])
        for p in (RUNS.glob(f"{stem}-*") if RUNS.is_dir() else ())
        if (m := re.fullmatch(rf"{re.escape(stem)}-(\d+)", p.name))
    ]
    return RUNS / f"{stem}-{max(taken, default=0) + 1:03d}"


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds a result or cannot be written, before anything is measured.

    Raises
    ------
    OutputError
    """
    if (folder / PROFILE).exists() and not force:
        msg = f"{str(folder)!r} holds a result already: choose another folder or add --force"
        raise OutputError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        msg = f"cannot write into {str(folder)!r}: {error.strerror or error}; choose another -o"
        raise OutputError(msg) from error


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
