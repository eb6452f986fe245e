"""Fits on the grid's cells, against SciPy's own on the raw values."""

from __future__ import annotations

import numpy as np
import pytest
from known import from_arrays
from scipy import stats

from hiddenscope import grid
from hiddenscope.analysis import fits
from hiddenscope.analysis.fitting import FAMILIES, fit

SCIPY = {
    "normal": stats.norm,
    "laplace": stats.laplace,
    "logistic": stats.logistic,
    "student": stats.t,
}


def counts(values: np.ndarray) -> np.ndarray:
    return np.bincount(grid.cells_of(values).ravel(), minlength=grid.CELLS)


def raw(values: np.ndarray) -> dict[str, tuple[tuple[float, ...], float]]:
    """Return SciPy's parameters by family, and the mean logarithm of the density."""
    fitted = {family: law.fit(values) for family, law in SCIPY.items()}
    return {
        family: (parameters, float(log_density(family, values, parameters).mean()))
        for family, parameters in fitted.items()
    }


def log_density(family: str, values: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    if family == "laplace":  # SciPy takes the logarithm of what underflows
        location, scale = parameters
        return -np.abs(values - location) / scale - np.log(2 * scale)
    return SCIPY[family].logpdf(values, *parameters)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.standard_t(4, 20_000),
        lambda rng: 0.03 * rng.standard_t(2.2, 20_000) + 0.1,
        lambda rng: rng.laplace(-5, 2, 20_000),
        lambda rng: rng.logistic(3, 0.1, 20_000),
        lambda rng: rng.normal(40, 1, 20_000),
        lambda rng: np.append(rng.normal(0, 1, 20_000), [600.0, -900.0]),
    ],
    ids=["student", "heavy", "laplace", "logistic", "far from zero", "two massive values"],
)
def test_fits_are_those_of_scipy_on_raw_values(draw: object) -> None:
    values = draw(np.random.default_rng(5)).astype(np.float32).astype(np.float64)
    table, expected = fit(counts(values)), raw(values)
    best = expected["student"][1]
    for family in FAMILIES:
        row, (parameters, density) = table.loc[family], expected[family]
        *degrees, location, scale = parameters
        assert row["loc"] == pytest.approx(location, abs=0.02 * scale), family
        assert row["scale"] == pytest.approx(scale, rel=0.02), family
        if degrees and degrees[0] < 50:
            assert row["degrees"] == pytest.approx(degrees[0], rel=0.03)
        assert row["lost"] == pytest.approx(best - density, abs=2e-3, rel=0.02), family
    assert (table["values"] == len(values)).all()


def test_a_likelihood_is_that_of_the_cells() -> None:
    values = np.random.default_rng(1).standard_t(5, 5_000).astype(np.float32)
    table = fit(counts(values))
    # Bins of the joined cells hold more than one cell each: their likelihood is larger.
    row = table.loc["logistic"]
    cells = grid.merged(counts(values))
    filled = np.flatnonzero(cells)
    law = stats.logistic(row["loc"], row["scale"])
    cell = np.log(law.cdf(grid.EDGES[filled + 1]) - law.cdf(grid.EDGES[filled]))
    assert row["nats"] > (cell * cells[filled]).sum() / len(values)
    assert (table["nats"] < 0).all()


def test_bfloat16_values_stand_for_what_is_rounded_to_them() -> None:
    values = np.random.default_rng(2).normal(-10, 0.05, 40_000)
    bits = values.astype(np.float32).view(np.uint32)
    # To the nearest bfloat16, half of them away from zero.
    rounded = ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
    table = fit(counts(rounded), lossless=True)
    assert table.loc["normal", "loc"] == pytest.approx(values.mean(), abs=1e-3)
    assert table.loc["normal", "scale"] == pytest.approx(values.std(), rel=0.03)
    biased = fit(counts(rounded)).loc["normal", "loc"]
    assert abs(biased - values.mean()) > 0.02


def test_halfway_is_between_neighbours_of_bfloat16() -> None:
    at = np.searchsorted(grid.EDGES, [1.0, 2.0])
    assert grid.halfway(at).tolist() == [1 - 2**-9, 2 - 2**-8]
    below = np.searchsorted(grid.EDGES, -1.0, "right")
    assert grid.halfway(np.array([below])).tolist() == [-1 + 2**-9]
    ends = np.array([0, len(grid.EDGES) - 1])
    assert (grid.halfway(ends) == grid.EDGES[ends]).all()


def test_what_does_not_vary_has_no_fit() -> None:
    table = fit(counts(np.full(50, 3.0)))
    assert table["nats"].isna().all()
    assert (table["values"] == 50).all()
    assert fit(np.zeros(grid.CELLS, np.int64))["scale"].isna().all()


def test_values_of_which_most_are_equal_are_fitted() -> None:
    values = np.concatenate([np.zeros(9_000), np.random.default_rng(0).normal(size=1_000)])
    table = fit(counts(values))
    assert np.isfinite(table[["loc", "scale", "nats"]]).all(axis=None)


def test_sites_are_fitted_apart_and_infinities_left_out() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(200, 16)), rng.standard_t(3, size=(200, 16))
    second[7, 3] = np.inf
    p = from_arrays(block_0=first, block_1=second)
    table = fits(p.stream, "all", ("block.1", "block.0"))
    assert table.loc[("block.1.resid_post", "normal"), "values"] == 200 * 16 - 1
    assert table.loc[("block.0.resid_post", "normal"), "scale"] == pytest.approx(
        first.std(), rel=0.01
    )
    assert table["lost"].unstack()["normal"].idxmax() == "block.1.resid_post"
