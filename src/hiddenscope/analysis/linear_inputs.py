"""The largest magnitudes that linear layers read, by the names of the layers."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.analysis.largest import largest_by_channel
from hiddenscope.analysis.summary import moments
from hiddenscope.analysis.views import manifest, site_names
from hiddenscope.errors import ProfileError
from hiddenscope.words import counted, missing_words, starred

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ActivationScales:
    """What SmoothQuant calls activation scales, and which layers have none.

    Attributes
    ----------
    scales : dict of str to ndarray[in_features] of float32
        Name of a linear layer → the largest magnitude of each channel of its input, over all
        tokens that were measured, in units of activation.
    conv1d : list of str
        Layers of GPT-2's kind, which SmoothQuant itself does not look for.
    missing : dict of str to str
        Layers and other modules with matrices, and why they are not among them.
    nonfinite : dict of str to int
        Site → values that are NaN or infinite and were left out.
    """

    scales: dict[str, NDArray[np.float32]]
    conv1d: list[str]
    missing: dict[str, str]
    nonfinite: dict[str, int]

    def words(self) -> list[str]:
        """Say in sentences which layers there are, and what is special about them."""
        said = [f"{len(self.scales):,} linear layers, each channel's largest magnitude"]
        if self.conv1d:
            said.append(
                f"{len(self.conv1d):,} of them are Conv1D, which SmoothQuant's own loop leaves "
                f"out: {', '.join(starred(self.conv1d))}"
            )
        said += missing_words(self.missing)
        if self.nonfinite:
            total, sites = sum(self.nonfinite.values()), ", ".join(self.nonfinite)
            are = ("value that is NaN or infinite is", "values that are NaN or infinite are")
            said.append(f"{counted(total, *are)} left out, at {sites}")
        return said


def activation_scales(tree: xr.DataTree) -> ActivationScales:
    """Return the largest magnitude of each channel that each linear layer reads.

    The ``act_scales`` of Xiao et al. 2023, "SmoothQuant". A layer that is called several times
    in a forward pass has the largest of all its calls.

    Parameters
    ----------
    tree : DataTree
        A profile, with all of its streams.

    Returns
    -------
    ActivationScales

    Raises
    ------
    ProfileError
        The profile does not know which layers read its sites, or lacks a site that one of them
        reads; the message says how to measure it. A channel was never finite.
    """
    about = manifest(tree)
    linear = about.get("linear")
    if not linear:
        msg = f"this profile does not say which linear layers read its sites: {_command(about)}"
        raise ProfileError(msg)
    of = {name: said["of"] for name, said in about["streams"].items()}
    where = {
        (of[str(name)], site): stream
        for name, stream in tree.children.items()
        for site in site_names(stream)
    }
    read = [
        (site, where.get((name, site)), names)
        for name, sites in linear["read"].items()
        for site, names in sites.items()
    ]
    if not read:
        msg = "none of this model's linear layers reads a site, so there are no scales of them"
        raise ProfileError(msg)
    lacking = [site for site, stream, _ in read if stream is None]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        msg = (
            f"this profile lacks sites that linear layers read ({', '.join(lacking[:3])}{more}): "
            f"{_command(about)}"
        )
        raise ProfileError(msg)
    scales: dict[str, NDArray[np.float32]] = {}
    nonfinite: dict[str, int] = {}
    for site, stream, names in read:
        assert stream is not None
        largest = largest_by_channel(stream, "all").loc[site].to_numpy(np.float32)
        if np.isnan(largest).any():
            channel = int(np.isnan(largest).argmax())
            msg = f"channel {channel} at {site} was never finite, so it has no largest magnitude"
            raise ProfileError(msg)
        for name in names:
            scales[name] = np.fmax(scales.get(name, largest), largest)
        if left_out := int(moments(stream, "all").loc[site, "nonfinite"]):
            nonfinite[site] = left_out
    return ActivationScales(scales, linear["conv1d"], linear["missing"], nonfinite)


def _command(about: Mapping[str, Any]) -> str:
    """Say how to measure what is missing, of the same model on the same text."""
    model, corpus = about.get("model", {}), about.get("corpus", {})
    if model.get("source") in {None, "object"}:
        return "measure again with sites='trunk,linear'"
    named = [str(model["id"]), *map(str, corpus.get("sources") or ["SOURCE"])]
    words = " ".join(map(shlex.quote, named))
    return f"measure again with `hiddenscope profile {words} --sites trunk,linear`"
