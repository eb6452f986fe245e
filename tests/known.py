"""A profile of made-up states that are known token by token, to compute references from.

Nothing in it is symmetric: every stratum has another count and mean, every site and channel
another scale and offset, blocks 0 and 1 go against each other, the mean drifts with position.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd
import pytest
import torch
from stat_helpers import Plain, Window, make_batch

import hiddenscope as hs
from hiddenscope import grid
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.measuring.assemble import assemble
from hiddenscope.profiles import Profile
from hiddenscope.stats import Layout, StreamState
from hiddenscope.strata import RECORDED

SITES = (
    "embed",
    "block.0.resid_post",
    "block.1.attn_out",
    "block.1.resid_post",
    "block.2.resid_post",
    "final_norm",
)
TRUNK = tuple(site for site in SITES if site != "block.1.attn_out")
BLOCKS = tuple(site for site in SITES if site.endswith(".resid_post"))
HF_INDEX = {"embed": 0, "block.0.resid_post": 1, "block.1.resid_post": 2, "final_norm": 3}
DTYPES = dict.fromkeys(SITES, torch.float32) | {"embed": torch.bfloat16}
CHANNELS = 40
LENGTHS = (100, 33, 21, 9, 1)
LOUD = 5
"""Channels that the compact form keeps whole here."""
CONSTANT = 3
"""A channel that has one value at each site."""
THRESHOLDS = {
    "massive": 50.0,
    "massive_ratio": 200.0,
    "outlier": 5.0,
    "outlier_rms": 3.0,
    "outlier_site_share": 0.5,
    "outlier_token_share": 0.1,
}
"""None of them as by default."""

VIEWS = {
    "rest": ("regular", "prompt", "generated", "massive"),
    "all": ("first", "special", "regular", "prompt", "generated", "massive"),
    "first": ("first",),
    "rest-massive": ("regular", "prompt", "generated"),
    "first+prompt": ("first", "prompt"),
    "generated": ("generated",),  # without tokens
    "special": ("special",),  # one token, not finite at block 1's attn_out
}


@dataclass(frozen=True)
class Known:
    """A profile, and every token that it was made of."""

    profile: Profile
    plain: Plain
    loud: tuple[int, ...]

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """``stratum, document, window, position, token_id`` by token."""
        table = pd.DataFrame(self.plain.places, columns=["document", "window", "position"])
        stratum = [RECORDED[code] for code in self.plain.stratum]
        return table.assign(stratum=stratum, token_id=self.plain.token_id)

    @cached_property
    def states(self) -> dict[str, np.ndarray]:
        """All states ``[token, channel]`` by site."""
        return {site: self.plain.values(site).astype(np.float64) for site in SITES}

    def chosen(self, view: str) -> np.ndarray:
        """Whether each token is in a view."""
        return np.isin(self.plain.stratum, [RECORDED.index(name) for name in VIEWS[view]])

    def every(self, site: str, view: str) -> np.ndarray:
        """States ``[token, channel]`` of a view, those that are not finite included."""
        return self.states[site][self.chosen(view)]

    def finite(self, site: str, view: str) -> np.ndarray:
        """States ``[token, channel]`` of the tokens of a view that are finite at the site."""
        states = self.every(site, view)
        return states[np.isfinite(states).all(1)]

    def values(self, site: str, view: str) -> np.ndarray:
        """All finite values of a view, also those of tokens that are not finite elsewhere."""
        states = self.every(site, view)
        return states[np.isfinite(states)]

    def joint(self, view: str, sites: tuple[str, ...] = TRUNK) -> np.ndarray:
        """States ``[site, token, channel]`` of the tokens that are finite at all these sites."""
        states = np.stack([self.every(site, view) for site in sites])
        return states[:, np.isfinite(states).all((0, 2))]


def _states(stratum: np.ndarray, position: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(12)
    count = len(stratum)
    shared = rng.normal(size=(count, CHANNELS))
    channel_scale = rng.permutation(np.geomspace(0.05, 2.5, CHANNELS))
    stratum_shift = 0.4 * rng.normal(size=(len(RECORDED), CHANNELS))
    loadings = dict(zip(SITES, (0.3, 1.0, 0.2, -1.3, 2.0, 3.1), strict=True))
    states = {}
    for number, (site, loading) in enumerate(loadings.items()):
        own = rng.normal(size=shared.shape)
        x = (loading * shared + 0.5 * own + stratum_shift[stratum]) * channel_scale
        x += rng.normal(size=CHANNELS) * (number + 1) / 8
        x += 0.004 * (number + 1) * position[:, None]
        x[:, CONSTANT] = 0.5 + number
        states[site] = x
    # Massive tokens: one channel in all of them at blocks 0 and 2, two others at block 1.
    massive = np.flatnonzero(stratum == RECORDED.index("massive"))
    for site in ("block.0.resid_post", "block.2.resid_post"):
        states[site][massive, 7] = 250 + 10 * np.arange(len(massive))
    states["block.1.resid_post"][massive[:3], 12] = -300, -700, 310
    states["block.1.resid_post"][massive[2:4], 21] = 150, -151
    first = np.flatnonzero(stratum == RECORDED.index("first"))
    states["block.2.resid_post"][first[:2], 30] = -900, 450
    # Outlier channels: at two blocks of three, and only at one.
    for site in BLOCKS[1:]:
        states[site][::6, 25] = 30
    states[BLOCKS[0]][::5, 31] = -25
    # Tokens that are not finite; the second has the largest value of its stratum.
    regular = np.flatnonzero(stratum == RECORDED.index("regular"))
    prompt = np.flatnonzero(stratum == RECORDED.index("prompt"))
    states["block.1.resid_post"][regular[4], 5] = np.nan
    states["block.1.resid_post"][prompt[9], [6, 9, 33]] = np.inf, -77, np.nan
    states["block.1.attn_out"][regular[11], 8] = -np.inf
    states["block.1.attn_out"][stratum == RECORDED.index("special"), 2] = np.nan
    return states


def _windows() -> list[Window]:
    rng = np.random.default_rng(5)
    total = sum(LENGTHS)
    starts = np.cumsum([0, *LENGTHS])[:-1]
    names = rng.choice(["regular", "prompt", "massive"], total, p=[0.4, 0.52, 0.08])
    names[starts] = "first"
    names[17] = "special"
    stratum = np.array([RECORDED.index(name) for name in names], np.int8)
    position = np.concatenate([np.arange(length) for length in LENGTHS])
    ids = rng.integers(0, 900, total)
    states = {
        site: torch.from_numpy(x.astype(np.float32)).to(DTYPES[site])
        for site, x in _states(stratum, position).items()
    }
    windows = []
    for number, (start, length) in enumerate(zip(starts, LENGTHS, strict=True)):
        rows = slice(int(start), int(start) + length)
        held = {site: x[rows] for site, x in states.items()}
        windows.append(
            Window(
                number // 2, number % 2, 1_000_003 * (number + 1), ids[rows], stratum[rows], held
            )
        )
    return windows


def _measure(layout: Layout, windows: list[Window]) -> StreamState:
    """Fold several batches, of which some are merged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hiddenscope.stats.cross.LOUD", LOUD)
        left = StreamState(layout)
        left.update(make_batch(layout, windows[:1]))
        right = left.sibling()
        right.update(make_batch(layout, windows[1:3]))
        right.update(make_batch(layout, windows[3:]))
        return left.merge(right)


def known(*, compact: bool = False) -> Known:
    """Return the profile, with the co-moments in full or in the compact form; made once."""
    return _known(compact)


@cache
def _known(compact: bool) -> Known:
    windows = _windows()
    layout = Layout(
        SITES,
        CHANNELS,
        strata=RECORDED,
        trunk=TRUNK,
        outlier=THRESHOLDS["outlier"],
        outlier_rms=THRESHOLDS["outlier_rms"],
        sample_tokens=30,
        loud=() if compact else None,
    )
    state = _measure(layout, windows)
    plain = Plain(windows)
    codes = plain.stratum
    tokens = {name: int((codes == code).sum()) for code, name in enumerate(RECORDED)}
    dtypes = {site: str(dtype).removeprefix("torch.") for site, dtype in DTYPES.items()}
    manifest = {
        "thresholds": THRESHOLDS,
        "streams": {"residual": {"of": "residual", "tokens": tokens, "state_dtype": dtypes}},
        "model": {"name": "known", "state_dtype": dtypes, "blocks": 3, "width": CHANNELS},
        "corpus": {"name": "made up"},
    }
    with warnings.catch_warnings():
        # Some tokens are not finite: that is meant.
        warnings.simplefilter("ignore", HiddenscopeWarning)
        profile = assemble(
            {"residual": state},
            hf={"residual": HF_INDEX},
            manifest=manifest,
            checks=[],
            tokenizer=None,
        )
    cross = profile.stream["cross"]
    loud = tuple(int(c) for c in cross["loud"].values) if compact else ()
    return Known(profile, plain, loud)


def in_cells(values: np.ndarray) -> np.ndarray:
    """Sort values, those of one cell of the grid spread evenly over it, as quantiles take them.

    A cell is the top half of a float32's bits; it reaches from its value towards larger
    magnitudes.
    """
    bits = np.sort(np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000))
    cells, first, count = np.unique(bits, return_index=True, return_counts=True)
    inside = (np.arange(len(bits)) - np.repeat(first, count) + 0.5) / np.repeat(count, count)
    near = cells.view(np.float32).astype(np.float64)
    far = (cells + np.uint32(1 << 16)).view(np.float32).astype(np.float64)
    # Nothing is assumed inside of the cells of zero, and within a cell larger values come later.
    low, high = (
        np.where(near == 0, 0.0, end) for end in (np.minimum(near, far), np.maximum(near, far))
    )
    return np.sort(np.repeat(low, count) + np.repeat(high - low, count) * inside)


def quantile(values: np.ndarray, q: np.ndarray | float) -> np.ndarray:
    """Return NumPy's quantiles of `in_cells`, NaN without values."""
    spread = in_cells(values)
    return np.quantile(spread, q) if len(spread) else np.full(np.shape(q), np.nan)


def from_arrays(**states: np.ndarray) -> Profile:
    """Measure arrays ``[token, channel]`` by site; ``block_0`` stands for its output."""
    named = {
        site.replace("block_", "block.") + ".resid_post" * site.startswith("block_"): x[None]
        for site, x in states.items()
    }
    with warnings.catch_warnings():
        # Values that are not finite and channels that hardly vary are meant.
        warnings.simplefilter("ignore", HiddenscopeWarning)
        return hs.from_states(named, causal=False)


def nearest_boundary(value: float) -> float:
    """Return the boundary of the grid's cells next to a value, the lower of two as near."""
    return float(grid.EDGES[np.abs(grid.EDGES - value).argmin()])


def count_between(values: np.ndarray, edges: np.ndarray | list[float]) -> np.ndarray:
    """``numpy.histogram``, but the last bin does not hold its right edge."""
    return np.histogram(values, [*edges, np.inf])[0][:-1] if len(edges) > 1 else np.zeros(0, int)


SIX_BLOCKS = [f"block.{i}.resid_post" for i in range(6)]


@cache
def six_blocks() -> Profile:
    """Measure a random walk through six blocks, in which channel 7 drifts away."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 40, 48)).astype(np.float32)
    states = {"embed": 0.1 * x}
    for i, site in enumerate(SIX_BLOCKS):
        x = x + rng.normal(size=x.shape).astype(np.float32)
        x[..., 7] += 2 * i
        states[site] = x.copy()
    states["final_norm"] = x / x.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HiddenscopeWarning)
        return hs.from_states(states, name="made up")
