"""Which strata a view holds, how many tokens, and how to say so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import arguments
from hiddenscope.analysis.cache import cached
from hiddenscope.errors import ProfileError, SiteError
from hiddenscope.sites import Site, full_name, select_sites
from hiddenscope.strata import LEFT_OUT_OF_REST, Strata

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

MAIN = "residual"
"""The stream that is meant where none is named."""


def stream_names(tree: xr.DataTree) -> list[str]:
    """Return the names of a profile's streams, in order."""
    return [str(name) for name in tree.children]


def stream_of(tree: xr.DataTree, name: str | None = None) -> xr.DataTree:
    """Return a stream of a profile: the one named, by default the residual stream or the first.

    Raises
    ------
    ProfileError
        There is no such stream.
    """
    names = stream_names(tree)
    if name is None:
        name = MAIN if MAIN in names or not names else names[0]
    if name not in names:
        held = f"it has {', '.join(names)}" if names else "it holds none"
        msg = f"this profile has no stream {name!r}: {held}"
        raise ProfileError(msg)
    return tree.children[name]


def trunk_sites(stream: xr.DataTree) -> list[str]:
    """Return the stream's sites that belong to the trunk, or all of them where none does."""
    names = site_names(stream)
    return [name for name in names if Site(name).in_trunk] or names


def manifest(stream: xr.DataTree) -> dict[str, Any]:
    """Return the manifest of the profile that a stream belongs to."""
    parsed: dict[str, Any] = json.loads(stream.root.attrs["manifest"])
    return parsed


def group(stream: xr.DataTree, name: str) -> xr.Dataset:
    """Return a group of a stream, such as ``moments``.

    Raises
    ------
    ProfileError
        The profile does not hold it.
    """
    if name not in stream.children:
        msg = (
            f"this profile holds no {name!r}, from which this would be answered (its schema is "
            f"{stream.root.attrs.get('schema_version')}): measure again to have it"
        )
        raise ProfileError(msg)
    return stream.children[name].dataset


def site_names(stream: xr.DataTree) -> list[str]:
    """Return the names of the stream's sites, in order."""
    return [str(s) for s in group(stream, "moments")["site"].values]


def block_sites(stream: xr.DataTree) -> list[int]:
    """Return the indices of the block outputs, or of every site where there are none."""
    names = site_names(stream)
    return [i for i, n in enumerate(names) if n.endswith(".resid_post")] or list(range(len(names)))


def site_index(stream: xr.DataTree, site: str) -> int:
    """Return where a site stands; ``block.3`` is the output of block 3.

    Raises
    ------
    SiteError
        The profile does not hold it.
    """
    names = site_names(stream)
    if full_name(site) not in names:
        msg = f"no site {site!r} in this profile: it has {', '.join(names)}"
        raise SiteError(msg)
    return names.index(full_name(site))


def label(site: object) -> str:
    """Say a site in words, as `Site.label`; an index of a table does as well."""
    return Site(str(site)).label


def highest(values: pd.Series[Any]) -> str:
    """Return the site at which a table by site has its largest number."""
    return str(_some(values).idxmax())


def lowest(values: pd.Series[Any]) -> str:
    """Return the site at which a table by site has its smallest number."""
    return str(_some(values).idxmin())


def _some(values: pd.Series[Any]) -> pd.Series[Any]:
    if not values.notna().any():
        msg = "no site has a number to compare: its states are zero, or none is finite"
        raise ProfileError(msg)
    return values


def choose_sites(stream: xr.DataTree, sites: str | list[str] | None) -> list[str]:
    """Choose sites of the profile by name, pattern or selection; all of them by default."""
    names = site_names(stream)
    if sites is None:
        return names
    held = group(stream, "moments")["hf_index"].values
    hf = [Site(n) for n, i in zip(names, held, strict=True) if i >= 0]
    if not isinstance(sites, str):
        sites = arguments.texts("sites", sites)
    return [s.name for s in select_sites(sites, [Site(n) for n in names], hf, linear=_read(stream))]


@cached
def _read(stream: xr.DataTree) -> tuple[Site, ...]:
    """Return the sites that linear layers read, as far as the profile says so."""
    about = manifest(stream)
    of = about.get("streams", {}).get(stream.name, {}).get("of")
    return tuple(Site(name) for name in about.get("linear", {}).get("read", {}).get(of, ()))


def hf_index(stream: xr.DataTree) -> NDArray[np.int64]:
    """Return each site's index in Hugging Face's ``hidden_states``, −1 where it is not in it."""
    return np.asarray(group(stream, "moments")["hf_index"].values, np.int64)


@cached
def strata_of(stream: xr.DataTree) -> Strata:
    """Return the profile's strata, and which of them ``rest`` leaves out."""
    names = tuple(str(s) for s in group(stream, "moments")["stratum"].values)
    # Earlier files do not say it: every run left out the same.
    left_out = manifest(stream).get("strata", {}).get("left_out_of_rest", LEFT_OUT_OF_REST)
    return Strata(names, frozenset(left_out) & set(names))


def strata_index(stream: xr.DataTree, view: str) -> NDArray[np.int64]:
    """Return the indices of the strata that a view holds.

    Raises
    ------
    ViewError
        The view is unknown.
    """
    strata = strata_of(stream)
    return np.array([strata.index(s) for s in strata.select(view)], np.int64)


@cached
def cell_counts(stream: xr.DataTree, view: str) -> NDArray[np.int64]:
    """Return counts ``[site, cell]`` of a view, which cannot be written to."""
    return over_strata(stream, group(stream, "grid")["count"], view)


def over_strata(stream: xr.DataTree, counts: xr.DataArray, view: str) -> NDArray[np.int64]:
    """Sum counts ``[site, stratum, …]`` over the strata of a view."""
    chosen = strata_index(stream, view)
    held = list(tokens(stream).values())
    # Of a file only strata that hold tokens are unpacked, and each by itself.
    parts = (counts[:, k].values for k in chosen if held[k])
    total = next(parts, None)
    if total is None:
        return np.zeros_like(counts[:, 0].values)
    for part in parts:
        total = total + part
    return np.asarray(total)


@cached
def tokens(stream: xr.DataTree) -> dict[str, int]:
    """Count the tokens of each stratum, non-finite ones included."""
    cells = np.asarray(group(stream, "grid")["count"][0].values).sum(-1)
    channels = group(stream, "moments").sizes["channel"]
    return {name: int(n) // channels for name, n in zip(strata_of(stream), cells, strict=True)}


def caption(stream: xr.DataTree, view: str) -> str:
    """Say in words which tokens a view holds, how many, and of how much of the text."""
    words = strata_of(stream).words(view, tokens(stream))
    partial = partial_words(manifest(stream).get("corpus", {}))
    return f"{words}; {partial}" if partial else words


def partial_words(corpus: Mapping[str, Any]) -> str:
    """Say of a manifest's corpus how far a run came that Ctrl-C ended; empty for any other."""
    partial = corpus.get("partial")
    if not partial:
        return ""
    if partial["share"] is None:
        return "partial"
    # It is neither nothing nor everything, whatever rounding says.
    about = {"0%": "under 1%", "100%": "over 99%"}
    share = f"{partial['share']:.0%}"
    return f"partial, {about.get(share, f'about {share}')} of {partial['of']}"
