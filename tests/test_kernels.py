"""The kernels against plain float64 NumPy, on fresh random and on hard inputs."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import (
    DTYPES,
    WIDTH,
    close,
    examples,
    from_bits,
    moment_scales,
    spread,
    sprinkle,
)

from hiddenscope import grid, kernels
from hiddenscope.kernels.counting import CHUNK, VALUES_AT_ONCE, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Made = Callable[[np.random.Generator, tuple[int, int], torch.finfo], np.ndarray]

THRESHOLD = 6.0
FACTOR = 1.5
CHANNELS = 11
MANY = 3 * CHUNK + 17

INPUTS: dict[str, Made] = {
    "normal": lambda rng, shape, _: rng.normal(size=shape),
    "around the threshold": lambda rng, shape, _: rng.integers(-13, 14, shape) / 2,
    "heavy tails": lambda rng, shape, _: np.clip(rng.standard_cauchy(shape), -6e4, 6e4),
    "far from zero": lambda rng, shape, _: 1e4 + rng.normal(size=shape),
    "over 1e8": lambda rng, shape, info: rng.normal(size=shape) * min(1e9, info.max / 8),
    "the largest": lambda rng, shape, info: info.max * rng.choice([-1, 0, 1], shape),
    "denormal": lambda rng, shape, info: info.tiny / 8 * rng.normal(size=shape),
    "zeros of both signs": lambda rng, shape, _: np.copysign(0.0, rng.normal(size=shape)),
    "constant": lambda _, shape, __: np.full(shape, 0.1),
}
inputs = pytest.mark.parametrize("kind", INPUTS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
tokens = pytest.mark.parametrize("n_tokens", [1, CHUNK, MANY])


def make(kind: str, dtype: torch.dtype, n_tokens: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng([seed, n_tokens, *kind.encode()])
    values = INPUTS[kind](rng, (n_tokens, CHANNELS), torch.finfo(dtype))
    return torch.from_numpy(values.astype(np.float32)).to(dtype)


def check_cells(cells: torch.Tensor, values: np.ndarray) -> None:
    found = cells.numpy()
    assert found.dtype == np.int64
    finite = np.isfinite(values)
    between = np.histogram(values[finite].astype(np.float64), grid.EDGES)[0]
    np.testing.assert_array_equal(grid.merged(found), between)
    assert found[0x7F80] == np.count_nonzero(values == np.inf)
    assert found[0xFF80] == np.count_nonzero(values == -np.inf)
    assert found[0x7FC0] == np.count_nonzero(np.isnan(values))
    assert found.sum() == values.size


def scan_one(states: torch.Tensor, start: int = 0, stop: int | None = None) -> kernels.Scan:
    """Scan tokens as one stratum, before and behind it two that hold the others."""
    stop = len(states) if stop is None else stop
    made = kernels.scan(states, [0, start, stop, len(states)], THRESHOLD, FACTOR)
    by_token = {"finite", "row_sum", "row_sumsq", "row_absmax"}
    parts = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    return kernels.Scan(
        **{name: x[start:stop] if name in by_token else x[1] for name, x in parts.items()}
    )


def check_scan(states: torch.Tensor) -> None:
    """Compare a scan with what plain arithmetic yields from the same states."""
    compare(scan_one(states), states)


def compare(scan: kernels.Scan, states: torch.Tensor) -> None:
    values = states.float().numpy()
    check_cells(scan.cells, values)
    finite = np.isfinite(values).all(1)
    np.testing.assert_array_equal(scan.finite, finite)
    np.testing.assert_array_equal(scan.nonfinite, (~np.isfinite(values)).sum(0))
    kept = values[finite].astype(np.float64)
    known = np.isfinite(values)
    np.testing.assert_array_equal(scan.minimum, values.min(0, initial=np.inf, where=known))
    np.testing.assert_array_equal(scan.maximum, values.max(0, initial=-np.inf, where=known))
    np.testing.assert_array_equal(scan.over, (np.abs(kept) >= THRESHOLD).sum(0))
    sumsq = scan.row_sumsq[finite].numpy()[:, None]
    with np.errstate(over="ignore"):
        far = (kept**2 * kept.shape[1] >= FACTOR**2 * sumsq) & (sumsq > 0)
    np.testing.assert_array_equal(scan.over_rms, far.sum(0))
    mean = kept.sum(0) / max(len(kept), 1)
    power = {f"m{k}": ((kept - mean) ** k).sum(0) for k in (2, 3, 4)}
    scales = moment_scales(np.array(len(kept)), mean, power["m2"], power["m4"])
    for key, expected in ({"mean": mean} | power).items():
        close(getattr(scan, key), expected, scales[key], key)
    norms = np.sqrt((kept**2).sum(1, keepdims=True))
    units = np.divide(kept, norms, out=np.zeros_like(kept), where=norms > 0)
    expected = units.sum(0) / max(len(kept), 1)
    close(scan.unit_mean, expected, np.abs(units).sum(0) / max(len(kept), 1), "unit_mean")
    close(scan.row_sum[finite], kept.sum(1), np.abs(kept).sum(1), "row_sum")
    close(scan.row_sumsq[finite], (kept**2).sum(1), (kept**2).sum(1), "row_sumsq")
    np.testing.assert_array_equal(scan.row_absmax[finite], np.abs(kept).max(1, initial=0))
    integers = (scan.cells, scan.over, scan.over_rms, scan.nonfinite)
    assert all(x.dtype == torch.int64 for x in integers)
    assert scan.finite.dtype == torch.bool


@inputs
@dtypes
@tokens
@pytest.mark.parametrize("bad", [0.0, 0.05, 1.0], ids=["finite", "some not finite", "none finite"])
def test_scan_yields_what_numpy_yields(
    kind: str, dtype: torch.dtype, n_tokens: int, bad: float
) -> None:
    states = make(kind, dtype, n_tokens)
    check_scan(sprinkle(states, np.random.default_rng(n_tokens), bad))


@dtypes
@pytest.mark.parametrize("bad", [0.0, 0.05])
def test_every_stratum_is_scanned_as_if_it_were_alone(dtype: torch.dtype, bad: float) -> None:
    states = sprinkle(make("heavy tails", dtype, MANY), np.random.default_rng(2), bad)
    bounds = [0, 0, 1, CHUNK + 5, CHUNK + 5, MANY - 2, MANY]
    together = kernels.scan(states, bounds, THRESHOLD, FACTOR)
    assert together.cells.shape == (len(bounds) - 1, grid.CELLS)
    for k, (start, stop) in enumerate(pairwise(bounds)):
        alone = scan_one(states[start:stop])
        for field in dataclasses.fields(alone):
            whole, own = getattr(together, field.name), getattr(alone, field.name)
            found = whole[k] if len(whole) == len(bounds) - 1 else whole[start:stop]
            # Exactly: where a stratum begins decides the order of additions.
            np.testing.assert_array_equal(found, own, field.name)


def test_a_stratum_without_tokens_has_no_values() -> None:
    made = kernels.scan(torch.ones(3, 2), [0, 3, 3], THRESHOLD, FACTOR)
    names = ("cells", "mean", "m2", "m3", "m4", "unit_mean", "over", "over_rms", "nonfinite")
    for name in names:
        assert not getattr(made, name)[1].any(), name
    assert made.minimum[1].tolist() == [np.inf, np.inf]
    assert made.maximum[1].tolist() == [-np.inf, -np.inf]


@dtypes
@pytest.mark.parametrize("most", [1, 3, 1000])
def test_the_largest_are_those_that_reach_the_floor_and_the_last_of_their_channel(
    dtype: torch.dtype, most: int
) -> None:
    states = sprinkle(make("around the threshold", dtype, 40), np.random.default_rng(3), 0.1)
    channels = torch.tensor([7, 2, 4])
    floor = torch.tensor([0.0, 4.0, np.inf])
    token, column, magnitude = kernels.largest(states, channels, floor, most)
    expected = []
    values = states.double().numpy()
    for i, (channel, low) in enumerate(zip(channels.tolist(), floor.tolist(), strict=True)):
        sizes = np.abs(values[:, channel])
        sizes[~np.isfinite(sizes)] = -np.inf
        last = np.sort(sizes)[::-1][min(most, len(sizes)) - 1]
        expected += [(t, i, v) for t, v in enumerate(sizes) if v >= max(low, last) and v > -np.inf]
    found = list(zip(token.tolist(), column.tolist(), magnitude.tolist(), strict=True))
    assert found == sorted(expected)
    assert {i for _, i, _ in found} == {0, 1}


def octaves_of(values: np.ndarray) -> np.ndarray:
    """Count magnitudes ``[token, channel]`` by octave, ``[channel, octave]``."""
    ends = [*grid.OCTAVE_STARTS, np.inf]
    rows = [np.histogram(np.abs(x.astype(np.float64)), ends)[0] for x in values.T]
    return np.reshape(rows, (values.shape[1], grid.OCTAVES))


@inputs
@dtypes
@tokens
def test_octaves_are_counted_as_numpy_counts_them(
    kind: str, dtype: torch.dtype, n_tokens: int
) -> None:
    states = make(kind, dtype, n_tokens)
    counts = kernels.count_octaves(states)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts, octaves_of(states.float().numpy()))


def test_an_octave_holds_its_start_and_not_its_end() -> None:
    assert grid.OCTAVE_STARTS.tolist() == [0.0, *(2.0**k for k in range(-14, 17))]
    for k in range(-14, 17):
        below = np.nextafter(np.float32(2.0**k), np.float32(0))
        counts = kernels.count_octaves(torch.tensor([[2.0**k, -float(below)]]))
        assert counts[:, k + 14 : k + 16].tolist() == [[0, 1], [1, 0]]
    ends = torch.tensor([[0.0, -0.0, 1e-45, 3.4e38]])
    assert kernels.count_octaves(ends)[:, [0, -1]].tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]


@st.composite
def any_bits(draw: st.DrawFn) -> torch.Tensor:
    """States of any bit pattern whatever, or only of a few."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(1, 1), (1, 7), (9, 3), (CHUNK + 1, 2)]))
    width = np.iinfo(WIDTH[dtype])
    pool = draw(st.lists(st.integers(0, width.max), min_size=1, max_size=40))
    return from_bits(np.random.default_rng(len(pool)).choice(pool, shape), dtype)


@examples(50)
@given(any_bits())
def test_scan_yields_what_numpy_yields_for_any_bits(states: torch.Tensor) -> None:
    check_scan(states)


@pytest.mark.parametrize("pattern", [0x7F800001, 0xFF800001, 0x7F80FFFF, 0xFF807FFF])
def test_a_nan_with_zero_high_mantissa_bits_is_no_infinity(pattern: int) -> None:
    states = torch.zeros(CHUNK + 2, 3)
    states[CHUNK, 1] = from_bits(np.array([pattern]), torch.float32)[0]
    scan = scan_one(states)
    assert scan.cells[[0x7F80, 0xFF80]].tolist() == [0, 0]
    assert scan.nonfinite.tolist() == [0, 1, 0]
    assert torch.nonzero(~scan.finite).tolist() == [[CHUNK]]


@dtypes
def test_the_cell_of_a_value_does_not_depend_on_the_tokens_beside_it(dtype: torch.dtype) -> None:
    states = sprinkle(make("normal", dtype, CHUNK + 9), np.random.default_rng(1), 0.5)
    alone = [scan_one(row[None]).cells for row in states]
    together = scan_one(states).cells
    np.testing.assert_array_equal(torch.stack(alone).sum(0), together)


@dtypes
def test_scan_reads_strided_states_and_leaves_them_as_they_are(dtype: torch.dtype) -> None:
    states = sprinkle(make("normal", dtype, MANY), np.random.default_rng(0), 0.1)
    before = states.clone()
    check_scan(states.T.contiguous().T)
    check_scan(states[::3, 2:7])
    check_scan(states)
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(states.view(bits), before.view(bits))


def related(kind: str, n_tokens: int) -> tuple[list[torch.Tensor], np.ndarray]:
    """Make sites of three dtypes that share a part, and their float64 values."""
    rng = np.random.default_rng(len(kind))
    common = make(kind, torch.float32, n_tokens).double().numpy()
    states = []
    for dtype in (*DTYPES, torch.float32):
        top = torch.finfo(dtype).max / 2
        mixed = (
            common * rng.uniform(0.2, 1.5, CHANNELS)
            + make(kind, dtype, n_tokens, 1).double().numpy()
        )
        states.append(torch.from_numpy(np.clip(mixed, -top, top).astype(np.float32)).to(dtype))
    return states, np.stack([x.double().numpy() for x in states])


@inputs
@tokens
@pytest.mark.parametrize("centred", [True, False])
def test_comoments_are_numpys_for_every_pair_of_sites(
    kind: str, n_tokens: int, centred: bool
) -> None:
    states, values = related(kind, n_tokens)
    means = values.mean(1)
    if not centred:
        means += values.std(1)
    d = values - means[:, None]
    expected = np.einsum("atc,btc->abc", d, d)
    s = spread(np.array(n_tokens), means, (d * d).sum(1))
    scale = n_tokens * s[:, None] * s
    before = [x.clone() for x in states]
    full = kernels.comoment(states, torch.from_numpy(means))
    close(full, expected, scale, "comoment")

    loud = torch.tensor([7, 0, 10])
    parts = kernels.comoment_parts(states, torch.from_numpy(means), loud)
    assert parts.keys() == {"sum", "self", "next", "loud"}
    close(parts["sum"], expected.sum(-1), scale.sum(-1), "sum")
    sites = np.arange(len(states))
    close(parts["self"], expected[sites, sites], scale[sites, sites], "self")
    close(parts["next"][:-1], expected[sites[:-1], sites[1:]], scale[sites[:-1], sites[1:]], "next")
    assert not parts["next"][-1].any()
    close(parts["loud"], expected[..., loud], scale[..., loud], "loud")
    assert all(torch.equal(x, y) for x, y in zip(states, before, strict=True))


def test_away_from_a_processor_much_is_read_at_once() -> None:
    here = torch.zeros(3, 64)
    assert at_once(here) == at_once(here, sites=9) == CHUNK
    there = torch.zeros(3, 64, device="meta")
    assert at_once(there) * 64 == at_once(there, sites=4) * 64 * 4 == VALUES_AT_ONCE
    assert at_once(torch.zeros(3, VALUES_AT_ONCE, device="meta")) == CHUNK


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_sites_side_by_side_come_in_order_each_on_one_thread(threads: int) -> None:
    seen = Counter[str]()
    # Every thread has begun before one may end, so that there are as many as said.
    together = threading.Barrier(threads)

    def work(item: int) -> tuple[int, int]:
        together.wait(timeout=60)
        seen[threading.current_thread().name] += 1
        return item, torch.get_num_threads()

    assert kernels.each(work, range(4), torch.device("cpu")) == [(i, 1) for i in range(4)]
    assert len(seen) == threads
    assert torch.get_num_threads() == threads
    assert kernels.each(lambda item: item, [3, 1], torch.device("meta")) == [3, 1]


def test_threads_of_others_are_left_as_they_are(threads: int) -> None:
    found: list[int] = []

    def begin(_: int) -> None:
        # It asks torch for the first time while sites are counted.
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()

    kernels.each(begin, range(4), torch.device("cpu"))
    assert found == [threads] * 4


def test_what_fails_for_one_site_is_raised_and_threads_are_as_before(threads: int) -> None:
    def work(item: int) -> None:
        if item:
            msg = "no such site"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="no such site"):
        kernels.each(work, range(2), torch.device("cpu"))
    assert torch.get_num_threads() == threads
