"""What is measured, in the files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hiddenscope import analysis
from hiddenscope.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr


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
    OutputError
        The place cannot be written.
    """
    scales = analysis.activation_scales(tree).scales
    # A profile is opened and looked at without torch.
    import torch  # noqa: PLC0415

    target = Path(path)
    with replacing(target, "the activation scales") as file:
        torch.save({name: torch.from_numpy(values) for name, values in scales.items()}, file)
    return target
