"""The grid: every float32 has one cell, and what is read off the counts is what NumPy says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import EXAMPLES, examples

from hiddenscope import grid

NOT_A_NUMBER = 0x7FC0
LEVELS = (0.0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)

# Patterns at, just after and just before the start of a cell: edges, ±0, denormals, NaN, ±Inf.
patterns = st.builds(
    lambda cell, low: cell << 16 | low,
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 0x8000, 0xFFFF]) | st.integers(0, 0xFFFF),
)
finite_patterns = patterns.filter(lambda p: p >> 23 & 0xFF != 0xFF)
special_patterns = st.sampled_from(
    [0, 1, 0x80000000, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x80010000]
)

# ±0, denormal, the smallest normal, 1, a neighbour of 1, and the largest cells, of either sign.
CODES = [s | c for s in (0, 0x8000) for c in (0, 1, 0x7F, 0x80, 0x3F80, 0x3F81, 0x7F7E)]


def floats(bits: list[int]) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


def count(values: np.ndarray) -> np.ndarray:
    return np.bincount(grid.cells_of(values).ravel(), minlength=grid.CELLS)


def cell_width(values: np.ndarray) -> np.ndarray:
    """Return the width of the cell of each finite value."""
    at = np.searchsorted(grid.EDGES, np.asarray(values, np.float64), "right") - 1
    at = np.minimum(at, len(grid.EDGES) - 2)
    width = grid.EDGES[at + 1] - grid.EDGES[at]
    # The edges of a negative cell are next to its ends, and zero's two cells are one.
    return width * (1 + 2.0**-15)


def half_open(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Let numpy.histogram count; a bin added at the end keeps the last one half-open."""
    return np.histogram(values, np.append(edges, np.inf))[0][:-1]


@EXAMPLES
@given(patterns | special_patterns)
def test_the_cell_of_a_value_is_the_first_two_bytes_of_its_float32(pattern: int) -> None:
    value = floats([pattern])[0]
    (code,) = grid.cells_of([value])
    if np.isnan(value):
        assert int(code) == NOT_A_NUMBER
    else:
        assert int(code) == struct.unpack(">H", struct.pack(">f", value)[:2])[0]


@pytest.mark.parametrize("pattern", [0x7F800001, 0xFF800001, 0x7F80FFFF, 0x7FC00000, 0xFFFFFFFF])
def test_a_nan_is_never_counted_as_an_infinity(pattern: int) -> None:
    assert int(grid.cells_of(floats([pattern]))[0]) == NOT_A_NUMBER


def test_cells_have_the_shape_of_the_values_and_round_them_to_float32() -> None:
    assert grid.cells_of(1.0) == 0x3F80
    assert grid.cells_of([[1.0, -2.0], [0.0, -0.0]]).tolist() == [[0x3F80, 0xC000], [0, 0x8000]]
    assert grid.cells_of(np.float64([2 - 1e-12])).tolist() == [0x4000]
    assert grid.cells_of(np.float16([1.5])).tolist() == [0x3FC0]
    assert grid.cells_of(np.arange(6, dtype=np.float32)[::2]).tolist() == [0, 0x4000, 0x4080]


def test_each_finite_bfloat16_is_the_one_value_of_a_cell() -> None:
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16).double().numpy()
    every = every[np.isfinite(every)]
    counts = count(every)
    ordered = grid.ascending(counts)
    assert len(grid.FINITE) == len(every) == ordered.sum()
    assert (ordered == 1).all()
    np.testing.assert_array_equal(grid.VALUES, np.sort(every))
    assert grid.nonfinite(counts) == 0


def test_edges_ascend_and_cells_are_at_most_one_part_in_128_wide() -> None:
    assert (np.diff(grid.EDGES) > 0).all()
    assert grid.EDGES[0] == np.finfo(np.float32).min
    assert grid.EDGES[-1] == 2.0**128
    normal = grid.EDGES[:-1] >= np.finfo(np.float32).tiny
    width = np.diff(grid.EDGES)[normal]
    assert (width <= grid.EDGES[:-1][normal] / 128).all()


@EXAMPLES
@given(finite_patterns | special_patterns)
def test_every_float32_lies_between_the_edges_of_the_cell_that_counts_it(pattern: int) -> None:
    value = floats([pattern])
    (at,) = np.flatnonzero(grid.merged(count(value)))
    assert grid.EDGES[at] <= value[0] < grid.EDGES[at + 1]


def test_the_lower_edge_of_a_cell_is_below_all_its_values_or_the_smallest_of_them() -> None:
    codes = np.arange(grid.CELLS, dtype=np.uint32)
    ends = np.stack([codes << 16, (codes << 16) | 0xFFFF]).view(np.float32)
    finite = np.isfinite(ends).all(0)
    ends = np.where(finite, ends, 0).astype(np.float64)
    positive, negative = finite & (codes < 0x8000), finite & (codes >= 0x8000)
    np.testing.assert_array_equal(grid.LOWER[positive], ends[0, positive])
    # The next float32 below the value of largest magnitude, which belongs to the next cell.
    with np.errstate(over="ignore"):
        below = np.nextafter(ends[1].astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    below[np.isinf(below)] = -(2.0**128)
    np.testing.assert_array_equal(grid.LOWER[negative], below[negative])
    assert grid.LOWER[[0x7F80, 0xFF80]].tolist() == [np.inf, -np.inf]
    assert np.isnan(grid.LOWER[~finite & (codes & 0x7FFF > 0x7F80)]).all()


def test_both_zeros_are_counted_between_the_same_edges() -> None:
    merged = grid.merged(np.stack([count(np.float32([0.0])), count(np.float32([-0.0]))]))
    assert merged.shape == (2, len(grid.EDGES) - 1)
    np.testing.assert_array_equal(merged[0], merged[1])


@EXAMPLES
@given(st.lists(patterns, max_size=60))
def test_nonfinite_counts_nan_and_both_infinities_and_nothing_else(bits: list[int]) -> None:
    values = floats([*bits, 0x7F800000, 0xFF800000, 0x7F800001])
    counts = count(values)
    finite = np.isfinite(values)
    assert grid.nonfinite(counts) == np.count_nonzero(~finite)
    assert grid.ascending(counts).sum() == np.count_nonzero(finite)
    assert grid.nonfinite(np.stack([counts, 0 * counts])).tolist() == [(~finite).sum(), 0]


@examples(150)
@given(
    st.lists(finite_patterns | special_patterns, max_size=60),
    st.lists(st.integers(0, len(grid.EDGES) - 1), min_size=2, max_size=9, unique=True),
)
def test_rebin_counts_what_numpy_counts_between_any_boundaries(
    bits: list[int], at: list[int]
) -> None:
    edges = grid.EDGES[np.sort(at)]
    # Values on the edges themselves and right below them, wherever a float32 can be.
    on_edges = edges[edges < 2.0**127].astype(np.float32)
    below = np.nextafter(on_edges[on_edges > grid.EDGES[0]], np.float32(-np.inf))
    values = np.concatenate([floats(bits), on_edges, below])
    np.testing.assert_array_equal(grid.rebin(count(values), edges), half_open(values, edges))


@pytest.mark.parametrize("scale", [1e-41, 1e-3, 1.0, 1e30])
def test_rebin_counts_what_numpy_counts_between_snapped_bins(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=(2, 3, 2000)), np.zeros((2, 3, 2)), axis=-1)
    values = (scale * values).astype(np.float32)
    values[..., 0] = -0.0
    edges = grid.snap(np.linspace(-2 * scale, 2 * scale, 41))
    counts = np.stack([np.stack([count(v) for v in row]) for row in values])
    rebinned = grid.rebin(counts, edges)
    assert rebinned.shape == (2, 3, len(edges) - 1)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(rebinned[index], half_open(values[index], edges))


def test_rebin_leaves_out_what_is_not_finite() -> None:
    values = np.float32([1.0, np.nan, np.inf, -np.inf, -3e38])
    assert grid.rebin(count(values), grid.EDGES[[0, -1]]).tolist() == [2]


@pytest.mark.parametrize("edges", [[0.0, 1.0], [1.0, 1.001], [1.0, np.nan], [1.0, np.inf]])
def test_rebin_refuses_edges_that_are_not_boundaries(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="snap"):
        grid.rebin(np.zeros(grid.CELLS, np.int64), np.array(edges))


@EXAMPLES
@given(st.floats(-1e39, 1e39) | st.floats(-1e-38, 1e-38) | st.floats(-8, 8))
def test_snap_moves_to_the_nearest_boundary(wanted: float) -> None:
    (snapped,) = grid.snap([wanted])
    assert snapped in grid.EDGES
    assert abs(snapped - wanted) == np.abs(grid.EDGES - wanted).min()


def test_snap_keeps_boundaries_sorts_them_and_joins_those_that_coincide() -> None:
    edges = grid.EDGES[::997]
    np.testing.assert_array_equal(grid.snap(edges), edges)
    np.testing.assert_array_equal(grid.snap(edges[::-1]), edges)
    assert len(grid.snap([1.0, 1.0001, 1.0002])) == 1
    at = np.searchsorted(grid.EDGES, [1.0, 64.0])
    middle = (grid.EDGES[at] + grid.EDGES[at + 1]) / 2
    np.testing.assert_array_equal(grid.snap(middle), grid.EDGES[at], "halfway, the lower")
    assert grid.snap([-np.inf, np.inf]).tolist() == grid.EDGES[[0, -1]].tolist()


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).normal(size=20_001),
        np.random.default_rng(2).normal(5.0, 0.3, size=20_000),
        np.random.default_rng(3).uniform(-8, -1, 20_000),
        np.full(1000, -0.3),
    ],
    ids=["normal", "away from zero", "uniform", "constant"],
)
def test_quantiles_are_within_one_cell_of_numpys_where_values_lie_close(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    levels = np.array([0.05, 0.1, 0.25, 0.5, 0.5001, 0.75, 0.9, 0.95])
    found = grid.quantiles(count(values), levels, values.min(), values.max())
    expected = np.quantile(values.astype(np.float64), levels)
    assert (np.abs(found - expected) <= cell_width(expected)).all()


@EXAMPLES
@given(st.lists(finite_patterns, min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_within_one_cell_of_numpys_also_across_gaps(
    bits: list[int], level: float
) -> None:
    values = floats(bits).astype(np.float64)
    found = grid.quantiles(count(values), [level], values.min(), values.max())
    expected = np.quantile(values, level)
    beside = [np.quantile(values, level, method=m) for m in ("lower", "higher")]
    assert abs(found[0] - expected) <= cell_width(np.array(beside)).max()


@EXAMPLES
@given(st.lists(finite_patterns | special_patterns, min_size=1, max_size=60))
def test_quantiles_ascend_and_stay_between_the_smallest_and_the_largest(bits: list[int]) -> None:
    values = floats(bits).astype(np.float64)
    low, high = values.min(), values.max()
    found = grid.quantiles(count(values), LEVELS, low, high)
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (low, high)


@EXAMPLES
@given(st.lists(finite_patterns, min_size=1, max_size=60))
def test_quantiles_of_bfloat16_are_values_that_occur(bits: list[int]) -> None:
    values = floats([b & 0xFFFF0000 for b in bits]).astype(np.float64)
    found = grid.quantiles(count(values), LEVELS, values.min(), values.max(), lossless=True)
    np.testing.assert_array_equal(found, np.quantile(values, LEVELS, method="lower"))
    inside = np.quantile(values, [0.3, 0.6])
    cut = grid.quantiles(count(values), LEVELS, *inside, lossless=True)
    np.testing.assert_array_equal(cut, np.clip(found, *inside))


def spread_evenly(code: int, n: int) -> np.ndarray:
    """Return n values that are spread evenly over a cell, in the middle of equal parts."""
    near, far = floats([code << 16, (code + 1) << 16]).astype(np.float64)
    return near + (np.arange(n) + 0.5) / n * (far - near) * (code % 0x8000 > 0)


@EXAMPLES
@given(st.dictionaries(st.sampled_from(CODES), st.integers(1, 5), min_size=1))
def test_values_are_taken_to_be_spread_evenly_over_their_cell(held: dict[int, int]) -> None:
    counts = np.zeros(grid.CELLS, np.int64)
    counts[list(held)] = list(held.values())
    values = np.concatenate([spread_evenly(code, n) for code, n in held.items()])
    levels = np.linspace(0, 1, 13)
    found = grid.quantiles(counts, levels, -np.inf, np.inf)
    np.testing.assert_allclose(found, np.quantile(values, levels), rtol=1e-12)
    low, high = np.quantile(values, [0.2, 0.7])
    found = grid.quantiles(counts, levels, low, high)
    expected = np.quantile(np.clip(np.sort(values), low, high), levels)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    half_known = grid.quantiles(counts, [0.0, 1.0], -7e38, np.inf)
    np.testing.assert_allclose(half_known, [-7e38, values.max()], rtol=1e-12)


def test_folding_the_sign_adds_up_both_signs_and_leaves_out_what_is_not_finite() -> None:
    values = np.float32([[1, -1, 2, 0, -0.0, np.inf, -np.inf], [-1, -3, 3, 3, 3, np.nan, -0.5]])
    folded = grid.fold_sign(np.stack([count(row) for row in values]))
    assert folded.shape == (2, grid.CELLS // 2)
    finite = [np.abs(row[np.isfinite(row)]) for row in values]
    for row, magnitudes in zip(folded, finite, strict=True):
        np.testing.assert_array_equal(row, count(magnitudes)[: grid.CELLS // 2])


def test_quantiles_of_bfloat16_are_numpys_where_ranks_are_whole() -> None:
    values = torch.randn(1025, generator=torch.Generator().manual_seed(0)).bfloat16()
    values = values.double().numpy()
    levels = np.arange(1025) / 1024
    found = grid.quantiles(count(values), levels, values.min(), values.max(), lossless=True)
    np.testing.assert_array_equal(found, np.quantile(values, levels))


def test_quantiles_leave_out_what_is_not_finite_and_are_nan_without_counts() -> None:
    odd = np.float32([np.nan, np.inf, -np.inf, np.inf])
    values = np.float32([1.0, 2.0, 3.0])
    alone = grid.quantiles(count(values), LEVELS, 1.0, 3.0)
    beside = grid.quantiles(count(np.append(values, odd)), LEVELS, 1.0, 3.0)
    np.testing.assert_array_equal(beside, alone)
    assert np.isnan(grid.quantiles(count(odd), [[0.0, 1.0]], np.nan, np.nan)).tolist() == [[1, 1]]


def test_quantiles_of_magnitudes_are_within_one_cell_of_numpys() -> None:
    values = np.random.default_rng(4).lognormal(3, 0.2, 20_000).astype(np.float32)
    levels = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
    found = grid.magnitude_quantiles(count(values)[: grid.CELLS // 2], levels)
    expected = np.quantile(values.astype(np.float64), levels)
    assert (np.abs(found - expected) <= cell_width(expected)).all()


def test_the_first_and_last_quantile_of_magnitudes_are_the_ends_of_what_was_counted() -> None:
    values = np.float32([1.5, 2.0, 40.0])
    found = grid.magnitude_quantiles(count(values)[: grid.CELLS // 2], [0.0, 1.0])
    assert (np.abs(found - [1.5, 40.0]) <= cell_width(np.array([1.5, 40.0]))).all()


def test_around_two_values_lie_the_boundaries_of_their_cells() -> None:
    assert grid.around(1.0, 1.0) == (1.0, 1 + 2.0**-7)
    assert grid.around(1 - 1e-9, 1 - 1e-9) == (1 - 2.0**-8, 1.0)
    assert grid.around(2.0, 3.0) == (2.0, 3 + 2.0**-6)
    assert grid.around(0.0, 0.0)[0] < 0, "the cells of both zeros are one"
    assert grid.around(-np.inf, np.inf) == (grid.EDGES[0], grid.EDGES[-1])
