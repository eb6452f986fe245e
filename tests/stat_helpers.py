"""Made-up streams of hidden states, and what it means that two results are the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from hypothesis import Phase, settings

from hiddenscope.measuring.assemble import label
from hiddenscope.stats import Batch, Layout, gather
from hiddenscope.strata import PADDING, PLAIN
from hiddenscope.tokens import NO_TOKEN, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.stats import Accumulator, StreamState

# The same examples each time, but for `make test-random`, which draws new ones and prints what
# brings a failing one back. Whoever only asks whether any fails needs no smaller one.
_WANTED = os.environ.get("HIDDENSCOPE_EXAMPLES")
FRESH = _WANTED == "fresh"
EXAMPLES = settings(
    deadline=None,
    derandomize=not FRESH,
    database=None,
    print_blob=FRESH,
    phases=[Phase.explicit, Phase.generate] if _WANTED == "unshrunk" else settings.default.phases,
)


def examples(count: int) -> settings:
    """So many examples each time, and five times as many fresh ones."""
    return settings(EXAMPLES, max_examples=count * (5 if FRESH else 1))


SITES = ("embed", "block.0.resid_post", "final_norm")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDTH = {torch.float32: np.uint32, torch.bfloat16: np.uint16, torch.float16: np.uint16}
# +Inf, -Inf, an ordinary NaN, and NaN of both signs whose high mantissa bits are zero.
NOT_FINITE = {
    torch.float32: (0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFF800001),
    torch.bfloat16: (0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFF81),
    torch.float16: (0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFC01),
}


def from_bits(bits: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    signed = np.int32 if WIDTH[dtype] is np.uint32 else np.int16
    return torch.from_numpy(np.array(bits, WIDTH[dtype]).view(signed)).view(dtype)


def sprinkle(states: torch.Tensor, rng: np.random.Generator, rate: float) -> torch.Tensor:
    """Put one value that is not finite into a share of the tokens."""
    tokens = np.flatnonzero(rng.random(len(states)) < rate)
    channels = rng.integers(states.shape[1], size=len(tokens))
    bits = rng.choice(NOT_FINITE[states.dtype], len(tokens))
    made = states.clone()
    made[torch.from_numpy(tokens), torch.from_numpy(channels)] = from_bits(bits, states.dtype)
    return made


def close(
    actual: np.ndarray | torch.Tensor,
    expected: np.ndarray,
    scale: np.ndarray | float,
    what: str = "",
    tolerance: float = 1e-9,
) -> None:
    """Assert that numbers are equal to within a tolerance of a scale of their own."""
    actual = np.asarray(actual)
    assert actual.dtype == np.float64, what
    assert actual.shape == expected.shape, what
    assert np.isfinite(expected).all(), what
    error = np.abs(actual - expected)
    np.testing.assert_array_less(error, tolerance * scale + 1e-300, err_msg=what)


def spread(count: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> np.ndarray:
    """Return the standard deviation, with room for the last bits of a far-off mean."""
    return np.sqrt(m2 / np.maximum(count, 1)) + 1e-5 * np.abs(mean)


def moment_scales(
    count: np.ndarray, mean: np.ndarray, m2: np.ndarray, m4: np.ndarray
) -> dict[str, np.ndarray]:
    s = spread(count, mean, m2)
    return {
        "mean": s,
        "m2": count * s**2,
        "m3": np.maximum(np.sqrt(m2) * np.sqrt(m4), count * s**3),
        "m4": np.maximum(m4, count * s**4),
    }


@dataclass(frozen=True)
class Window:
    """One row of a batch, before padding."""

    document: int
    window: int
    digest: int
    ids: np.ndarray
    strata: np.ndarray
    states: dict[str, torch.Tensor]


def make_layout(channels: int, sites: Sequence[str] = SITES, **options: object) -> Layout:
    usual = {"sites": tuple(sites), "trunk": tuple(sites), "channels": channels, "strata": PLAIN}
    return Layout(**usual | options)


def make_windows(
    seed: int,
    lengths: Sequence[int],
    channels: int,
    dtypes: Sequence[torch.dtype] = DTYPES,
    *,
    bad: float = 0.1,
) -> list[Window]:
    """Make windows of all strata, with hard channels and values that are not finite.

    Channel 0 has a mean 10⁴ times its deviation, 1 is rarely very large, 2 is full of ties
    and zeros of both signs, 3 is denormal; the others are noise of very different scales.
    Every second document is the copy of the one before.
    """
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    shared = rng.normal(size=(total, channels))
    scale = 10.0 ** rng.uniform(-3, 1, channels)
    states = {}
    for site, dtype in zip(SITES, dtypes, strict=False):
        x = (shared + rng.normal(size=shared.shape)) * scale
        x[:, 0] = 1e4 + x[:, 0] / scale[0]
        x[:, 1] *= np.where(rng.random(total) < 0.1, 1e3, 1.0)
        x[:, 2] = np.copysign(rng.integers(0, 15, total) / 2, rng.normal(size=total))
        x[:, 3] *= 1e-40 if dtype != torch.float16 else 1e-6
        made = torch.from_numpy(x.astype(np.float32)).to(dtype)
        states[site] = sprinkle(made, rng, bad)
    strata = rng.choice([1, 2, 3], total, p=[0.25, 0.6, 0.15]).astype(np.int8)
    ids = rng.integers(0, 1000, total)
    windows = []
    for i, (start, n) in enumerate(zip(np.cumsum([0, *lengths]), lengths, strict=False)):
        at = slice(int(start), int(start) + n)
        own = strata[at].copy()
        own[:1] = 0
        rows = {site: x[at] for site, x in states.items()}
        windows.append(Window(i // 2, i % 2, 1_000_003 * (i // 4 + 1), ids[at], own, rows))
    return windows


def make_batch(
    layout: Layout, windows: Sequence[Window], *, padding: float = np.nan, extra: int = 1
) -> Batch:
    """Put windows side by side, padded on the right by more than the longest needs."""
    width = extra + max(len(w.ids) for w in windows)

    def padded(rows: list[np.ndarray], fill: int) -> np.ndarray:
        return np.stack([np.pad(r, (0, width - len(r)), constant_values=fill) for r in rows])

    tokens = Tokens(
        ids=padded([w.ids for w in windows], NO_TOKEN),
        strata=padded([w.strata for w in windows], PADDING),
        starts=padded([np.arange(len(w.ids)) == 0 for w in windows], 0),
        positions=padded([np.arange(len(w.ids)) for w in windows], 0),
        document=padded([np.full(len(w.ids), w.document) for w in windows], 0),
        window=np.array([w.window for w in windows]),
        digest=np.array([w.digest for w in windows], np.uint64),
    )
    states = {
        site: torch.stack(
            [
                torch.nn.functional.pad(
                    w.states[site], (0, 0, 0, width - len(w.ids)), value=padding
                )
                for w in windows
            ]
        )
        for site in layout.sites
    }
    return Batch(layout, tokens, {site: gather(tokens, x) for site, x in states.items()})


@dataclass(frozen=True)
class Plain:
    """Every token of some windows, one after the other."""

    windows: Sequence[Window]

    @cached_property
    def stratum(self) -> np.ndarray:
        return np.concatenate([w.strata for w in self.windows])

    @cached_property
    def position(self) -> np.ndarray:
        return np.concatenate([np.arange(len(w.ids)) for w in self.windows])

    @cached_property
    def token_id(self) -> np.ndarray:
        return np.concatenate([w.ids for w in self.windows])

    @cached_property
    def places(self) -> list[tuple[int, int, int]]:
        """(document, window, position) of every token."""
        return [(w.document, w.window, t) for w in self.windows for t in range(len(w.ids))]

    def values(self, site: str) -> np.ndarray:
        """All states of a site, ``[token, channel]`` of float32."""
        return np.concatenate([w.states[site].float().numpy() for w in self.windows])

    def finite(self, site: str) -> np.ndarray:
        return np.isfinite(self.values(site)).all(1)

    @cached_property
    def finite_everywhere(self) -> np.ndarray:
        sites = self.windows[0].states
        return np.all([self.finite(site) for site in sites], axis=0)


def decode(ids: Sequence[int]) -> str:
    return "".join(f"<{i}>" for i in ids)


def labelled(part: Accumulator) -> xr.Dataset:
    """Return the accumulator's group as a profile holds it, without the coordinates of others."""
    return label(part.name, part.tables(decode), part.layout, {})


def _scales(part: Accumulator) -> dict[str, np.ndarray]:
    """Return the scale of every array of sums; what has none must be identical."""
    a = part.arrays
    if part.name == "moments":
        scales = moment_scales(a["count"][..., None], a["mean"], a["m2"], a["m4"])
        return scales | {"unit_mean": np.ones_like(a["unit_mean"])}
    if part.name == "positions":
        n = a["count"] * part.layout.channels
        s = spread(n, a["mean"], a["m2"])
        return {"mean": s, "m2": n * s**2}
    if part.name == "cross":
        n = a["count"][:, None, None]
        own = a["self"] if "self" in a else np.einsum("kaac->kac", a["comoment"])
        s = spread(n, a["mean"], own)
        pairs = n[..., None] * s[:, :, None] * s[:, None]
        following = n * s * np.roll(s, -1, axis=1)
        scales = {"mean": s, "comoment": pairs, "sum": pairs.sum(-1), "self": n * s**2}
        loud = list(part.layout.loud or ())
        return scales | {"next": following, "loud": pairs[..., loud]}
    return {}


def assert_same(actual: Accumulator, expected: Accumulator) -> None:
    """Assert that integers, extremes and sample are identical, sums equal to 1e-9 of scale."""
    if expected.name == "sample":
        xr.testing.assert_identical(labelled(actual), labelled(expected))
        return
    scales = _scales(expected)
    assert actual.arrays.keys() == expected.arrays.keys()
    for key, want in expected.arrays.items():
        what, got = f"{expected.name}: {key}", actual.arrays[key]
        if key in scales:
            close(got, want, scales[key], what)
        else:
            assert got.dtype == want.dtype, what
            np.testing.assert_array_equal(got, want, err_msg=what)


def assert_identical(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Assert that two states hold the same bits."""
    assert actual.keys() == expected.keys()
    for key, want in expected.items():
        assert actual[key].dtype == want.dtype, key
        assert actual[key].shape == want.shape, key
        assert actual[key].tobytes() == want.tobytes(), key


def snapshot(state: StreamState) -> list[dict[str, np.ndarray]]:
    return [part.state() for part in state.parts]
