"""The tables that only figures need, against plain NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from known import CHANNELS, SITES, VIEWS, count_between, from_arrays, known, nearest_boundary

from hiddenscope import analysis, grid
from hiddenscope.analysis import density, token_tables
from hiddenscope.analysis.largest import largest_map
from hiddenscope.errors import InputError, SiteError
from hiddenscope.profiles import Profile


@dataclass(frozen=True)
class Case:
    """A profile, a view of it, and its states by site."""

    profile: Profile
    view: str
    finite: dict[str, np.ndarray]
    """``[token, channel]`` of the tokens that are finite at the site."""
    values: dict[str, np.ndarray]
    """All finite values."""


@cache
def of_known(view: str) -> Case:
    held = known()
    finite = {site: held.finite(site, view) for site in SITES}
    return Case(held.profile, view, finite, {site: held.values(site, view) for site in SITES})


@cache
def many() -> Case:
    """Just as many values at each site as one in 10,000 of is one, the last with a large one."""
    rng = np.random.default_rng(8)
    scales = {"embed": 0.1, "block_0": 1.0, "block_1": 3.0}
    states = {s: (k * rng.normal(size=(250, 40)) + k).astype(np.float32) for s, k in scales.items()}
    states["block_1"][125, 3] = 9000
    p = from_arrays(**states)
    finite = {site: x.astype(np.float64) for site, x in zip(p.sites, states.values(), strict=True)}
    return Case(p, "rest", finite, {site: x.ravel() for site, x in finite.items()})


@cache
def few_and_many() -> Case:
    """A site that has no value, one of a single value, and another."""
    rng = np.random.default_rng(1)
    states = {
        "embed": np.full((20, 6), np.nan, np.float32),
        "block_0": np.full((20, 6), 2.5, np.float32),
        "block_1": rng.normal(size=(20, 6)).astype(np.float32),
    }
    p = from_arrays(**states)
    finite = dict(zip(p.sites, (x.astype(np.float64) for x in states.values()), strict=True))
    finite["embed"] = finite["embed"][:0]
    return Case(p, "rest", finite, {site: x.ravel() for site, x in finite.items()})


@cache
def two() -> Case:
    """Two values a site."""
    states = {"embed": np.float32([[1], [4]]), "block_0": np.float32([[-2], [3]])}
    p = from_arrays(**states)
    finite = {site: x.astype(np.float64) for site, x in zip(p.sites, states.values(), strict=True)}
    return Case(p, "rest", finite, {site: x.ravel() for site, x in finite.items()})


CASES = {
    **{view: lambda view=view: of_known(view) for view in VIEWS},
    "many": many,
    "few and many": few_and_many,
    "two": two,
}
each_case = pytest.mark.parametrize("case", CASES)


def scales_of(case: Case, x: str) -> pd.DataFrame:
    """From where and in what unit the values of each site are measured."""
    rows = []
    for site, states in case.finite.items():
        y, every = states.ravel(), case.values[site]
        row = {"tokens": len(states)} | dict.fromkeys(["mean", "std", "min", "max"], np.nan)
        dominated = np.nan
        if len(every):
            row |= {"min": every.min(), "max": every.max()}
        if len(y):
            row |= {"mean": y.mean(), "std": y.std(ddof=1)}
            squares = ((y - y.mean()) ** 2).sum()
            dominated = ((every - y.mean()) ** 2).max() / squares if y.std() else np.nan
        rows.append(row | {"dominated": dominated})
    table = pd.DataFrame(rows, index=pd.Index(case.finite, name="site"))
    if x != "sigma":
        return table.assign(origin=0.0, unit=(table["std"] > 0).astype(float))
    if not (table["dominated"] >= 0.1).any():
        return table.assign(origin=table["mean"], unit=table["std"])
    # The share of a normal below one deviation from its mean.
    sigma = (1 + math.erf(-1 / math.sqrt(2))) / 2
    low, middle, high = case.profile.quantiles([sigma, 0.5, 1 - sigma], case.view).values.T
    return table.assign(origin=middle, unit=(high - low) / 2)


def expected_densities(case: Case, x: str, bins: int) -> pd.DataFrame:
    scales = scales_of(case, x).assign(total=0.0, below=0.0, above=0.0, peak=np.nan)
    usable = scales.index[scales["unit"] > 0]
    channels = next(iter(case.finite.values())).shape[1]
    ends = []
    for site in usable:
        row = scales.loc[site]
        # Of few values not even one may lie beyond.
        beyond = 1e-4 if row["tokens"] * channels >= 10_000 else 0.0
        span = case.profile.quantiles([beyond, 1 - beyond], case.view, [site]).values[0]
        ends += [(span - row["origin"]) / row["unit"]]
    low, high = (np.min(ends), np.max(ends)) if ends else (-1, 1)
    linear = 1.0
    if x == "asinh" and ends:
        widths = np.diff(case.profile.quantiles([0.05, 0.95], case.view).values)[:, 0]
        linear = widths[widths > 0].min() / 2
        steps = linear * np.sinh(np.linspace(*np.arcsinh([low / linear, high / linear]), bins + 1))
    else:
        steps = np.linspace(low, high, bins + 1)
    rows = []
    for site in usable:
        row, values = scales.loc[site], case.values[site]
        origin, unit = row["origin"], row["unit"]
        wanted = origin + unit * steps
        # The cells of the first and of the last edge are whole.
        slack = 1e-12 * (abs(origin) + unit * np.abs(steps[[0, -1]]))
        first = grid.EDGES[wanted[0] - slack[0] >= grid.EDGES].max(initial=grid.EDGES[0])
        last = grid.EDGES[wanted[-1] + slack[1] < grid.EDGES].min(initial=grid.EDGES[-1])
        inner = {e for e in map(nearest_boundary, wanted) if first < e < last}
        edges = np.array(sorted({first, last} | inner))
        outside = [len(values), (values < edges[0]).sum(), (values >= edges[-1]).sum()]
        scales.loc[site, ["total", "below", "above"]] = outside
        scales.loc[site, "peak"] = (
            unit / np.sqrt(2 * np.pi) / (unit if x == "sigma" else row["std"])
        )
        mean, deviation = (origin, unit) if x == "sigma" else (row["mean"], row["std"])
        for left, right, count in zip(edges, edges[1:], count_between(values, edges), strict=False):
            share = count / len(values)
            z = ((left + right) / 2 - mean) / deviation
            rows.append(
                {
                    "site": site,
                    "left": (left - origin) / unit,
                    "right": (right - origin) / unit,
                    "count": count,
                    "share": share,
                    "density": share / ((right - left) / unit),
                    "normal": np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / (deviation / unit),
                }
            )
    columns = ["site", "left", "right", "count", "share", "density", "normal"]
    table = pd.DataFrame(rows, columns=columns)
    table.attrs = {"low": low, "high": high, "linear": linear, "sites": scales}
    return table


@each_case
@pytest.mark.parametrize(
    ("x", "bins"), [("linear", 31), ("asinh", 30), ("sigma", 31), ("sigma", 2)]
)
def test_densities_are_counts_over_total_and_width(case: str, x: str, bins: int) -> None:
    held = CASES[case]()
    expected = expected_densities(held, x, bins)
    found = density.densities(held.profile.stream, x, bins, held.view)
    scales, expected_scales = found.attrs.pop("sites"), expected.attrs.pop("sites")
    pd.testing.assert_frame_equal(scales, expected_scales, rtol=1e-9, atol=1e-12)
    assert found.attrs == pytest.approx(expected.attrs, rel=1e-9)
    found.attrs, expected.attrs = {}, {}
    pd.testing.assert_frame_equal(
        found, expected, rtol=1e-8, atol=1e-12, check_dtype=len(expected) > 0
    )
    # What is in no bin lies beyond the range, and that is little.
    counted = found.groupby("site")["count"].sum().reindex(scales.index).fillna(0)
    total = counted + scales["below"] + scales["above"]
    assert (total == scales["total"]).all()


def test_the_cases_are_what_they_are_meant_for() -> None:
    assert (scales_of(many(), "sigma")["dominated"] >= 0.1).tolist() == [False, False, True]
    some = scales_of(of_known("rest-massive"), "sigma")["dominated"]
    assert (some >= 0.1).tolist() == [False, False, False, True, False, False]
    assert (scales_of(of_known("rest"), "sigma")["dominated"] < 0.1).any()
    assert density.densities(many().profile.stream).attrs["sites"]["above"].max() >= 1


def test_densities_are_in_sigmas_in_160_bins_of_the_rest_by_default() -> None:
    stream = known().profile.stream
    expected = density.densities(stream, "sigma", 160, "rest", None)
    found = density.densities(stream)
    expected.attrs, found.attrs = {}, {}
    pd.testing.assert_frame_equal(found, expected)


def test_densities_of_chosen_sites_have_their_own_range() -> None:
    case = of_known("rest-massive")
    names = ["block.0.resid_post", "final_norm"]
    some = Case(
        case.profile,
        case.view,
        {site: case.finite[site] for site in names},
        {site: case.values[site] for site in names},
    )
    expected = expected_densities(some, "sigma", 20)
    found = density.densities(case.profile.stream, "sigma", 20, case.view, names)
    assert found.attrs["low"] == pytest.approx(expected.attrs["low"])
    np.testing.assert_array_equal(found["count"], expected["count"])
    with pytest.raises(SiteError):
        density.densities(case.profile.stream, sites=["block.9.resid_post"])


def test_a_value_with_a_tenth_of_the_variance_dominates() -> None:
    # One value of 2 among 36 of ±1, of mean 0: 4 of 40.
    even = np.float32([2, *[1] * 17, *[-1] * 19])[:, None]
    for factor, dominates in ((1.0, True), (0.98, False)):
        x = even.copy()
        x[0] *= factor
        for sign in (1, -1):
            table = density.densities(from_arrays(embed=sign * x).stream, "sigma", 5).attrs["sites"]
            # By quantiles the middle is one of the ±1.
            assert bool(abs(table.loc["embed", "origin"]) > 0.9) is dominates
    assert density.DOMINATED == 0.1
    assert density.BEYOND == 1e-4


@pytest.mark.parametrize(
    ("x", "bins", "says"),
    [
        ("furlongs", 10, "x 'furlongs': choose one of linear, asinh, sigma"),
        ("sigma", 1, "bins must be between 2 and 10,000, got 1"),
        ("sigma", 10_001, "bins must be between 2 and 10,000, got 10001"),
    ],
)
def test_what_makes_no_sense_is_refused(x: str, bins: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        density.densities(known().profile.stream, x, bins)


def test_ten_thousand_bins_are_not_too_many() -> None:
    assert len(density.densities(few_and_many().profile.stream, "sigma", 10_000)) > 100


def test_steps_are_even_on_their_axis() -> None:
    np.testing.assert_allclose(density.even_steps(-1, 3, 4, "linear", 9.0), [-1, 0, 1, 2, 3])
    np.testing.assert_allclose(density.even_steps(-1, 3, 2, "sigma", 9.0), [-1, 1, 3])
    found = density.even_steps(-8, 300, 5, "asinh", 2.5)
    assert found[[0, -1]] == pytest.approx([-8, 300])
    steps = np.diff(np.arcsinh(found / 2.5))
    np.testing.assert_allclose(steps, np.full(5, steps[0]))


def test_an_axis_is_asinh_where_blocks_are_of_unlike_width() -> None:
    # In bfloat16 the width of two values is exact.
    def scale(**ends: float | None) -> str:
        signs = torch.tensor([1.0, -1.0]).repeat(12).reshape(8, 3)
        states = {site: (signs * end).bfloat16() for site, end in ends.items()}
        return analysis.scale_of(from_arrays(**states).stream)

    assert density.MANY_TIMES == 10
    assert scale(block_0=1, block_1=10) == "linear"
    assert scale(block_0=1, block_1=10.0625) == "asinh"
    # Embeddings are always narrow: they do not decide; neither does what has no width.
    assert scale(embed=0.01, block_0=1, block_1=10) == "linear"
    assert scale(embed=1, block_0=1, final_norm=11) == "asinh"
    assert scale(embed=1, final_norm=11) == "asinh"
    assert scale(block_0=0, block_1=1, block_2=10) == "linear"
    assert scale(block_0=0) == "linear"


def test_the_scale_is_that_of_the_sites_and_the_view() -> None:
    stream = known().profile.stream
    for view in ("rest", "rest-massive", "first", "generated"):
        for sites in (None, ["block.0.resid_post", "block.1.attn_out"], ["final_norm"]):
            names = sites or list(SITES)
            widths = np.diff(known().profile.quantiles([1e-4, 1 - 1e-4], view, names).values)[:, 0]
            blocks = [width for width, site in zip(widths, names, strict=True) if "block" in site]
            wide = len(widths) and np.max(widths) > 10 * np.min(blocks or widths)
            assert analysis.scale_of(stream, view, sites) == ("asinh" if wide else "linear")
    assert analysis.scale_of(stream) == analysis.scale_of(stream, "rest")
    assert analysis.scale_of(few_and_many().profile.stream) == "linear"


def test_the_linear_part_is_half_the_narrowest_band() -> None:
    p = known().profile
    for view in ("rest", "all", "first"):
        for sites in (None, ["block.2.resid_post", "final_norm"]):
            ends = p.quantiles([0.05, 0.95], view, sites).values
            expected = (ends[:, 1] - ends[:, 0]).min() / 2
            assert density.linear_width(p.stream, view, sites) == pytest.approx(expected, rel=1e-12)
    assert density.linear_width(p.stream) == density.linear_width(p.stream, "rest")
    assert density.linear_width(p.stream, "generated") == 1
    # A site without values has no band, and one with a single value none that is wide.
    ends = few_and_many().profile.quantiles([0.05, 0.95]).values[-1]
    assert density.linear_width(few_and_many().profile.stream) == pytest.approx(
        np.diff(ends)[0] / 2
    )


@pytest.mark.parametrize("view", ["all", "rest", "special"])
@pytest.mark.parametrize(
    ("against", "columns"), [("position", 10), ("position", 500), ("channel", 7), ("channel", 40)]
)
def test_a_plane_counts_the_sample_by_place_and_value(
    view: str, against: str, columns: int
) -> None:
    sample = known().profile.sample(view)
    site = "block.1.attn_out"
    values = sample["state"].sel(site=site).values.astype(np.float64)
    assert view == "rest" or not np.isfinite(values).all()
    edges = np.linspace(-2.2, 1.7, 12)
    place = np.broadcast_to(
        sample["position"].values[:, None] if against == "position" else np.arange(CHANNELS),
        values.shape,
    )
    # Whole numbers of positions or channels, from 0.
    wide = math.ceil((place.max() + 1) / columns)
    count = math.ceil((place.max() + 1) / wide)
    table = token_tables.plane(sample, site, against, columns, edges)
    assert table.dims == ("row", "column")
    assert table.dtype == np.int64
    assert table["left"].values.tolist() == [wide * i - 0.5 for i in range(count)]
    assert table["right"].values.tolist() == [wide * i - 0.5 for i in range(1, count + 1)]
    assert table["bottom"].values.tolist() == edges[:-1].tolist()
    assert table["top"].values.tolist() == edges[1:].tolist()
    for column in range(count):
        inside = values[(place // wide == column) & np.isfinite(values)]
        np.testing.assert_array_equal(table.values[:, column], np.histogram(inside, edges)[0])


def test_a_plane_without_tokens_counts_nothing() -> None:
    sample = known().profile.sample("generated")
    table = token_tables.plane(sample, "embed", "position", 4, np.array([0.0, 1.0]))
    assert table.values.tolist() == [[0]]
    assert (table["left"].item(), table["right"].item()) == (-0.5, 0.5)


@pytest.mark.parametrize("view", VIEWS)
def test_the_map_is_relative_to_the_site(view: str) -> None:
    case = of_known(view)
    for columns, group in ((CHANNELS, 1), (10, 4), (7, 6), (1, 40)):
        table = largest_map(case.profile.stream, view, columns)
        assert table.attrs == {"group": group}
        assert table.index.tolist() == list(SITES)
        assert table.columns.tolist() == list(range(0, CHANNELS, group))
        assert table.columns.name == "channel"
        for site in SITES:
            size = np.abs(known().every(site, view))
            size[np.isinf(size)] = np.nan
            largest = np.fmax.reduce(size, axis=0, initial=np.nan)
            relative = largest / np.nanmedian(largest) if np.isfinite(largest).any() else largest
            expected = [np.fmax.reduce(relative[i : i + group]) for i in range(0, CHANNELS, group)]
            np.testing.assert_allclose(table.loc[site], expected, rtol=1e-12)
    assert largest_map(case.profile.stream).shape == (len(SITES), CHANNELS)
    np.testing.assert_array_equal(
        largest_map(case.profile.stream),
        largest_map(case.profile.stream, "rest", 512),
    )


def test_a_map_of_many_channels_has_512_columns_at_most() -> None:
    x = np.random.default_rng(0).normal(size=(3, 513)).astype(np.float32)
    assert largest_map(from_arrays(embed=x[:, :512]).stream).attrs == {"group": 1}
    table = largest_map(from_arrays(embed=x).stream)
    assert table.attrs == {"group": 2}
    assert table.shape == (1, 257)
