"""Reading and writing ``profile.nc``: netCDF-4 through xarray, whole or not at all."""

from __future__ import annotations

import codecs
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import xarray as xr

from hiddenscope.errors import OutputError, ProfileError

SCHEMA_VERSION = 1
GROUPS = ("grid", "moments", "cross", "norms", "positions", "extremes", "sample")
_ENGINE: Literal["h5netcdf"] = "h5netcdf"


def clean(text: str) -> str:
    """Make a string valid UTF-8 without NUL: NUL becomes ␀, a lone surrogate �."""
    text = text.replace("\0", "␀")
    return text.encode("utf-8", "replace_surrogates").decode("utf-8")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "�" * (error.end - error.start), error.end


codecs.register_error("replace_surrogates", _replace)


def write(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a profile: to a temporary file beside the target, then renamed over it.

    Parameters
    ----------
    tree : DataTree
    path : str or Path

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        The place cannot be written; what was there before is as it was.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        tree.to_netcdf(temporary, engine=_ENGINE, encoding=_encoding(tree))
        # mkstemp makes files for the owner alone; a profile is as readable as any other file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        msg = f"cannot write {str(target)!r}: {error.strerror or error}"
        raise OutputError(msg) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    return target


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    encoding: dict[str, dict[str, Any]] = {}
    for node in tree.subtree:
        # Counts are mostly zero and doubles share exponents: both shrink well when shuffled.
        encoding[node.path] = {
            str(name): {"zlib": True, "complevel": 4, "shuffle": True}
            for name, variable in node.data_vars.items()
            if variable.dtype.kind in "fiu" and variable.size
        }
    return encoding


def read(path: str | Path) -> xr.DataTree:
    """Read a profile into memory.

    Parameters
    ----------
    path : str or Path
        A ``profile.nc``, or the folder of a run that holds one.

    Returns
    -------
    DataTree

    Raises
    ------
    ProfileError
        There is no such file, it is not a profile, it is damaged, or a newer hiddenscope
        wrote it.
    """
    target = Path(path)
    if target.is_dir():
        target = target / "profile.nc"
    if not target.is_file():
        msg = (
            f"there is no profile {str(path)!r}: expected a profile.nc or the folder of a run "
            "that holds one; `hiddenscope profile` makes one"
        )
        raise ProfileError(msg)
    try:
        with xr.open_datatree(target, engine=_ENGINE) as opened:
            version = opened.attrs.get("schema_version")
            if version is None:
                _refuse(path, "it lacks a schema_version")
            if int(version) > SCHEMA_VERSION:
                _refuse(
                    path,
                    f"its profile schema is {int(version)} and this hiddenscope reads up to "
                    f"{SCHEMA_VERSION}: upgrade with pip install -U hiddenscope",
                )
            streams = list(opened.children.values())
            if not streams or any(g not in s.children for s in streams for g in GROUPS):
                _refuse(path, "it lacks groups of a profile")
            return opened.load().copy(deep=True)
    except ProfileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        _refuse(path, f"reading failed ({reason})", error)


def _refuse(path: str | Path, why: str, cause: BaseException | None = None) -> NoReturn:
    msg = (
        f"{str(path)!r} is not a whole hiddenscope profile: {why}; "
        "make it again with `hiddenscope profile`"
    )
    raise ProfileError(msg) from cause


def text_array(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Make every string of an array fit for a file."""
    flat = np.array([clean(str(v)) for v in values.ravel()], dtype=object)
    return flat.reshape(values.shape)
