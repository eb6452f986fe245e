"""Profiles side by side, and a profile's numbers for loggers."""

from __future__ import annotations

import json
import math
import warnings
from functools import cache
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.errors import FigureError, InputError, ProfileError, SiteError

if TYPE_CHECKING:
    from pathlib import Path

# As text, block 10 would come before block 2.
BLOCKS = [f"block.{i}.resid_post" for i in (0, 2, 10)]
STEPS = (0, 100, 2000)


@cache
def profile(step: int, *, sites: tuple[str, ...] = ("embed", *BLOCKS)) -> hs.Profile:
    rng = np.random.default_rng(step)
    scale = 1 + step / 100
    states = {
        site: (scale * (i + 1) * rng.normal(size=(3, 30, 64))).astype(np.float32)
        for i, site in enumerate(sites)
    }
    if step == 2000:
        states["block.2.resid_post"][..., 7] *= 20
        states["block.10.resid_post"][..., 7] *= 20
        states["block.10.resid_post"][1, 4, 9] = 60_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        return hs.from_states(states, name="made up")


@cache
def series() -> hs.Series:
    return hs.series({step: profile(step) for step in STEPS})


@pytest.mark.parametrize("view", ["rest", "first", "all"])
def test_the_table_holds_what_each_profile_says(view: str) -> None:
    table = series().table(view)
    assert table["std"].dims == ("site", "step")
    assert table["site"].values.tolist() == ["embed", *BLOCKS]
    assert table["step"].values.tolist() == list(STEPS)
    assert table.attrs["view"] == view
    for step in STEPS:
        p = profile(step)
        moments, norms = p.moments(view), p.norms(view=view)
        found = table.sel(step=step)
        for column in ("tokens", "mean", "std", "excess_kurtosis"):
            np.testing.assert_array_equal(found[column], moments[column])
        np.testing.assert_array_equal(found["median_norm"], norms["q0.5"])
        largest = np.maximum(-moments["min"], moments["max"])
        np.testing.assert_array_equal(found["absmax"], largest)
        outliers = p.outliers(view)
        assert found["outlier_channels"] == len(outliers.channels)
        assert found["massive_channels"] == len(outliers.massive_channels)
        for site in p.sites:
            assert found["massive"].sel(site=site) == (outliers.massive["site"] == site).sum()
    assert table["massive"].sum() == (0 if view == "first" else 1)
    assert table["outlier_channels"].values.tolist() == [0, 0, 1]


def test_only_sites_that_all_have_are_compared() -> None:
    other = profile(1, sites=("block.2.resid_post", "block.10.resid_post", "final_norm"))
    table = hs.series({"a": profile(0), "b": other}).table()
    assert table["site"].values.tolist() == ["block.2.resid_post", "block.10.resid_post"]
    assert table["step"].values.tolist() == ["a", "b"]
    assert series().table(sites="block.10")["site"].values.tolist() == ["block.10.resid_post"]
    none = profile(2, sites=("final_norm", "block.77.resid_post"))
    with pytest.raises(SiteError, match=r"no site in common .*b: "):
        hs.series({"a": profile(0), "b": none}).table()
    with pytest.raises(SiteError, match="is in all of the profiles"):
        hs.series({"a": profile(0), "b": other}).table(sites="embed")


def test_a_series_opens_files(tmp_path: Path) -> None:
    path = profile(0).save(tmp_path / "a.nc")
    made = hs.series({0: path, 5: str(path), 9: profile(100)})
    assert len(made) == 3
    assert repr(made) == "<hiddenscope.Series of 3 profiles: 0, 5, 9>"
    np.testing.assert_array_equal(made.table()["std"][:, 0], profile(0).moments()["std"])


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got list: name each"):
        hs.series([profile(0)])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds a int at 'a'"):
        hs.series({"a": 3})  # type: ignore[dict-item]
    with pytest.raises(ProfileError, match="there is no profile"):
        hs.series({"a": tmp_path / "none.nc"})
    with pytest.raises(ProfileError, match="no profiles"):
        hs.series({}).table()


def test_metrics_are_plain_floats_by_name() -> None:
    p = profile(2000)
    named = p.metrics()
    assert json.loads(json.dumps(named)) == named
    assert all(type(value) is float and math.isfinite(value) for value in named.values())
    assert named["hiddenscope/block.10.resid_post/std"] == p.moments().loc[BLOCKS[2], "std"]
    assert named["hiddenscope/outlier_channels"] == 1
    assert named["hiddenscope/massive_channels"] == 1
    assert {name.split("/")[1] for name in named} == {
        *p.sites,
        "outlier_channels",
        "massive_channels",
    }
    assert set(p.metrics(prefix="")) == {name.removeprefix("hiddenscope/") for name in named}
    assert p.metrics("all")["hiddenscope/embed/tokens"] == 90
    # Values that do not vary have no shape.
    single = hs.from_states({"embed": np.ones((1, 2, 8))})
    assert "hiddenscope/embed/excess_kurtosis" not in single.metrics("rest")
    assert analysis.metrics(single.stream)["hiddenscope/embed/tokens"] == 1


@pytest.mark.parametrize("column", ["std", "excess_kurtosis", "absmax", "median_norm"])
def test_the_figure_draws_the_table(column: str) -> None:
    figure = series().plot(column)
    left, right = figure.axes[:2]
    values = series().table()[column]
    lines = {line.get_gid(): line for line in left.lines}
    for site in values["site"].values:
        x, y = lines[f"line:{site}"].get_data()
        assert list(x) == list(STEPS)
        np.testing.assert_array_equal(y, values.sel(site=site))
    drawn = np.concatenate([np.ma.getdata(m.get_array()) for m in right.collections])
    np.testing.assert_array_equal(drawn, values)
    said = [t.get_text().replace("\n", " ") for t in figure.texts]
    assert "through 3 profiles, made up" in said[0]
    assert left.get_xlim()[0] < 0
    ticks = [t.get_text() for t in left.get_xticklabels()]
    assert ticks == [t.get_text() for t in right.get_xticklabels()] == ["0", "100", "2000"]
    figure.draw_without_rendering()


def test_the_figure_says_what_changes_most_and_looks_as_asked() -> None:
    figure = series().plot("std", figsize=(9, 4), cmap="viridis", title="Mine")
    assert figure.get_size_inches().tolist() == pytest.approx([9, 4])
    title, claim, _ = (t.get_text() for t in figure.texts)
    table = series().table()["std"].values
    most = int(np.argmax(table[:, -1] / table[:, 0]))
    assert title == "Mine"
    assert claim.startswith(f"largest change: block {(0, 2, 10)[most - 1]}, from ")
    first = next(line for line in figure.axes[0].lines if line.get_gid() == f"line:{BLOCKS[0]}")
    assert to_hex(first.get_color()) == to_hex(mpl.colormaps["viridis"](0.0))
    named = hs.series({"base": profile(0), "chat": profile(100)}).plot("std")
    assert [t.get_text() for t in named.axes[0].get_xticklabels()] == ["base", "chat"]


def test_a_column_of_zeros_is_drawn_without_a_claim() -> None:
    same = hs.series({0: profile(0), 1: profile(100)})
    assert not same.table()["massive"].any()
    title, caption = (t.get_text() for t in same.plot("massive").texts)
    assert title.startswith("Massive activations through 2 profiles")
    assert caption.startswith("view rest")


def test_what_a_series_cannot_draw_is_refused() -> None:
    with pytest.raises(FigureError, match="no column 'nonsense' by site: it has tokens, mean"):
        series().plot("nonsense")
    with pytest.raises(FigureError, match="no option 'bins'"):
        series().plot("std", bins=3)
    own = mpl.figure.Figure()
    with pytest.raises(FigureError, match="either ax or fig"):
        series().plot("std", ax=own.add_subplot(), fig=own)
