"""What a stream's own numbers say of themselves: counts, what is not finite, coarse dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope import analysis, grid
from hiddenscope.capture import Check
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

_RESOLUTION = {"float64": 2.0**-24, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
FLOAT16_CELL = 0x4780
"""The first cell of magnitudes (65,536 and more) that float16, up to 65,504, cannot hold."""
MAX_CHANNELS = 4


def check_stream(
    stream: xr.DataTree, described: Mapping[str, Any], *, several: bool
) -> list[Check]:
    """Check the numbers of one stream.

    Parameters
    ----------
    stream : DataTree
    described : mapping
        What the manifest says of the stream: ``tokens`` by stratum, ``state_dtype`` by site.
    several : bool
        Whether the profile has other streams, so that the name must be said.

    Returns
    -------
    list of Check
    """
    where = f" ({stream.name})" if several else ""
    dtypes = described["state_dtype"]
    return [
        _check_counts(stream, described["tokens"], where),
        _check_finite(stream, dtypes, where),
        _check_range(stream, where),
        _check_resolution(stream, dtypes, where),
    ]


def _check_counts(stream: xr.DataTree, tokens: Mapping[str, int], where: str) -> Check:
    counts = np.asarray(analysis.group(stream, "grid")["count"].values).sum(-1)
    channels = analysis.group(stream, "moments").sizes["channel"]
    expected = np.array([tokens[s] for s in analysis.strata_of(stream)]) * channels
    passed = bool((counts == expected).all())
    detail = f"every site's grid counts sum to tokens × {counted(channels, 'channel')}{where}"
    return Check("counts", passed, detail if passed else f"does not hold: {detail}")


def _check_finite(stream: xr.DataTree, dtypes: Mapping[str, str], where: str) -> Check:
    counts = np.asarray(analysis.group(stream, "grid")["count"].values)
    by_site = grid.nonfinite(counts).sum(-1)
    bad = np.flatnonzero(by_site)
    if not len(bad):
        return Check("finite", True, f"no value is NaN or infinite{where}", "warning")
    moments = analysis.group(stream, "moments")
    by_channel = np.asarray(moments["nonfinite"].values).sum(1)
    documents = np.asarray(moments["nonfinite_document"].values)
    names = analysis.site_names(stream)
    parts = []
    for i in bad[:MAX_CHANNELS]:
        channels = np.flatnonzero(by_channel[i])
        shown = ", ".join(str(c) for c in channels[:MAX_CHANNELS])
        more = f" and {len(channels) - MAX_CHANNELS} more" if len(channels) > MAX_CHANNELS else ""
        first = documents[i][documents[i] >= 0].min()
        parts.append(f"{names[i]} ({by_site[i]:,}; channel {shown}{more}; document {first})")
    detail = (
        f"{counted(by_site.sum(), 'value is', 'values are')} NaN or infinite{where}, "
        f"first at {', '.join(parts)}: their tokens are left out of moments, norms and R², "
        "and counted in the grid"
    )
    if any(dtypes.get(names[i]) == "float64" for i in bad):
        detail += "; float64 values beyond float32 are counted as infinite"
    return Check("finite", False, detail, "warning", float(by_site.sum()))


def _check_range(stream: xr.DataTree, where: str) -> Check:
    counts = np.asarray(analysis.group(stream, "grid")["count"].values).sum(1)
    sign = grid.CELLS // 2
    over = sum(counts[:, side + FLOAT16_CELL : side + 0x7F80].sum(1) for side in (0, sign))
    bad = np.flatnonzero(over)
    if not len(bad):
        detail = f"every finite value fits into float16{where}"
        return Check("float16 range", True, detail, "warning")
    names = analysis.site_names(stream)
    at = int(bad[0])
    are = (f"value{where} is", f"values{where} are")
    detail = (
        f"{counted(int(np.sum(over)), *are)} beyond 65,504, which float16 could not hold, "
        f"first at {names[at]}"
    )
    return Check("float16 range", False, detail, "warning", float(np.sum(over)))


def _check_resolution(stream: xr.DataTree, dtypes: Mapping[str, str], where: str) -> Check:
    coarse = []
    for site in analysis.site_names(stream):
        table = analysis.channels(stream, site, "rest")
        step = _RESOLUTION.get(dtypes.get(site, "float32"), 0.0) * table["mean"].abs()
        n = int(((table["std"] < step) & (table["tokens"] > 1)).sum())
        if n:
            coarse.append((n, site, dtypes.get(site, "float32")))
    if not coarse:
        detail = f"the dtype of the states resolves every channel{where}"
        return Check("resolution", True, detail, "warning")
    n, site, dtype = max(coarse)
    vary = (f"channel at {site}{where} varies", f"channels at {site}{where} vary")
    detail = (
        f"{counted(n, *vary)} by less than one step of {dtype} about the mean: "
        "moments and R² are those of the rounding"
    )
    return Check("resolution", False, detail, "warning", float(n))
