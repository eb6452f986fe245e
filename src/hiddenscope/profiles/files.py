"""Reading and writing ``profile.nc``: netCDF-4 through xarray, written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from hiddenscope import schema
from hiddenscope.atomic import replacing
from hiddenscope.errors import InputError, OutputError, ProfileError
from hiddenscope.profiles.lazy import read_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

_ENGINE: Literal["h5netcdf"] = "h5netcdf"


def clean(text: str) -> str:
    """Make a string valid UTF-8 without NUL: NUL becomes ␀, a lone surrogate �."""
    text = text.replace("\0", "␀")
    # Through UTF-16, where two halves that belong together become one character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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
    target = _place(path, OutputError)
    with replacing(target, "the profile") as made:
        tree.to_netcdf(made, engine=_ENGINE, encoding=_encoding(tree))
    return target


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    encoding: dict[str, dict[str, Any]] = {}
    for node in tree.subtree:
        # Doubles share exponents and counts have few digits: both shrink well when shuffled. The
        # grid is nearly all zeros, which are unpacked faster as they are; from level 4 on that
        # takes twice as long, for 2 % of a file.
        encoding[node.path] = {
            str(name): {"zlib": True, "complevel": 3, "shuffle": "cell" not in variable.dims}
            for name, variable in node.dataset.variables.items()
            if variable.ndim and variable.size and variable.dtype.kind in "fiu"
        }
    return encoding


def read(path: str | Path) -> xr.DataTree:
    """Read a profile; its arrays are unpacked when they are first looked at.

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
    target = _place(path, ProfileError)
    try:
        if target.is_dir():
            target = target / "profile.nc"
        is_file = target.is_file()
    except OSError:  # no file has a name of such a length
        is_file = False
    if not is_file:
        msg = (
            f"there is no profile {str(path)!r}: expected a profile.nc or the folder of a run "
            "that holds one; `hiddenscope profile` makes one"
        )
        raise ProfileError(msg)
    try:
        tree = read_tree(target.read_bytes())
        _check_kind(path, tree.attrs)
        _check_whole(path, tree)
    except ProfileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        _refuse(path, f"reading failed ({reason})", error)
    return tree


def _place(path: Any, error: type[InputError]) -> Path:
    if not isinstance(path, str | os.PathLike):
        msg = f"expected the path of a profile, got {type(path).__name__}"
        raise error(msg)
    return Path(os.fsdecode(path))


def _check_kind(path: str | Path, attributes: Mapping[Any, Any]) -> None:
    if "schema_version" not in attributes:
        msg = (
            f"{str(path)!r} is not a hiddenscope profile: it lacks a schema_version; "
            "`hiddenscope profile` makes one"
        )
        raise ProfileError(msg)
    version = int(np.asarray(attributes["schema_version"]).item())
    if version < 1:
        _refuse(path, f"its schema is {version}")
    if version > schema.VERSION:
        msg = (
            f"{str(path)!r} was written by a newer hiddenscope: its schema is {version} and this "
            f"one reads up to {schema.VERSION}; upgrade with pip install -U hiddenscope"
        )
        raise ProfileError(msg)


def _check_whole(path: str | Path, tree: xr.DataTree) -> None:
    _check_words(path, tree.attrs)
    if not tree.children:
        _refuse(path, "it holds no stream")
    written = int(np.asarray(tree.attrs["schema_version"]).item())
    for stream in tree.children.values():
        for group, variables in schema.GROUPS.items():
            if group not in stream.children:
                if group in schema.REQUIRED:
                    _refuse(path, f"it lacks the group {stream.name}/{group}")
                continue
            held = stream.children[group].dataset
            for name, variable in schema.SHARED.items():
                if set(variable.dims) <= set(held.dims) and name not in held.variables:
                    _refuse(path, f"it lacks {stream.name}/{group}/{name}")
            form = schema.COMPACT if held.attrs.get("compact") else schema.FULL
            for name, variable in variables.items():
                place = f"{stream.name}/{group}/{name}"
                if variable.belongs(written, form) and name not in held.variables:
                    _refuse(path, f"it lacks {place}")
                # Older schemas called some dimensions otherwise.
                if written == schema.VERSION and name in held.variables:
                    _check_variable(path, place, held.variables[name], variable)


def _check_words(path: str | Path, attributes: Mapping[Any, Any]) -> None:
    for name, fits in (("manifest", _is_manifest), ("checks", _are_checks)):
        try:
            held = json.loads(attributes[name])
        except (KeyError, TypeError, ValueError) as error:
            _refuse(path, f"its {name} is missing or damaged", error)
        if not fits(held):
            _refuse(path, f"its {name} is damaged")


def _is_manifest(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), dict) for key in ("model", "corpus")
    )


def _are_checks(value: Any) -> bool:
    keys = {"name", "passed", "detail", "level"}
    return isinstance(value, list) and all(isinstance(c, dict) and keys <= c.keys() for c in value)


def _check_variable(
    path: str | Path, place: str, found: xr.Variable, variable: schema.Variable
) -> None:
    if found.dims != variable.dims:
        _refuse(path, f"{place} has the dimensions {found.dims}, not {variable.dims}")
    if variable.dtype != schema.TEXT and found.dtype != np.dtype(variable.dtype):
        _refuse(path, f"{place} is {found.dtype}, not {variable.dtype}")


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
