"""Choosing what is measured, stream by stream, before a model is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hiddenscope import arguments
from hiddenscope.errors import SiteError
from hiddenscope.measuring.streams import group_by_basis
from hiddenscope.sites import select_sites

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hiddenscope.models import Structure, Tap


def choose_sites(patterns: str | Iterable[str], structure: Structure) -> dict[str, list[str]]:
    """Choose sites of every stream of a model.

    Parameters
    ----------
    patterns : str or iterable of str
        As in `hiddenscope.sites.select_sites`. In an encoder-decoder a part holds for both
        streams, or for the one before a slash: ``decoder/block.*.cross_out``.
    structure : Structure

    Returns
    -------
    dict of str to list of str
        By stream, those that have any.

    Raises
    ------
    SiteError
        A pattern matches nothing in any stream; the message names the points that exist, and says
        why a point that was asked for does not.
    """
    given = patterns.split(",") if isinstance(patterns, str) else patterns
    parts = [part.strip() for part in arguments.texts("sites", given, none=False)]
    if not parts:
        select_sites([], [], [])
    chosen: dict[str, list[str]] = {}
    errors: dict[str, SiteError] = {}
    matched = set()
    for stream in structure.streams:
        names: list[str] = []
        for part in parts:
            of, _, pattern = part.rpartition("/")
            if of and of != stream.name:
                continue
            try:
                found = select_sites(
                    pattern,
                    stream.sites,
                    stream.hf_sites,
                    stream.trunk,
                    structure.linear_sites(stream.name),
                )
            except SiteError as error:
                errors.setdefault(part, _explained(error, pattern, stream.refusals()))
                continue
            matched.add(part)
            names += [site.name for site in found]
        if names:
            chosen[stream.name] = [site.name for site in stream.sites if site.name in set(names)]
    for part in parts:
        if part not in matched:
            known = ", ".join(stream.name for stream in structure.streams)
            raise errors.get(
                part, SiteError(f"no stream {part.rpartition('/')[0]!r}: the model has {known}")
            )
    return chosen


def site_table(structure: Structure, chosen: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """List sites with where they are.

    Parameters
    ----------
    structure : Structure
    chosen : mapping of str to sequence of str
        Sites by stream, as `choose_sites` returns them.

    Returns
    -------
    DataFrame
        ``stream``, ``site``, ``HF`` (index in Hugging Face's tuple, −1 where it is not in it),
        ``width`` in channels, ``module`` (path and side of the tensor that is read), ``read by``
        (names of the linear layers that read it, in the model with its head, with blanks between).
    """
    rows = []
    for name, sites in chosen.items():
        stream = structure[name]
        groups = group_by_basis(stream.name, stream.width, stream.widths(sites))
        of = {site: group for group, held in groups.items() for site in held}
        taps, read = stream.taps, structure.linear.read.get(name, {})
        rows += [
            {
                "stream": of[site],
                "site": site,
                "HF": stream.hf.get(site, -1),
                "width": stream.width_of(site),
                "module": _place(taps[site]),
                "read by": " ".join(read.get(site, ())),
            }
            for site in sites
        ]
    return pd.DataFrame(rows)


def _place(tap: Tap) -> str:
    scaled = "" if tap.scale is None else ", scaled"
    call = f", call {tap.call}" if tap.call else ""
    return f"{tap.path or 'the model'} ({tap.side}{call}{scaled})"


def _explained(error: SiteError, pattern: str, refused: dict[str, str]) -> SiteError:
    point = pattern.rpartition(".")[2]
    if point not in refused:
        return error
    return SiteError(f"no site matches {pattern!r}: {refused[point]}; {error.args[0]}")
