"""Every table of a profile against plain NumPy over the states that it was made of."""

from __future__ import annotations

import json
import pickle
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from known import (
    BLOCKS,
    CHANNELS,
    CONSTANT,
    HF_INDEX,
    LOUD,
    SITES,
    THRESHOLDS,
    TRUNK,
    VIEWS,
    Known,
    count_between,
    from_arrays,
    in_cells,
    known,
    nearest_boundary,
    quantile,
)

import hiddenscope as hs
from hiddenscope import analysis, grid
from hiddenscope.analysis import (
    correlation,
    distribution,
    largest,
    shares,
    summary,
    token_tables,
    views,
)
from hiddenscope.analysis.cache import cached
from hiddenscope.errors import InputError, ProfileError, SiteError, ViewError
from hiddenscope.profiles import Profile
from hiddenscope.strata import RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable

SUMS = {"rtol": 1e-9, "atol": 1e-12}
SITE_INDEX = pd.Index(SITES, name="site")

each_view = pytest.mark.parametrize("view", VIEWS)
each_form = pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])


@pytest.fixture(scope="module")
def full() -> Known:
    return known()


def bare(names: list[str], hf_index: list[int] | None = None) -> xr.DataTree:
    """Make a stream that has sites and nothing else."""
    moments = xr.Dataset(coords={"site": names})
    moments["hf_index"] = ("site", hf_index or [-1] * len(names))
    return xr.DataTree.from_dict({"/moments": moments})


# What is computed once


def test_a_table_is_computed_once_for_each_stream_and_may_be_changed() -> None:
    p, other = from_arrays(embed=np.ones((3, 4))), from_arrays(embed=np.full((3, 4), 2.0))
    calls = []

    @cached
    def table(stream: xr.DataTree, view: str = "rest") -> pd.DataFrame:
        calls.append((stream, view))
        return pd.DataFrame({"mean": stream["moments"]["mean"].values.ravel()})

    first = table(p.stream, "all")
    first.loc[0, "mean"] = 99.0
    first["more"] = 1
    assert table(p.stream, "all").columns.tolist() == ["mean"]
    assert 99.0 not in table(p.stream, "all")["mean"].to_numpy()
    assert len(calls) == 1
    assert not table(other.stream, "all").equals(table(p.stream, "all"))
    table(p.stream, view="rest")
    assert [view for _, view in calls] == ["all", "all", "rest"]
    # A kind of its own, though True == 1.
    table(p.stream, 1)  # type: ignore[arg-type]
    table(p.stream, True)  # type: ignore[arg-type]
    assert len(calls) == 5
    sums = summary.channel_means(p.stream, "all")
    with pytest.raises(ValueError, match="read-only"):
        sums["mean"][:] = 0.0
    # What cannot be looked up is refused by the function itself.
    with pytest.raises(InputError):
        analysis.loudest(p.stream, k=[1])  # type: ignore[arg-type]


def test_what_is_computed_once_is_not_sent_to_other_processes_or_kept_for_other_arrays() -> None:
    p = from_arrays(embed=np.arange(12.0).reshape(3, 4))
    before = p.moments("all")
    assert len(p.stream._hiddenscope_tables.held) > 0
    sent = pickle.loads(pickle.dumps(p))
    assert not sent.stream._hiddenscope_tables.held
    pd.testing.assert_frame_equal(sent.moments("all"), before)
    moments = p.dataset["residual/moments"].to_dataset()
    p.dataset["residual/moments"] = xr.DataTree(moments.assign(max=moments["max"] + 1))
    assert p.moments("all")["max"].tolist() == (before["max"] + 1).tolist()
    given = p.moments("all")
    given.loc["embed", "mean"] = 99.0
    p.moments("all")["mean"].array[0] = 99.0
    assert p.moments("all")["mean"].tolist() == before["mean"].tolist()


# Moments


def shape_of(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation, skewness and excess kurtosis of values."""
    nan = dict.fromkeys(("mean", "std", "skewness", "excess_kurtosis"), np.nan)
    if not len(values):
        return nan
    apart = values - values.mean()
    variance = (apart**2).mean()
    shape = nan | {"mean": values.mean()}
    if len(values) > 1:
        shape["std"] = values.std(ddof=1)
    # What one value repeated leaves is rounding.
    if variance > 1e-20:
        shape["skewness"] = (apart**3).mean() / variance**1.5
        shape["excess_kurtosis"] = (apart**4).mean() / variance**2 - 3
    return shape


def ends(values: np.ndarray) -> dict[str, float]:
    """The smallest and the largest finite value."""
    values = values[np.isfinite(values)]
    some = len(values) > 0
    return {"min": values.min() if some else np.nan, "max": values.max() if some else np.nan}


def test_channels_of_several_sites_stand_below_each_other(full: Known) -> None:
    p = full.profile
    every = p.channels()
    assert every.index.names == ["site", "channel"]
    for site in SITES:
        pd.testing.assert_frame_equal(every.loc[site], p.channels(site))
    some = p.channels(["embed", "final_norm"], "all")
    assert some.index.unique("site").tolist() == ["embed", "final_norm"]
    for site in SITES:
        states = full.every(site, "all")
        states = np.where(np.isfinite(states), np.abs(states), 0).max(0)
        np.testing.assert_array_equal(p.channels(site, "all")["absmax"], states)


@each_view
def test_moments_are_those_of_all_finite_tokens(full: Known, view: str) -> None:
    rows = []
    for site in SITES:
        states = full.finite(site, view)
        rows.append(
            {
                "hf_index": HF_INDEX.get(site, -1),
                "tokens": len(states),
                **shape_of(states.ravel()),
                **ends(full.every(site, view).ravel()),
                "nonfinite": int((~np.isfinite(full.every(site, view))).sum()),
            }
        )
    found = full.profile.moments(view)
    pd.testing.assert_frame_equal(found, pd.DataFrame(rows, index=SITE_INDEX), **SUMS)
    assert (found["hf_index"] == [0, 1, -1, 2, -1, 3]).all()


def bounds(size: np.ndarray, every: np.ndarray, q: float) -> np.ndarray:
    """Round NumPy's quantiles of magnitudes up to a power of two, but not above the largest."""
    if not len(size):
        return np.full(CHANNELS, np.nan)
    exact = np.quantile(size, q, axis=0, method="inverted_cdf")
    end = np.maximum(2.0 ** (np.floor(np.log2(np.maximum(exact, 1e-30))) + 1), 2.0**-14)
    return np.fmin(end, np.abs(np.where(np.isfinite(every), every, 0)).max(0))


@each_view
def test_quantiles_of_magnitudes_are_bounded_within_a_factor_of_two(full: Known, view: str) -> None:
    size = np.abs(full.finite("block.2.resid_post", view))
    levels = (0.0, 0.25, 0.9, 1.0)
    table = full.profile.channels("block.2.resid_post", view, quantiles=levels)
    for q in levels:
        found = table[f"magnitude_q{q:g}"].to_numpy()
        if not len(size):
            assert np.isnan(found).all()
            continue
        exact = np.quantile(size, q, axis=0, method="inverted_cdf")
        assert (exact <= found).all()
        assert (found <= np.maximum(2 * exact, 2.0**-14)).all()
    assert "magnitude_q0.5" not in table


def test_a_large_profile_bounds_magnitudes_of_rest_and_all_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.random.default_rng(1).normal(size=(3, 20, 6))
    small = hs.from_states({"embed": x})
    monkeypatch.setattr("hiddenscope.stats.octaves.MOST_BYTES", 0)
    large = hs.from_states({"embed": x})
    assert large.stream["octaves"]["stratum_group"].values.tolist() == ["rest", "others"]
    for view in ("rest", "all", "first+special"):
        pd.testing.assert_frame_equal(
            large.channels("embed", view), small.channels("embed", view), check_exact=True
        )
    assert "magnitude_q0.5" in small.channels("embed", "first")
    assert "magnitude_q0.5" not in large.channels("embed", "first")
    with pytest.raises(ProfileError, match="'rest' and 'all' only, not for 'first'"):
        large.channels("embed", "first", quantiles=[0.5])
    with pytest.raises(InputError, match="probabilities between 0 and 1"):
        large.channels("embed", quantiles=[2])


@each_view
@pytest.mark.parametrize("site", ["block.0.resid_post", "block.1.resid_post", "block.1.attn_out"])
def test_moments_of_channels_are_those_of_their_finite_tokens(
    full: Known, view: str, site: str
) -> None:
    states, every = full.finite(site, view), full.every(site, view)
    size = np.abs(states)
    rms = np.sqrt((states**2).mean(1, keepdims=True))
    expected = pd.DataFrame(
        [
            {"tokens": len(x), **shape_of(x), **ends(y)}
            for x, y in zip(states.T, every.T, strict=True)
        ],
        index=pd.RangeIndex(CHANNELS, name="channel"),
    ).assign(
        absmax=lambda table: np.fmax(-table["min"], table["max"]),
        **{f"magnitude_q{q:g}": bounds(size, every, q) for q in (0.5, 0.99, 0.999)},
        over=(size >= THRESHOLDS["outlier"]).sum(0),
        over_rms=(size >= THRESHOLDS["outlier_rms"] * rms).sum(0),
        nonfinite=(~np.isfinite(every)).sum(0),
    )
    pd.testing.assert_frame_equal(full.profile.channels(site, view), expected, **SUMS)


def test_a_constant_channel_has_no_shape(full: Known) -> None:
    table = full.profile.channels("final_norm", "all").loc[CONSTANT]
    assert table["mean"] == table["min"] == table["max"] == 5.5
    assert table["std"] == 0
    assert table[["skewness", "excess_kurtosis"]].isna().all()


def test_one_value_has_a_mean_and_nothing_else() -> None:
    x = np.array([[0.5], [np.nan]], np.float32)
    p = from_arrays(embed=x, block_0=x)
    row = p.moments().loc["embed"]
    assert row["mean"] == row["min"] == row["max"] == 0.5
    assert row[["std", "skewness", "excess_kurtosis"]].isna().all()
    assert p.covariance().isnull().all()
    assert p.positions()["std"].isnull().all()
    assert p.positions()["mean"][0, 0] == p.positions()["absmax"][0, 0] == 0.5


def test_two_values_have_a_deviation_and_a_covariance() -> None:
    x = np.array([[1.0], [4.0]], np.float32)
    p = from_arrays(embed=x, block_0=-2 * x)
    np.testing.assert_allclose(p.covariance(), [[4.5, -9], [-9, 18]])
    np.testing.assert_allclose(p.moments()["std"], [np.sqrt(4.5), np.sqrt(18)])
    one = from_arrays(embed=np.array([[1, 4], [np.nan, 0]], np.float32))
    np.testing.assert_allclose(one.covariance(), [[4.5]])
    np.testing.assert_allclose(one.positions()["std"], [[np.sqrt(4.5)]])


def test_the_shape_is_left_out_only_where_the_variance_is_rounding() -> None:
    def finish(mean: float, m2: float, n: float = 4) -> dict[str, np.ndarray]:
        sums = {"count": n, "mean": mean, "m2": m2, "m3": 0.0, "m4": m2**2}
        return summary.finish({key: np.array([value]) for key, value in sums.items()})

    # The population's variance, m2 / 4, is held against (1e-15 × mean)².
    for mean, m2, flat in ((-2, 15e-30, True), (-2, 17e-30, False), (0, 0, True), (0, 1e-9, False)):
        found = finish(mean, m2)
        assert np.isnan(found["skewness"]).item() is flat
        assert np.isnan(found["excess_kurtosis"]).item() is flat
        assert found["std"] == np.sqrt(m2 / 3)
    assert finish(1.0, 8.0)["excess_kurtosis"] == (64 / 4) / (8 / 4) ** 2 - 3


# Between sites


def squared_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Squared correlation of two flat arrays, NaN where one does not vary."""
    a, b = a - a.mean(), b - b.mean()
    own = np.sqrt((a @ a) * (b @ b))
    return (a @ b / own) ** 2 if own > 1e-9 else np.nan


def squared_correlations(known: Known, kind: str, view: str, without: list[int]) -> np.ndarray:
    """R² of every pair of sites, ``[site, site]`` or ``[site, site, channel]``."""
    states = known.joint(view)
    kept = np.delete(np.arange(CHANNELS), without)
    sites = range(len(TRUNK))
    shape = (len(TRUNK), len(TRUNK), *([CHANNELS] if kind == "channel" else []))
    result = np.full(shape, np.nan)
    if not states.shape[1]:
        return result
    if kind == "channel":
        apart = states - states.mean(1, keepdims=True)
        products = np.einsum("atc,btc->abc", apart, apart)
        own = np.sqrt(np.einsum("aac->ac", products))
        varies = (own > 1e-4)[:, None] & (own > 1e-4)
        # The compact form knows of most channels only each site with the next.
        near = np.abs(np.subtract.outer(sites, sites)) <= 1
        has = near[..., None] | np.isin(np.arange(CHANNELS), known.loud or range(CHANNELS))
        has = has & varies & np.isin(np.arange(CHANNELS), kept)
        return np.divide(products**2, (own[:, None] * own) ** 2, out=result, where=has)
    states = states[..., kept]
    if kind == "within":
        states = states - states.mean(1, keepdims=True)
    for a in sites:
        for b in sites:
            result[a, b] = squared_correlation(states[a].ravel(), states[b].ravel())
    return result


def assert_matrix(
    found: xr.DataArray, expected: np.ndarray, attrs: dict[str, str], dims: str
) -> None:
    assert found.dims == tuple(dims.split())
    assert found["site_a"].values.tolist() == found["site_b"].values.tolist() == list(TRUNK)
    assert found.attrs == attrs
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-12)


def channels_to_leave_out(held: Known) -> list[list[int]]:
    """In the compact form only loud channels can be left out; not in order, and one twice."""
    some = [held.loud[3], held.loud[0], held.loud[3]] if held.loud else [25, 7, 12, 7]
    return [[], some[:1], some]


@each_form
@each_view
@pytest.mark.parametrize("kind", correlation.KINDS)
def test_r2_is_that_of_the_states(compact: bool, view: str, kind: str) -> None:
    held = known(compact=compact)
    dims = "site_a site_b channel" if kind == "channel" else "site_a site_b"
    for without in channels_to_leave_out(held):
        found = held.profile.r2(kind, view, without=without)
        expected = squared_correlations(held, kind, view, without)
        assert found.name == "r2"
        assert_matrix(found, expected, {"view": view, "units": "1"}, dims)


@each_form
@each_view
def test_covariance_is_that_of_the_flattened_states(compact: bool, view: str) -> None:
    held = known(compact=compact)
    for without in channels_to_leave_out(held):
        states = np.delete(held.joint(view), without, 2).reshape(len(TRUNK), -1)
        some = states.shape[1] > 1
        expected = np.cov(states) if some else np.full((len(TRUNK),) * 2, np.nan)
        found = held.profile.covariance(view, without=without)
        assert found.name == "covariance"
        assert_matrix(found, expected, {"view": view, "units": "activation^2"}, "site_a site_b")


@each_form
def test_between_sites_the_default_is_everything_pooled_over_the_rest(compact: bool) -> None:
    p = known(compact=compact).profile
    xr.testing.assert_identical(p.r2(), p.r2("pooled", "rest"))
    xr.testing.assert_identical(p.covariance(), p.covariance("rest"))
    pd.testing.assert_frame_equal(p.wing(), p.wing("rest", "pooled"))
    # Some go against each other: their covariance is negative.
    assert p.covariance("rest-massive").values.min() < -0.01


@each_form
def test_a_sites_r2_with_itself_is_one(compact: bool) -> None:
    r2 = known(compact=compact).profile.r2("channel", "all")
    own = np.einsum("aac->ac", r2.values)
    np.testing.assert_allclose(np.delete(own, CONSTANT, 1), 1, rtol=1e-14)
    assert np.nanmax(own) == 1
    assert np.isnan(own[:, CONSTANT]).all()


@each_form
@each_view
@pytest.mark.parametrize("kind", ["pooled", "within"])
def test_the_wing_follows_each_site_with_the_next_and_the_ends(
    compact: bool, view: str, kind: str
) -> None:
    held = known(compact=compact)
    r2 = squared_correlations(held, kind, view, [])
    expected = pd.DataFrame(
        {
            "next": [r2[0, 1], r2[1, 2], r2[2, 3], r2[3, 4], np.nan],
            "embed": r2[0],
            "final_norm": r2[:, -1],
        },
        index=pd.Index(TRUNK, name="site"),
    )
    pd.testing.assert_frame_equal(held.profile.wing(view, kind), expected, **SUMS)


def test_a_wing_without_ends_has_none() -> None:
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    table = from_arrays(block_0=x, block_1=x**2).wing()
    assert table["next"].isna().tolist() == [False, True]
    assert table[["embed", "final_norm"]].isna().all(axis=None)


def test_a_deviation_below_a_millionth_of_the_mean_is_rounding() -> None:
    # Steps of a float32 between 8 and 16: deviations of 0.95 and 1.07 millionths of the mean.
    step = 8 * 2.0**-23
    signs = np.tile([1, -1], 20)[:, None]
    kept = np.random.default_rng(0).normal(size=(40, 2)) * 1e-6
    quiet, heard = (
        np.concatenate([-8 + n * step * signs, np.zeros((40, 1)) - 8, kept], 1).astype(np.float32)
        for n in (8, 9)
    )
    other = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    p = from_arrays(embed=other, block_0=quiet, block_1=heard)
    by_channel = p.r2("channel").values
    assert np.isfinite(by_channel[..., 0]).tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
    # Alone the first channel decides for the site, with the others it does not.
    alone = p.r2("pooled", without=[1, 2, 3]).values
    assert np.isfinite(alone).tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
    within = p.r2("within", without=[1, 2, 3]).values
    np.testing.assert_array_equal(np.isnan(within), np.isnan(alone))
    # Two channels of that mean, of which one varies: half the variance for the same floor.
    assert not np.isfinite(p.r2("within", without=[2, 3]).values[2, 2])
    assert np.isfinite(p.r2("pooled").values).all()


@pytest.mark.parametrize("channels", [1, 4])
def test_the_floor_of_rounding_is_that_of_all_channels_kept(channels: int) -> None:
    step = 8 * 2.0**-23
    signs = np.tile([1, -1], 20)[:, None] * np.ones(channels)
    quiet, heard = ((-8 + n * step * signs).astype(np.float32) for n in (8, 9))
    p = from_arrays(embed=quiet, block_0=heard)
    for kind in ("pooled", "within"):
        assert np.isfinite(p.r2(kind).values).tolist() == [[False, False], [False, True]]


def test_variances_beyond_a_float64s_range_have_an_r2() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    p = from_arrays(embed=x * np.float32(1e-30), block_0=x * np.float32(1e30), block_1=x * 1e36)
    np.testing.assert_allclose(p.r2().values[:2, :2], 1, rtol=1e-5)


@pytest.mark.parametrize("ask", ["r2", "covariance"])
@pytest.mark.parametrize(
    ("without", "says"),
    [
        ([CHANNELS], "cannot leave out channel 40: channels run from 0 to 39"),
        ([5, -1], "cannot leave out channel -1"),
        (range(CHANNELS), "cannot leave out every channel"),
    ],
)
def test_channels_that_cannot_be_left_out_are_named(
    full: Known, ask: str, without: list[int], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        getattr(full.profile, ask)(without=without)


def test_the_last_channel_and_all_but_one_can_be_left_out(full: Known) -> None:
    for without in ([CHANNELS - 1], list(range(CHANNELS - 1))):
        expected = squared_correlations(full, "pooled", "rest", without)
        np.testing.assert_allclose(full.profile.r2(without=without), expected, **SUMS)


def test_what_the_compact_form_has_forgotten_is_named() -> None:
    held = known(compact=True)
    assert len(held.loud) == LOUD
    lost = sorted(set(range(CHANNELS)) - set(held.loud))[2]
    for ask in (held.profile.r2, held.profile.covariance):
        with pytest.raises(
            InputError, match=f"its 5 loudest .* channel {lost}: it has .{held.loud[0]}, "
        ):
            ask(without=[held.loud[1], lost, 39])


def test_co_moments_that_do_not_say_their_form_are_whole(full: Known) -> None:
    tree = full.profile.dataset.copy()
    cross = tree["residual/cross"].to_dataset()
    del cross.attrs["compact"]
    tree["residual/cross"] = xr.DataTree(cross)
    xr.testing.assert_identical(Profile(tree).r2("channel"), full.profile.r2("channel"))


def test_an_unknown_kind_of_r2_is_refused(full: Known) -> None:
    with pytest.raises(InputError, match="R² 'all': choose one of pooled, within, channel"):
        full.profile.r2("all")


def test_without_a_site_of_the_trunk_there_is_no_r2() -> None:
    x = np.random.default_rng(0).normal(size=(1, 9, 4)).astype(np.float32)
    p = hs.from_states({"block.0.attn_out": x})
    for ask in (p.r2, p.covariance, p.wing):
        with pytest.raises(InputError, match=r"'residual' holds no site of the trunk.* as well$"):
            ask()
    # Measuring the trunk as well would not help what has a basis of its own.
    inner = hs.from_states({"block.0.mlp_act": x}).on("mlp_act")
    with pytest.raises(InputError, match=r"'mlp_act' holds no site of the trunk.* kept$"):
        inner.r2()


# Channels


def loudness(held: Known, view: str) -> dict[str, np.ndarray]:
    columns: dict[str, list[np.ndarray]] = {"variance": [], "offset": [], "pooled": []}
    for site in BLOCKS:
        states = held.finite(site, view)
        if not len(states):
            return dict.fromkeys(columns, np.zeros(CHANNELS))
        own = ((states - states.mean(0)) ** 2).sum(0)
        apart = len(states) * (states.mean(0) - states.mean()) ** 2
        total = own.sum() + apart.sum()
        columns["variance"].append(own / own.sum() if len(states) > 1 else 0 * own)
        columns["offset"].append(apart / total)
        columns["pooled"].append((own + apart) / total)
    return {key: np.mean(rows, 0) for key, rows in columns.items()}


@each_view
@pytest.mark.parametrize("by", shares.BY)
def test_loud_channels_are_ranked_by_their_share_averaged_over_blocks(
    full: Known, view: str, by: str
) -> None:
    table = pd.DataFrame(loudness(full, view), index=pd.RangeIndex(CHANNELS, name="channel"))
    expected = table.sort_values(by, ascending=False, kind="stable")
    pd.testing.assert_frame_equal(full.profile.loudest(view, by=by), expected, **SUMS)
    pd.testing.assert_frame_equal(full.profile.loudest(view, 7, by), expected.iloc[:7], **SUMS)


def test_channels_are_ranked_by_variance_over_the_rest_by_default(full: Known) -> None:
    pd.testing.assert_frame_equal(
        full.profile.loudest(), full.profile.loudest("rest", None, "variance")
    )
    with pytest.raises(InputError, match="'loudness': choose one of variance, offset, pooled"):
        full.profile.loudest(by="loudness")


def test_without_blocks_every_site_counts() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    y = x * np.float32([1, 2, 9])
    variance = from_arrays(embed=x, final_norm=y).loudest().sort_index()["variance"]
    expected = np.mean([v.var(0) / v.var(0).sum() for v in (x.astype(float), y.astype(float))], 0)
    np.testing.assert_allclose(variance, expected)


# Distributions


@each_view
@pytest.mark.parametrize("q", [0.5, [0.0, 1e-4, 0.31, 0.5, 0.975, 1.0]])
def test_quantiles_are_numpys_with_values_spread_over_their_cells(
    full: Known, view: str, q: float | list[float]
) -> None:
    found = full.profile.quantiles(q, view)
    levels = np.atleast_1d(q)
    assert found.dims == ("site", "quantile")
    assert found.name == "quantile"
    assert found.attrs == {"units": "activation", "view": view}
    assert found["site"].values.tolist() == list(SITES)
    assert found["quantile"].values.tolist() == levels.tolist()
    for site in SITES:
        values = full.values(site, view)
        if not len(values):
            expected = np.full(len(levels), np.nan)
        elif site == "embed":
            # bfloat16: exact.
            expected = np.quantile(values, levels, method="lower")
        else:
            spread = in_cells(values).clip(values.min(), values.max())
            expected = np.quantile(spread, levels)
            expected[levels == 0], expected[levels == 1] = values.min(), values.max()
        np.testing.assert_allclose(found.sel(site=site), expected, rtol=1e-12, err_msg=site)


def test_quantiles_of_chosen_sites_in_order(full: Known) -> None:
    sites = ["final_norm", "block.1.*"]
    found = full.profile.quantiles([0.9], "all", sites)
    assert found["site"].values.tolist() == ["block.1.attn_out", "block.1.resid_post", "final_norm"]
    expected = full.profile.quantiles([0.9], "all").sel(site=found["site"])
    np.testing.assert_array_equal(found, expected)
    xr.testing.assert_identical(full.profile.quantiles(0.2), full.profile.quantiles([0.2], "rest"))


@pytest.mark.parametrize("q", [-0.01, 1.01, [0.5, 2], np.nan])
def test_quantiles_are_of_probabilities(full: Known, q: float | list[float]) -> None:
    with pytest.raises(InputError, match="quantiles are probabilities between 0 and 1, got"):
        full.profile.quantiles(q)
    with pytest.raises(InputError, match="quantiles are probabilities between 0 and 1, got"):
        full.profile.norms(q=np.atleast_1d(q).tolist())


def bin_edges(low: float, high: float, bins: int, *, whole_cells: bool) -> list[float]:
    """Equal steps moved to cell boundaries, each once; around all values if that is asked."""
    edges = sorted({nearest_boundary(step) for step in np.linspace(low, high, bins + 1)})
    if not whole_cells:
        return edges
    start = float(grid.EDGES[low >= grid.EDGES].max(initial=grid.EDGES[0]))
    stop = float(grid.EDGES[high < grid.EDGES].min(initial=grid.EDGES[-1]))
    inner = [edge for edge in edges if start < edge < stop]
    # Two slivers at the ends join their neighbours, where there are inner bins.
    half = (stop - start) / bins / 2
    if len(inner) >= 2:
        drop_first, drop_last = inner[0] - start <= half, stop - inner[-1] <= half
        inner = inner[drop_first : len(inner) - drop_last]
    return [start, *inner, stop]


def assert_histogram(
    found: xr.DataArray, held: Known, view: str, sites: list[str], edges: list[float]
) -> None:
    assert found.dims == ("site", "bin")
    assert found.dtype == np.int64
    assert found.name == "histogram"
    assert found.attrs == {"units": "values", "view": view}
    assert found["site"].values.tolist() == sites
    assert found["left"].dims == found["right"].dims == ("bin",)
    assert found["left"].values.tolist() == edges[:-1]
    assert found["right"].values.tolist() == edges[1:]
    for site in sites:
        np.testing.assert_array_equal(
            found.sel(site=site), count_between(held.values(site, view), edges)
        )


@each_view
@pytest.mark.parametrize("bins", [1, 3, 37])
def test_a_histogram_counts_what_numpy_counts(full: Known, view: str, bins: int) -> None:
    for sites in (list(SITES), ["embed"], ["block.1.resid_post"]):
        values = np.concatenate([full.values(site, view) for site in sites])
        lowest = highest = 0.0
        if len(values):
            # The lower boundaries of the cells of the smallest and of the largest value.
            lowest, highest = (
                grid.EDGES[v >= grid.EDGES].max() for v in (values.min(), values.max())
            )
        edges = bin_edges(lowest, highest, bins, whole_cells=True)
        found = full.profile.histogram(bins, view=view, sites=sites)
        assert_histogram(found, full, view, sites, edges)
        assert found.sum() == len(values)


@pytest.mark.parametrize(("low", "high"), [(-3, 3), (0.001, 80.5), (-1e4, -20), (0, 1)])
def test_a_histogram_keeps_to_the_range_that_is_asked_for(
    full: Known, low: float, high: float
) -> None:
    for bins in (1, 31):
        found = full.profile.histogram(bins, (low, high), "all")
        edges = bin_edges(low, high, bins, whole_cells=False)
        assert_histogram(found, full, "all", list(SITES), edges)


@pytest.mark.parametrize(
    ("edges", "kept"),
    [
        ([0, 0.49, 1, 2, 2.51, 3], [0, 1, 2, 3]),
        ([0, 0.5, 1, 2, 2.5, 3], [0, 1, 2, 3]),
        ([0, 0.51, 1, 2, 2.49, 3], [0, 0.51, 1, 2, 2.49, 3]),
        ([-5, -4.9, -3, -2], [-5, -3, -2]),
        ([-5, -4, -2.1, -2], [-5, -4, -2]),
        ([0, 0.1, 3], [0, 0.1, 3]),
    ],
)
def test_slivers_at_the_ends_join_their_neighbours(edges: list[float], kept: list[float]) -> None:
    assert distribution._even_ends(np.array(edges, float), 3).tolist() == kept


def test_a_range_within_one_cell_is_that_cell(full: Known) -> None:
    found = full.profile.histogram(9, (1.001, 1.002), "all", "embed")
    assert_histogram(found, full, "all", ["embed"], [1.0, 1.0078125])
    top = full.profile.histogram(2, (3.4e38, 3.401e38), "all", "embed")
    assert top["right"].values.tolist() == [2.0**128]
    bottom = full.profile.histogram(2, (-4e38, -3.5e38), "all", "embed")
    assert bottom["left"].values.tolist() == [grid.EDGES[0]]
    assert full.profile.histogram(2, (3.5e38, 4e38), "all", "embed").values.tolist() == [[0]]


def test_a_histogram_has_200_bins_of_the_rest_by_default(full: Known) -> None:
    p = full.profile
    xr.testing.assert_identical(p.histogram(), p.histogram(200, None, "rest", None))
    assert p.histogram(distribution.MAX_BINS, (-1, 1)).sizes["bin"] > 1000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bins": 0}, "bins must be between 1 and 65,000, got 0"),
        ({"bins": 65_001}, "bins must be between 1 and 65,000, got 65001"),
        ({"range": (1, 1)}, "two finite numbers, the smaller first"),
        ({"range": (2, 1)}, "two finite numbers, the smaller first"),
        ({"range": (-np.inf, 1)}, "two finite numbers, the smaller first"),
        ({"range": (0, np.nan)}, "two finite numbers, the smaller first"),
    ],
)
def test_bins_and_ranges_that_make_no_sense_are_refused(
    full: Known, options: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        full.profile.histogram(**options)


# Tokens


@each_view
@pytest.mark.parametrize("which", token_tables.NORMS)
def test_norms_are_those_of_finite_states(full: Known, view: str, which: str) -> None:
    q = [0.0, 0.333, 0.5, 1.0]
    rows = []
    for site in SITES:
        states = full.finite(site, view)
        length = np.sqrt((states**2).sum(1)) if which == "l2" else np.abs(states).max(1, initial=0)
        levels = quantile(length, q)
        columns = dict(zip(["q0", "q0.333", "q0.5", "q1"], levels, strict=True))
        rows.append({"tokens": len(states)} | columns)
    expected = pd.DataFrame(rows, index=SITE_INDEX)
    pd.testing.assert_frame_equal(full.profile.norms(which, q, view), expected, **SUMS)


def test_norms_are_l2_of_the_rest_by_default(full: Known) -> None:
    expected = full.profile.norms("l2", [0.01, 0.25, 0.5, 0.75, 0.99], "rest")
    pd.testing.assert_frame_equal(full.profile.norms(), expected)
    assert list(expected) == ["tokens", "q0.01", "q0.25", "q0.5", "q0.75", "q0.99"]
    with pytest.raises(InputError, match="norm 'l1': choose one of l2, linf"):
        full.profile.norms("l1")


@each_view
def test_positions_are_summed_over_tokens_and_channels(full: Known, view: str) -> None:
    # Up to 64 each position has a bucket, then there are eight for each doubling.
    octave = np.floor(64 * 2 ** (np.arange(9) / 8)).astype(int)
    edges = [*range(64), *octave]
    held = full.tokens[full.chosen("all")]
    states = np.stack([full.every(site, "all") for site in SITES])
    use = np.isfinite(states).all((0, 2)) & full.chosen(view)
    place = np.digitize(held["position"], edges) - 1
    whole = np.isfinite(states).all((0, 2))
    count = place[whole].max() + 1
    found = full.profile.positions(view)
    assert found.attrs == {"view": view}
    assert found["site"].values.tolist() == list(SITES)
    assert found["start"].values.tolist() == edges[:count]
    assert found["stop"].values.tolist() == edges[1 : count + 1]
    columns = ["mean", "std", "absmax", "norm"]
    units = {"tokens": "tokens"} | dict.fromkeys(columns, "activation")
    assert {name: values.attrs["units"] for name, values in found.items()} == units
    assert found["tokens"].dims == ("position",)
    for bucket in range(count):
        rows = states[:, use & (place == bucket)].reshape(len(SITES), -1)
        one = found.isel(position=bucket)
        assert int(one["tokens"]) == rows.shape[1] / CHANNELS
        if rows.shape[1]:
            np.testing.assert_allclose(one["mean"], rows.mean(1), **SUMS)
            np.testing.assert_allclose(one["std"], rows.std(1, ddof=1), **SUMS)
            np.testing.assert_array_equal(one["absmax"], np.abs(rows).max(1))
            norms = np.linalg.norm(states[:, use & (place == bucket)], axis=2)
            np.testing.assert_allclose(one["norm"], np.sqrt((norms**2).mean(1)), **SUMS)
        else:
            assert one[columns].to_array().isnull().all()


@each_view
@pytest.mark.parametrize("sites", [None, ["final_norm", "block.0.resid_post"]])
def test_the_sample_holds_the_states_of_its_tokens(
    full: Known, view: str, sites: list[str] | None
) -> None:
    found = full.profile.sample(view, sites)
    group = full.profile.stream["sample"].to_dataset()
    chosen = np.isin(group["stratum"].values, VIEWS[view])
    tokens = full.tokens.set_index(["document", "window", "position"])
    names = ["block.0.resid_post", "final_norm"] if sites else list(SITES)
    assert found.attrs["view"] == view
    assert found["state"].dims == ("site", "token", "channel")
    assert found["site"].values.tolist() == names
    assert found.sizes["token"] == chosen.sum()
    assert found["passage"].dtype == bool
    assert found["passage"].values.tolist() == (group["passage"].values[chosen] == 1).tolist()
    for number in range(found.sizes["token"]):
        one = found.isel(token=number)
        place = tuple(int(one[key]) for key in ("document", "window", "position"))
        row = tokens.loc[place]
        assert str(one["stratum"].item()) == row["stratum"] in VIEWS[view]
        assert int(one["token_id"]) == row["token_id"]
        assert one["piece"].item() == f"⟨{row['token_id']}⟩"
        at = full.plain.places.index(place)
        states = np.stack([full.plain.values(site)[at] for site in names])
        np.testing.assert_allclose(one["state"], states, rtol=2**-8)
    assert (full.profile.sample("all")["passage"].sum() > 0).item()


@cache
def largest_values(site: str, stratum: str) -> list[dict[str, object]]:
    """The 64 largest finite magnitudes, at most 8 a channel, with where they are."""
    held = known()
    states, places, ids = held.plain.values(site), held.plain.places, held.plain.token_id
    found = [
        (-abs(states[token, channel]), *places[token], channel, token)
        for token in np.flatnonzero(held.tokens["stratum"] == stratum)
        for channel in np.flatnonzero(np.isfinite(states[token]))
    ]
    kept: list[tuple] = []
    for row in sorted(found):
        if len(kept) < 64 and sum(k[4] == row[4] for k in kept) < 8:
            kept.append(row)
    rows = []
    for _, document, window, position, channel, token in kept:
        size = np.abs(states[token].astype(np.float64))
        # The eight tokens before and after it in its window.
        around = [
            (at - token, f"⟨{ids[at]}⟩")
            for at in range(max(token - 8, 0), min(token + 9, len(ids)))
            if places[at][:2] == (document, window)
        ]
        rows.append(
            {
                "site": site,
                "stratum": stratum,
                "value": states[token, channel],
                "channel": channel,
                "median": np.median(size[np.isfinite(size)]),
                "document": document,
                "window": window,
                "position": position,
                "token_id": ids[token],
                "piece": f"⟨{ids[token]}⟩",
                "before": "".join(piece for offset, piece in around if offset < 0),
                "after": "".join(piece for offset, piece in around if offset > 0),
            }
        )
    return rows


def ranked(view: str, sites: tuple[str, ...] = SITES) -> pd.DataFrame:
    """Return the largest of all sites and strata of a view, largest first."""
    rows = [
        row for site in sites for stratum in VIEWS[view] for row in largest_values(site, stratum)
    ]
    columns = ["site", "stratum", "value", "channel", "median", "document", "window", "position"]
    columns += ["token_id", "piece", "before", "after"]
    return pd.DataFrame(sorted(rows, key=lambda row: -abs(row["value"])), columns=columns)


@each_view
def test_extremes_are_the_largest_of_each_site_and_stratum(full: Known, view: str) -> None:
    expected = ranked(view)
    found = full.profile.extremes(view)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=True)
    if len(expected):
        assert found.dtypes.astype(str)[["value", "median", "channel"]].tolist() == [
            "float32",
            "float64",
            "int64",
        ]
    one = full.profile.extremes(view, "block.1.attn_out")
    expected = ranked(view, ("block.1.attn_out",))
    pd.testing.assert_frame_equal(one, expected, check_dtype=False, check_exact=True)


# The largest magnitudes


def largest_of(held: Known, view: str) -> pd.DataFrame:
    rows = [
        np.abs(x).max(0, initial=-1, where=np.isfinite(x))
        for x in (held.every(site, view) for site in SITES)
    ]
    table = pd.DataFrame(np.stack(rows), index=SITE_INDEX).rename_axis(columns="channel")
    return table.where(table >= 0)


@each_view
def test_the_largest_of_each_channel(full: Known, view: str) -> None:
    stream, expected = full.profile.stream, largest_of(full, view)
    pd.testing.assert_frame_equal(analysis.largest_by_channel(stream, view), expected)
    over = expected.div(expected.median(axis=1), axis=0)
    pd.testing.assert_frame_equal(largest.largest_over_median(stream, view), over)
    for sites in (None, ["block.2.resid_post", "embed"]):
        most = over.loc[list(sites or SITES)].max()
        rank = sorted(most.index[most >= 2.5], key=lambda c: -most[c])
        found = analysis.standing_out(stream, view, sites)
        pd.testing.assert_series_equal(found, most.loc[rank], check_index_type=False)


def test_a_site_of_zeros_has_no_channel_that_stands_out() -> None:
    x = np.ones((4, 5), np.float32)
    x[:, 2] = -2.5
    y = np.zeros_like(x)
    stream = from_arrays(embed=x, block_0=y).stream
    assert analysis.standing_out(stream).to_dict() == {2: 2.5}
    over = largest.largest_over_median(stream)
    assert over.loc["embed"].tolist() == [1, 1, 2.5, 1, 1]
    assert over.loc["block.0.resid_post"].isna().all()
    assert largest.STANDS_OUT == 2.5


@each_view
def test_the_largest_and_the_median_through_depth(full: Known, view: str) -> None:
    table = ranked(view)
    medians = [quantile(np.abs(full.values(site, "all")), 0.5).item() for site in SITES]
    found = largest.site_medians(full.profile.stream)
    pd.testing.assert_series_equal(found, pd.Series(medians, index=SITE_INDEX), **SUMS)
    for top in (3, 70):
        tops = []
        for site in SITES:
            sizes = np.abs(table.loc[table["site"] == site, "value"].to_numpy(float))[:top]
            tops.append([*sizes, *[np.nan] * (top - len(sizes))])
        expected = pd.DataFrame(tops, SITE_INDEX, [f"top{i}" for i in range(1, top + 1)])
        found = analysis.magnitudes(full.profile.stream, view, top)
        pd.testing.assert_frame_equal(found, expected.assign(median=medians), **SUMS)
    default = analysis.magnitudes(full.profile.stream, view)
    assert list(default) == ["top1", "top2", "top3", "median"]


def test_the_largest_are_those_of_the_rest_by_default(full: Known) -> None:
    stream = full.profile.stream
    for ask in (
        analysis.largest_by_channel,
        largest.largest_over_median,
        analysis.magnitudes,
        analysis.standing_out,
    ):
        assert ask(stream).equals(ask(stream, "rest"))


# Views


def test_tokens_and_words_of_views(full: Known) -> None:
    p = full.profile
    counts = full.tokens["stratum"].value_counts()
    assert p.tokens == {name: int(counts.get(name, 0)) for name in RECORDED}
    assert p.tokens["special"] == 1
    assert p.tokens["generated"] == 0
    rest = 164 - 6
    assert p.caption() == f"first and special tokens left out: {rest} of 164 tokens"
    assert p.caption("first") == "first tokens only: 5 of 164 tokens"
    assert analysis.caption(p.stream, "all") == "all 164 tokens"
    assert p.sites == analysis.site_names(p.stream) == list(SITES)
    assert analysis.strata_of(p.stream) == RECORDED
    assert analysis.hf_index(p.stream).tolist() == [0, 1, -1, 2, -1, 3]
    assert p.manifest["thresholds"] == THRESHOLDS
    assert p.streams == ["residual"]


def test_a_profile_says_which_strata_rest_leaves_out(full: Known) -> None:
    tree = full.profile.dataset.copy()
    manifest = json.loads(tree.attrs["manifest"])
    assert manifest["strata"] == {"left_out_of_rest": ["first", "special"]}
    manifest["strata"]["left_out_of_rest"] = ["regular", "massive"]
    tree.attrs["manifest"] = json.dumps(manifest)
    other = Profile(tree)
    names = ("first", "special", "prompt", "generated")
    assert analysis.strata_of(other.stream).select("rest") == names
    held = full.profile.moments("+".join(names))
    pd.testing.assert_frame_equal(other.moments("rest"), held)
    # Files of earlier versions do not say it.
    del manifest["strata"]
    tree.attrs["manifest"] = json.dumps(manifest)
    pd.testing.assert_frame_equal(Profile(tree.copy()).moments(), full.profile.moments())


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_holds_its_strata_in_order(full: Known, view: str) -> None:
    index = views.strata_index(full.profile.stream, view)
    assert index.dtype == np.int64
    assert [RECORDED[k] for k in index] == list(VIEWS[view])


@pytest.mark.parametrize(
    ("sites", "chosen"),
    [
        (None, SITES),
        ("all", SITES),
        ("trunk", TRUNK),
        # Of Hugging Face's tuple, its first included.
        ("hf", tuple(site for site in SITES if site in HF_INDEX)),
        ("final_norm, embed", ("embed", "final_norm")),
        (["block.*.resid_post"], BLOCKS),
    ],
)
def test_sites_are_chosen_by_name_pattern_and_selection(
    full: Known, sites: str | list[str] | None, chosen: tuple[str, ...]
) -> None:
    assert analysis.choose_sites(full.profile.stream, sites) == list(chosen)


def test_trunk_and_blocks_are_all_sites_where_there_are_none(full: Known) -> None:
    assert analysis.trunk_sites(full.profile.stream) == list(TRUNK)
    assert views.block_sites(full.profile.stream) == [1, 3, 4]
    outside = bare(["block.0.attn_out", "block.1.attn_out"])
    assert analysis.trunk_sites(outside) == ["block.0.attn_out", "block.1.attn_out"]
    assert views.block_sites(outside) == [0, 1]


def test_what_a_profile_does_not_hold_is_named(full: Known) -> None:
    with pytest.raises(
        SiteError, match=r"no site 'block.9.resid_post' in this .* has embed, block"
    ):
        full.profile.channels("block.9.resid_post")
    short = full.profile.channels("block.1")
    pd.testing.assert_frame_equal(short, full.profile.channels("block.1.resid_post"))
    with pytest.raises(SiteError, match="no site 'nothing'"):
        full.profile.extremes(site="nothing")
    with pytest.raises(SiteError, match="no site matches"):
        full.profile.histogram(sites="block.7.*")
    with pytest.raises(ViewError, match="unknown view 'user'"):
        full.profile.r2(view="user")


def test_the_stream_is_the_residual_one_or_the_first() -> None:
    tree = xr.DataTree.from_dict({"/mlp_act": None, "/residual": None, "/decoder": None})
    assert analysis.stream_names(tree) == ["mlp_act", "residual", "decoder"]
    assert analysis.stream_of(tree).name == "residual"
    assert analysis.stream_of(tree, "decoder").name == "decoder"
    assert analysis.stream_of(xr.DataTree.from_dict({"/b": None, "/a": None})).name == "b"
    with pytest.raises(ProfileError, match="no stream 'c': it has mlp_act, residual, decoder"):
        analysis.stream_of(tree, "c")
    for name in (None, "x"):
        with pytest.raises(ProfileError, match=f"no stream '{name or 'residual'}': it holds none"):
            analysis.stream_of(xr.DataTree(), name)


# What a profile passes on

WITH_VIEW = {
    "moments": analysis.moments,
    "covariance": analysis.covariance,
    "norms": analysis.norms,
    "positions": analysis.positions,
    "sample": analysis.sample,
    "extremes": analysis.extremes,
    "loudest": analysis.loudest,
    "wing": analysis.wing,
    "r2": analysis.r2,
    "histogram": analysis.histogram,
    "caption": analysis.caption,
}


@pytest.mark.parametrize("name", WITH_VIEW)
def test_a_method_passes_its_view_on_and_speaks_of_the_rest_by_default(
    full: Known, name: str
) -> None:
    function: Callable = WITH_VIEW[name]
    for view in ("first", "rest"):
        expected = function(full.profile.stream, view=view)
        found = getattr(full.profile, name)(view=view)
        assert repr(found) == repr(expected)
    assert repr(getattr(full.profile, name)()) == repr(expected)
    if name != "caption":
        assert repr(function(full.profile.stream)) == repr(expected)
