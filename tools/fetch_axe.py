"""Fetch axe-core, which tests look for barriers with, once, and print where it is.

Usage: python tools/fetch_axe.py

It comes from npm by npm's own client, in one pinned version, and is kept beside what
``fetch_real.py`` keeps.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "axe-core@4.10.2"
SHA256 = "9ea2d2d6917da998122bdacfd3b473e31ead53f4b87146c716a12edf89158100"
MEMBER = "package/axe.min.js"


def place() -> Path:
    """Return where the script is, or will be once it is fetched."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hiddenscope"
    return Path(os.environ.get("HIDDENSCOPE_CACHE") or usual) / f"{PACKAGE}.min.js"


def fetch() -> Path:
    """Return the script, fetched if it is not there yet.

    Raises
    ------
    OSError
        npm cannot be run, or what came is not the package that is meant.
    """
    target = place()
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that renaming is one step.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = ["npm", "pack", "--silent", PACKAGE]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tgz"))
        if result.returncode or not archives:
            message = f"{PACKAGE} cannot be fetched with npm: {result.stderr.strip()[-300:]}"
            raise OSError(message)
        if hashlib.sha256(archives[0].read_bytes()).hexdigest() != SHA256:
            message = f"what npm fetched is not the {PACKAGE} that is meant"
            raise OSError(message)
        with tarfile.open(archives[0]) as archive:
            archive.extract(MEMBER, folder, filter="data")
        (Path(folder) / MEMBER).replace(target)
    return target


def main() -> None:
    """Fetch the script if it is not there yet."""
    try:
        print(fetch())
    except OSError as error:
        sys.exit(f"{error}\nconnect to a network, or copy the script to {place()}")


if __name__ == "__main__":
    main()
