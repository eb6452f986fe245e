"""Putting a profile together: labels, checks, manifest."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hiddenscope import __version__, analysis, grid
from hiddenscope.capture import Check
from hiddenscope.corpus import adds_bos
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.profiles import SCHEMA_VERSION, Profile
from hiddenscope.profiles.files import clean, text_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from hiddenscope.stats import StreamState

STREAM = "residual"
_LIBRARIES = ("torch", "transformers", "numpy", "xarray", "h5netcdf")
_RESOLUTION = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
_TEXT = ("piece", "before", "after", "stratum")


def assemble(
    state: StreamState,
    *,
    hf: Mapping[str, int],
    manifest: dict[str, Any],
    checks: Sequence[Check],
    tokenizer: PreTrainedTokenizerBase | None,
) -> Profile:
    """Label a state and describe the run.

    Parameters
    ----------
    state : StreamState
    hf : mapping of str to int
        Site → index in Hugging Face's ``hidden_states``.
    manifest : dict
        ``model`` (with ``state_dtype``), ``corpus`` and whatever else the run knows.
    checks : sequence of Check
        Made during the run; those of the counts are added here.
    tokenizer : PreTrainedTokenizerBase, optional
        Turns token ids into text.

    Returns
    -------
    Profile
        What did not pass is also a `HiddenscopeWarning`.
    """
    layout = state.layout
    hf_index = np.array([hf.get(s, -1) for s in layout.sites], np.int64)
    labels = {
        "site": ("site", list(layout.sites), _named("site")),
        "hf_index": ("site", hf_index, _named("index in Hugging Face's hidden_states", "1")),
        "stratum": ("stratum", list(layout.strata), _named("stratum")),
    }
    groups = {}
    for name, dataset in state.datasets(_decoder(tokenizer)).items():
        for variable in _TEXT:
            if variable in dataset:
                dataset[variable].values = text_array(dataset[variable].values)
        held = {k: v for k, v in labels.items() if v[0] in dataset.dims}
        groups[name] = dataset.assign_coords(held)
        for key, coordinate in groups[name].coords.items():
            coordinate.attrs = _named(str(key).replace("_", " "), "1") | coordinate.attrs
    manifest = {
        **manifest,
        "sites": list(layout.sites),
        "thresholds": analysis.THRESHOLDS | {"outlier": layout.outlier},
        "versions": {"hiddenscope": __version__}
        | {name: version(name) for name in _LIBRARIES}
        | {"python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
    }
    tree = xr.DataTree.from_dict(
        {"/": xr.Dataset(), **{f"/{STREAM}/{name}": data for name, data in groups.items()}}
    )
    tree.attrs = {
        "schema_version": SCHEMA_VERSION,
        "manifest": _json(manifest),
        "checks": "[]",
    }
    made = [*checks, *_checks(tree.children[STREAM], manifest)]
    tree.attrs["checks"] = _json([check.as_dict() for check in made])
    for check in made:
        if not check.passed:
            warnings.warn(f"{check.name}: {check.detail}", HiddenscopeWarning, stacklevel=4)
    return Profile(tree)


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any] | None:
    """Return the manifest's description of a tokenizer."""
    if tokenizer is None:
        return None
    if tokenizer.is_fast:
        content = tokenizer.backend_tokenizer.to_str()
    else:
        content = json.dumps(sorted(tokenizer.get_vocab().items()))
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "adds_bos": adds_bos(tokenizer),
        "bos": tokenizer.bos_token,
    }


def _named(name: str, units: str = "text") -> dict[str, str]:
    return {"long_name": name, "units": units}


def _decoder(tokenizer: PreTrainedTokenizerBase | None) -> Any:
    if tokenizer is None:
        return lambda ids: "".join(f"⟨{i}⟩" for i in ids)
    return lambda ids: tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)


def _json(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False, default=str))


def _checks(stream: xr.DataTree, manifest: dict[str, Any]) -> list[Check]:
    corpus = manifest["corpus"]
    found = [_check_counts(stream, corpus["tokens"]), _check_finite(stream)]
    found.append(_check_resolution(stream, manifest["model"]["state_dtype"]))
    tokenizer = manifest.get("tokenizer")
    if tokenizer:
        added = "adds a BOS token" if tokenizer["adds_bos"] else "adds no BOS token"
        found.append(Check("BOS", True, f"the tokenizer {added}", "note"))
    total = sum(corpus["tokens"].values())
    special = corpus["tokens"].get("special", 0)
    detail = f"{total:,} counted, {special:,} of them special; {corpus['padding']:,} padding"
    if "documents_cut" in corpus:
        cut, documents = corpus["documents_cut"], corpus["documents"]
        detail += f"; {cut:,} of {documents:,} documents cut into windows"
    found.append(Check("tokens", True, detail, "note"))
    return found


def _check_counts(stream: xr.DataTree, tokens: Mapping[str, int]) -> Check:
    counts = np.asarray(analysis.group(stream, "grid")["count"].values).sum(-1)
    channels = analysis.group(stream, "moments").sizes["channel"]
    expected = np.array([tokens[s] for s in analysis.strata_names(stream)]) * channels
    passed = bool((counts == expected).all())
    detail = f"every site's grid counts sum to tokens × {channels} channels"
    return Check("counts", passed, detail if passed else f"does not hold: {detail}")


def _check_finite(stream: xr.DataTree) -> Check:
    counts = np.asarray(analysis.group(stream, "grid")["count"].values)
    by_site = grid.nonfinite(counts).sum(-1)
    bad = np.flatnonzero(by_site)
    if not len(bad):
        return Check("finite", True, "no value is NaN or infinite", "warning")
    names = analysis.site_names(stream)
    where = ", ".join(f"{names[i]} ({by_site[i]:,})" for i in bad[:4])
    detail = (
        f"{by_site.sum():,} values are NaN or infinite, first at {where}: their tokens are left "
        "out of moments, norms and R², and counted in the grid"
    )
    return Check("finite", False, detail, "warning")


def _check_resolution(stream: xr.DataTree, dtypes: Mapping[str, str]) -> Check:
    coarse = []
    for site in analysis.site_names(stream):
        table = analysis.channels(stream, site, "rest")
        step = _RESOLUTION.get(dtypes.get(site, "float32"), 0.0) * table["mean"].abs()
        n = int(((table["std"] < step) & (table["tokens"] > 1)).sum())
        if n:
            coarse.append((n, site, dtypes.get(site, "float32")))
    if not coarse:
        return Check(
            "resolution", True, "the dtype of the states resolves every channel", "warning"
        )
    n, site, dtype = max(coarse)
    detail = (
        f"{n} channels at {site} vary by less than one step of {dtype} about their mean: their "
        "moments and R² are those of the rounding"
    )
    return Check("resolution", False, detail, "warning")
