"""What is measured, in the files that other tools read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hiddenscope import analysis
from hiddenscope.atomic import replacing
from hiddenscope.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


SUFFIXES = (".pt", ".pth", ".bin")


def smoothquant(tree: xr.DataTree, path: str | Path) -> Path:
    """Write activation scales as SmoothQuant reads them.

    The file holds a dict of str to float32 tensor ``[in_features]`` on the CPU, which
    ``torch.load(path, weights_only=True)`` returns. See `hiddenscope.analysis.activation_scales`.

    Parameters
    ----------
    tree : DataTree
    path : str or Path
        Such as ``act_scales.pt``; a file that is there is replaced once the new one is complete.

    Returns
    -------
    Path

    Raises
    ------
    ProfileError
        The profile lacks what linear layers read.
    InputError
        `path` is no path, or its name does not end as those of torch's files do.
    OutputError
        The place cannot be written.
    """
    if not isinstance(path, str | os.PathLike) or Path(path).suffix not in SUFFIXES:
        msg = (
            f"activation scales are written by torch.save, to a name that ends in "
            f"{', '.join(SUFFIXES)}: got {path!r}"
        )
        raise InputError(msg)
    scales = analysis.activation_scales(tree).scales
    # A profile is opened and looked at without torch.
    import torch  # noqa: PLC0415

    target = Path(path)
    with replacing(target, "the activation scales") as file:
        torch.save({name: torch.from_numpy(values) for name, values in scales.items()}, file)
    return target
