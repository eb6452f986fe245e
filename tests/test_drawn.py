"""The tables that only figures need, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.analysis import drawn
from hiddenscope.errors import InputError

SITES = ("embed", "block.0.resid_post", "block.1.resid_post")


@pytest.fixture(scope="module")
def states() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    scales = dict(zip(SITES, (0.1, 1.0, 3.0), strict=True))
    made = {s: (k * rng.normal(size=(4, 80, 40))).astype(np.float32) for s, k in scales.items()}
    made["block.1.resid_post"][2, 5, 3] = 9000
    return made


def profile(states: dict[str, np.ndarray], *sites: str) -> hs.Profile:
    chosen = sites or SITES
    return hs.from_states({s: states[s] for s in chosen}, causal=False)


@pytest.mark.parametrize("x", drawn.SCALES)
def test_densities_are_counts_over_total_and_width(states: dict[str, np.ndarray], x: str) -> None:
    p = profile(states)
    table = drawn.densities(p.stream, x, 50)
    scales = table.attrs["sites"]
    for site in SITES:
        part = table[table["site"] == site]
        values = states[site].astype(np.float64).ravel()
        origin, unit = scales.loc[site, "origin"], scales.loc[site, "unit"]
        edges = np.append(part["left"], part["right"].iloc[-1])
        # Rounding must not move a value over an edge, which is a boundary of a cell.
        bounds = (origin + unit * edges) * (1 + 1e-12)
        expected = np.histogram(values, np.sort(bounds))[0]
        assert np.abs(part["count"] - expected).sum() <= 4
        width = np.diff(edges)
        np.testing.assert_allclose(part["density"], part["count"] / len(values) / width)
        assert scales.loc[site, "total"] == len(values)
        counted = part["count"].sum() + scales.loc[site, ["below", "above"]].sum()
        assert counted == len(values)
        beyond = (values < bounds[0]).sum(), (values >= bounds[-1]).sum()
        assert abs(scales.loc[site, "below"] - beyond[0]) <= 2
        assert abs(scales.loc[site, "above"] - beyond[1]) <= 2
        assert max(scales.loc[site, ["below", "above"]]) <= 1e-4 * len(values) + 2
        middle = (part["left"] + part["right"]) / 2
        z, height = (middle, 1) if x == "sigma" else ((middle - values.mean()) / values.std(), 0)
        normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / (height or values.std())
        np.testing.assert_allclose(part["normal"], normal, rtol=2e-3, atol=1e-9)
    if x == "sigma":
        assert (scales["dominated"] >= drawn.DOMINATED).tolist() == [False, False, True]
        values = states["block.1.resid_post"].astype(np.float64)
        low, median, high = np.quantile(values, [0.15865525, 0.5, 0.84134475])
        assert scales.loc[SITES[2], "origin"] == pytest.approx(median, abs=1e-2)
        assert scales.loc[SITES[2], "unit"] == pytest.approx((high - low) / 2, rel=1e-2)
        share = 9000**2 / ((values - values.mean()) ** 2).sum()
        assert scales.loc[SITES[2], "dominated"] == pytest.approx(share, rel=1e-3)


def test_sigma_is_the_deviation_where_no_value_dominates(states: dict[str, np.ndarray]) -> None:
    scales = drawn.densities(profile(states, *SITES[:2]).stream, "sigma").attrs["sites"]
    for site in SITES[:2]:
        values = states[site].astype(np.float64)
        assert scales.loc[site, "origin"] == pytest.approx(values.mean())
        assert scales.loc[site, "unit"] == pytest.approx(values.std(ddof=1))


def test_an_axis_is_asinh_where_blocks_are_of_unlike_width() -> None:
    x = np.random.default_rng(0).normal(size=(1, 300, 20)).astype(np.float32)
    blocks = {f"block.{i}.resid_post": x * 2**i for i in range(5)}

    def scale(**states: np.ndarray) -> str:
        return analysis.scale_of(hs.from_states(states, causal=False).stream)

    narrow = dict(list(blocks.items())[:4])
    # Embeddings are always narrow: they do not decide.
    assert scale(embed=x * 0.01, **narrow) == "linear"
    assert scale(embed=x, **blocks) == "asinh"
    assert scale(embed=x, final_norm=x * 90) == "asinh"


def test_the_linear_part_is_half_the_narrowest_band(states: dict[str, np.ndarray]) -> None:
    low, high = np.quantile(states["embed"].astype(np.float64), [0.05, 0.95])
    found = drawn.linear_width(profile(states).stream)
    assert found == pytest.approx((high - low) / 2, rel=0.01)


def test_a_plane_counts_the_sample_by_place_and_value(states: dict[str, np.ndarray]) -> None:
    p = profile(states, "embed")
    sample = p.sample("all")
    values = sample["state"].sel(site="embed").values.astype(np.float64)
    edges = np.linspace(-0.2, 0.3, 12)
    for against, columns in (("position", 10), ("channel", 7)):
        table = drawn.plane(sample, "embed", against, columns, edges)
        assert table.sizes["column"] <= columns
        place = np.broadcast_to(
            sample["position"].values[:, None] if against == "position" else np.arange(40),
            values.shape,
        )
        for column in range(table.sizes["column"]):
            left, right = (float(table[k][column]) for k in ("left", "right"))
            inside = values[(place > left) & (place < right)]
            expected = np.histogram(inside, edges)[0]
            np.testing.assert_array_equal(table.values[:, column], expected)


def test_the_map_is_relative_to_the_site(states: dict[str, np.ndarray]) -> None:
    p = profile(states)
    for columns, group in ((40, 1), (10, 4)):
        table = drawn.largest_map(p.stream, columns=columns)
        assert table.attrs["group"] == group
        for site in SITES:
            largest = np.abs(states[site]).max((0, 1)).astype(np.float64)
            relative = largest / np.median(largest)
            expected = relative.reshape(-1, group).max(1)
            np.testing.assert_allclose(table.loc[site], expected)


@pytest.mark.parametrize(("x", "bins"), [("furlongs", 10), ("sigma", 1)])
def test_what_makes_no_sense_is_refused(states: dict[str, np.ndarray], x: str, bins: int) -> None:
    with pytest.raises(InputError):
        drawn.densities(profile(states).stream, x, bins)
