"""Putting a profile together: labels, checks, manifest."""

from __future__ import annotations

import json
import platform
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hiddenscope import __version__, analysis, schema
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.measuring.findings import check_stream
from hiddenscope.profiles import Profile
from hiddenscope.profiles.files import clean, text_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.capture import Check
    from hiddenscope.stats import Layout, StreamState

_LIBRARIES = ("torch", "transformers", "numpy", "xarray", "h5netcdf")


def assemble(
    states: Mapping[str, StreamState],
    *,
    hf: Mapping[str, Mapping[str, int]],
    manifest: dict[str, Any],
    checks: Sequence[Check],
    tokenizer: PreTrainedTokenizerBase | None,
) -> Profile:
    """Label the states of a run and describe it.

    Parameters
    ----------
    states : mapping of str to StreamState
        By the names that the profile gives its streams.
    hf : mapping of str to mapping of str to int
        By stream, site → index in Hugging Face's tuple.
    manifest : dict
        ``model``, ``corpus``, ``streams`` (by name, with ``tokens`` and ``state_dtype``) and
        whatever else the run knows.
    checks : sequence of Check
        Made during the run; those of the counts are added here.
    tokenizer : PreTrainedTokenizerBase, optional
        Turns token ids into text.

    Returns
    -------
    Profile
        What did not pass is also a `HiddenscopeWarning`.
    """
    decode = _decoder(tokenizer)
    trees = {"/": xr.Dataset()}
    for name, state in states.items():
        for group, dataset in _labelled(state, hf.get(name, {}), decode).items():
            trees[f"/{name}/{group}"] = dataset
    strata = next(iter(states.values())).layout.strata
    manifest = {
        **manifest,
        "strata": {"left_out_of_rest": sorted(strata.left_out)},
        "sites": {name: list(s.layout.sites) for name, s in states.items()},
        "thresholds": analysis.THRESHOLDS | manifest.get("thresholds", {}),
        "versions": {"hiddenscope": __version__}
        | {name: version(name) for name in _LIBRARIES}
        | {"python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
    }
    tree = xr.DataTree.from_dict(trees)
    tree.attrs = {
        **_about(manifest, tree),
        "schema_version": schema.VERSION,
        "manifest": _json(manifest),
        "checks": "[]",
    }
    made = list(checks)
    for name, stream in tree.children.items():
        made += check_stream(stream, manifest["streams"][name], several=len(tree.children) > 1)
    tree.attrs["checks"] = _json([check.as_dict() for check in made])
    for check in made:
        if not check.passed:
            warnings.warn(f"{check.name}: {check.detail}", HiddenscopeWarning, stacklevel=4)
    return Profile(tree)


def _about(manifest: Mapping[str, Any], tree: xr.DataTree) -> dict[str, str]:
    """Say what the file is to somebody who opens it with any other tool."""
    model, corpus = manifest["model"].get("name"), manifest["corpus"].get("name")
    partial = analysis.partial_words(manifest["corpus"])
    groups = ", ".join(f"/{name}/{group}" for name in tree.children for group in tree[name])
    return {
        "title": clean(f"Hidden states of {model} on {corpus}" + f" ({partial})" * bool(partial)),
        "description": "How the hidden states of a transformer language model are distributed: "
        "exact histograms, moments, co-moments between sites, norms, extremes and a sample, by "
        f"site, stratum of tokens and channel, in the groups {groups}",
        "how_to_open": "hiddenscope.open(path), or xarray.open_datatree(path, engine='h5netcdf'); "
        "`hiddenscope show PATH --table all -o FOLDER` writes every table as CSV",
        "source": f"hiddenscope {__version__}",
    }


def _labelled(state: StreamState, hf: Mapping[str, int], decode: Any) -> dict[str, xr.Dataset]:
    sites = state.layout.sites
    shared = {
        "site": np.array(sites),
        "hf_index": np.array([hf.get(s, -1) for s in sites], np.int64),
        "stratum": np.array(state.layout.strata.names),
    }
    return {
        name: label(name, arrays, state.layout, shared)
        for name, arrays in state.tables(decode).items()
    }


def label(
    group: str,
    arrays: Mapping[str, NDArray[Any]],
    layout: Layout,
    shared: Mapping[str, NDArray[Any]],
) -> xr.Dataset:
    """Label the arrays of a group as the schema says.

    Parameters
    ----------
    group : str
    arrays : mapping of str to ndarray
        By variable, as an accumulator's `tables` returns them.
    layout : Layout
    shared : mapping of str to ndarray
        Coordinates of the dimensions that several groups have.

    Returns
    -------
    Dataset
    """
    data: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, variable in schema.GROUPS[group].items():
        if name not in arrays:
            continue
        values = arrays[name]
        values = text_array(values) if variable.dtype == schema.TEXT else values
        settings = {key: getattr(layout, of) for key, of in variable.settings.items()}
        labelled = (variable.dims, values, variable.attrs | settings)
        (coords if variable.coordinate else data)[name] = labelled
    held = {dim for dims, *_ in data.values() for dim in dims}
    for name, values in shared.items():
        variable = schema.SHARED[name]
        if name not in data and set(variable.dims) <= held:
            coords[name] = (variable.dims, values, variable.attrs)
    compact = {"compact": int(layout.loud is not None)} if group == "cross" else {}
    return xr.Dataset(data, coords, compact)


def _decoder(tokenizer: PreTrainedTokenizerBase | None) -> Any:
    if tokenizer is None:
        return lambda ids: "".join(f"⟨{i}⟩" for i in ids)
    return lambda ids: tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)


def _json(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False, default=str))
