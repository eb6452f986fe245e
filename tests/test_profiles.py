"""The profile: its file, its tables, and what it does without torch."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from conftest import TEXT
from matplotlib.text import Text

import hiddenscope as hs
from hiddenscope.errors import (
    FigureError,
    OutputError,
    ProfileError,
)
from hiddenscope.profiles.files import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hiddenscope.profiles import Profile

METHODS: dict[str, Callable[[Profile], object]] = {
    "moments": lambda p: p.moments(),
    "channels": lambda p: p.channels("block.3.resid_post", view="all"),
    "quantiles": lambda p: p.quantiles([0.001, 0.5, 0.999]),
    "histogram": lambda p: p.histogram(bins=50, range=(-3, 3), view="all"),
    "covariance": lambda p: p.covariance(view="all"),
    "r2": lambda p: p.r2(),
    "r2 within": lambda p: p.r2("within", without=[3, 4]),
    "r2 channel": lambda p: p.r2("channel"),
    "norms": lambda p: p.norms("linf"),
    "positions": lambda p: p.positions("all"),
    "sample": lambda p: p.sample("all", sites="embed"),
    "extremes": lambda p: p.extremes("all"),
    "loudest": lambda p: p.loudest(k=5),
    "outliers": lambda p: p.outliers().channels,
    "massive": lambda p: p.outliers("all").massive,
    "wing": lambda p: p.wing(),
    "caption": lambda p: p.caption(),
    "tokens": lambda p: p.tokens,
    "manifest": lambda p: p.manifest,
    "checks": lambda p: p.checks,
    "repr": repr,
}


def assert_equal(a: object, b: object) -> None:
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, xr.DataArray | xr.Dataset):
        xr.testing.assert_identical(a, b)
    else:
        assert a == b


@pytest.fixture(scope="module")
def opened(profile_file: Path) -> Profile:
    return hs.open(profile_file)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_twice_and_after_open_alike(
    name: str, demo_profile: Profile, opened: Profile
) -> None:
    first = METHODS[name](demo_profile)
    assert_equal(METHODS[name](demo_profile), first)
    assert_equal(METHODS[name](opened), first)
    assert_equal(METHODS[name](opened), first)


def test_the_public_names_are_there() -> None:
    for name in hs.__all__:
        assert getattr(hs, name) is getattr(hs, name)
    assert set(hs.__all__) <= set(dir(hs))
    with pytest.raises(AttributeError, match="nonsense"):
        hs.nonsense  # noqa: B018


class TestFile:
    def test_it_survives_the_round_trip(
        self, demo_profile: Profile, opened: Profile, profile_file: Path
    ) -> None:
        for group in demo_profile.stream.children.values():
            xr.testing.assert_equal(opened.stream[group.name].to_dataset(), group.to_dataset())
        with h5py.File(profile_file) as file:
            assert file["residual/grid/count"].compression
        assert hs.open(profile_file.parent).manifest == demo_profile.manifest

    def test_strings_are_fit_for_any_reader(self, tmp_path: Path) -> None:
        p = hs.profile("demo", text=["a\x00b \ud800 c and so on", "naïve 日本 🙂 text"])
        same = hs.open(p.save(tmp_path / "p.nc"))
        assert clean("a\ud800b\0 \ud83d\ude42") == "a\ufffdb\u2400 \U0001f642"
        assert not any("\x00" in piece for piece in same.sample("all")["piece"].values)

    def test_a_failed_save_leaves_the_earlier_file(
        self, demo_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = demo_profile.save(tmp_path / "p.nc")
        before = path.read_bytes()

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
        with pytest.raises(OutputError, match="No space left"):
            demo_profile.save(path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["p.nc"]

    def test_a_newer_schema_is_refused_and_says_so(
        self, profile_file: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "newer.nc"
        shutil.copy(profile_file, path)
        with h5py.File(path, "r+") as file:
            file.attrs["schema_version"] = 999
        with pytest.raises(ProfileError, match=r"999.*upgrade"):
            hs.open(path)

    def test_another_netcdf_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "other.nc"
        xr.Dataset({"x": ("y", np.arange(3))}).to_netcdf(path, engine="h5netcdf")
        with pytest.raises(ProfileError, match="not a"):
            hs.open(path)


def setting(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda file: file["residual/moments"].__delitem__("m2"), "lacks residual/moments/m2"),
        (lambda file: file["residual"].__delitem__("grid"), "lacks the group residual/grid"),
        (lambda file: file.attrs.__delitem__("manifest"), "manifest is missing"),
        (lambda file: file.attrs.__setitem__("checks", "{["), "checks is missing or damaged"),
        *((setting("manifest", x), "manifest is damaged") for x in ("null", "[]", "5", "{}")),
        *((setting("checks", x), "checks is damaged") for x in ("5", "[5]", "[{}]", "{}")),
        *((setting("schema_version", x), f"its schema is {x}") for x in (0, -5)),
        (
            lambda file: file["residual/moments"].__delitem__("hf_index"),
            "lacks residual/moments/hf_index",
        ),
    ],
)
def test_what_is_missing_is_named(
    harm: Callable[[h5py.File], None], says: str, profile_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "harmed.nc"
    shutil.copy(profile_file, path)
    with h5py.File(path, "r+") as file:
        harm(file)
    with pytest.raises(ProfileError, match=says):
        hs.open(path)


OPTIONAL = {
    "norms": lambda p: p.norms(),
    "positions": lambda p: p.positions(),
    "cross": lambda p: p.r2(),
    "extremes": lambda p: p.outliers().massive,
    "sample": lambda p: p.sample(),
}


@pytest.mark.parametrize("group", OPTIONAL)
def test_an_absent_group_refuses_its_own_question_only(
    group: str, demo_profile: Profile, profile_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "less.nc"
    shutil.copy(profile_file, path)
    with h5py.File(path, "r+") as file:
        del file[f"residual/{group}"]
    p = hs.open(path)
    pd.testing.assert_frame_equal(p.outliers().channels, demo_profile.outliers().channels)
    for name, ask in OPTIONAL.items():
        if name == group:
            with pytest.raises(ProfileError, match=rf"holds no '{group}'.*measure again"):
                ask(p)
        else:
            assert_equal(ask(p), ask(demo_profile))
    pd.testing.assert_frame_equal(p.moments(), demo_profile.moments())


@pytest.mark.parametrize("at", [96, 100, 200, 680])
def test_a_damaged_head_is_one_line(
    at: int, profile_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(profile_file.read_bytes())
    data[at] ^= 0xFF
    (tmp_path / "p.nc").write_bytes(data)
    # Not every byte matters to whoever reads; whatever does is a clean refusal.
    with contextlib.suppress(ProfileError):
        hs.open(tmp_path / "p.nc")
    gc.collect()
    assert "Traceback" not in capfd.readouterr().err


def test_zeros_have_no_magnitudes_to_draw() -> None:
    p = hs.from_states({"embed": np.zeros((2, 5, 3), np.float32)}, mask=torch.ones(2, 5).bfloat16())
    with pytest.raises(FigureError, match="is zero"):
        p.plot.outliers()


def test_a_saved_profile_opens_reads_and_plots_without_torch(
    profile_file: Path, tmp_path: Path
) -> None:
    code = f"""
import sys
for name in ("torch", "transformers"):
    sys.modules[name] = None
import hiddenscope as hs
p = hs.open({str(profile_file)!r})
p.moments(), p.quantiles(0.5), p.r2(), p.outliers(), p.extremes(), p.sample(), p.norms()
p.save({str(tmp_path / "again.nc")!r})
for kind in dir(p.plot):
    getattr(p.plot, kind)()
assert "matplotlib.pyplot" not in sys.modules, "it chooses a backend, which is the user's to do"
"""
    # Where a backend is named there is nothing to choose.
    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path, env=env)


class TestNumbers:
    def test_views_add_up_to_the_whole(self, demo_profile: Profile) -> None:
        whole, rest, first = (demo_profile.moments(v) for v in ("all", "rest", "first"))
        assert (whole["tokens"] == rest["tokens"] + first["tokens"]).all()
        assert (whole["max"] == np.maximum(rest["max"], first["max"])).all()
        both = demo_profile.moments("first+regular+special")
        pd.testing.assert_frame_equal(both, whole)

    def test_the_first_token_of_every_window_is_left_out_by_default(
        self, demo_profile: Profile
    ) -> None:
        assert demo_profile.tokens["first"] == demo_profile.manifest["corpus"]["windows"]
        assert "first tokens left out" in demo_profile.caption()

    def test_a_figure_that_there_is_not_is_named(self, demo_profile: Profile) -> None:
        with pytest.raises(AttributeError, match="no figure 'nonsense': choose one of"):
            _ = demo_profile.plot.nonsense

    def test_r2_is_nan_where_nothing_varies(self) -> None:
        x = np.random.default_rng(0).normal(size=(1, 20, 4)).astype(np.float32)
        with pytest.warns(hs.HiddenscopeWarning, match="resolution"):
            p = hs.from_states(
                {"embed": np.full_like(x, 3.1), "block.0.resid_post": x}, causal=False
            )
        r2 = p.r2().values
        assert np.isnan(r2[0]).all()
        assert r2[1, 1] == 1


def test_finite_values_of_tokens_that_are_not_finite_are_shown() -> None:
    x = np.random.default_rng(0).normal(size=(1, 40, 8)).astype(np.float16)
    x[0, 7, 2], x[0, 7, 5] = np.inf, 60_000
    x[0, 9, 1] = -49_984
    x[0, 9, 3] = np.nan
    with pytest.warns(hs.HiddenscopeWarning):
        p = hs.from_states({"embed": x, "block.0.resid_post": x}, causal=False)
    h = p.histogram(bins=30)
    assert int(h[0].sum()) == x.size - 2
    assert float(h["left"][0]) <= -49_984
    assert float(h["right"][-1]) > 60_000
    found = p.extremes(site="embed").head(2)
    assert found["value"].tolist() == [60_000.0, -49_984.0]
    values = np.abs(x[0, 7].astype(np.float64))
    assert found["median"][0] == np.median(values[np.isfinite(values)])
    # The same ends in every table and in the figures that are drawn from them.
    for table in (p.moments().loc["embed"], p.channels("embed").agg({"min": "min", "max": "max"})):
        assert (table["min"], table["max"]) == (-49_984, 60_000)
    assert p.quantiles([0, 1]).sel(site="embed").values.tolist() == [-49_984, 60_000]
    texts = " ".join(t.get_text() for t in p.plot.depth().findobj(Text))
    assert "farthest from zero: 60,000" in texts


def test_float64_values_beyond_float32_are_counted_as_infinite_and_said() -> None:
    x = np.random.default_rng(0).normal(size=(1, 40, 8))
    x[0, 7, 2], x[0, 9, 3] = 1e300, -1e39
    with pytest.warns(hs.HiddenscopeWarning) as said:
        p = hs.from_states({"embed": x, "block.0.resid_post": x.clip(-9, 9)}, causal=False)
    assert p.manifest["model"]["state_dtype"]["embed"] == "float64"
    finite = next(c for c in p.checks if c["name"] == "finite")
    assert finite["detail"].endswith("; float64 values beyond float32 are counted as infinite")
    words = [str(w.message) for w in said]
    assert any("2 finite float64 values are beyond float32" in w for w in words)
    counts = p.stream["grid"]["count"].isel(site=0).sum("stratum")
    assert counts[[0x7F80, 0xFF80]].values.tolist() == [1, 1]
    assert p.moments()["nonfinite"].tolist() == [2, 0]


def test_quantiles_of_zeros_are_zero() -> None:
    x = np.random.default_rng(0).normal(size=(1, 40, 8)).astype(np.float32)
    x[..., :6] = 0
    x[..., 0] = -0.0
    p = hs.from_states({"embed": x, "block.0.resid_post": x}, causal=False)
    found = p.quantiles([0.3, 0.5, 0.7]).values
    assert (found == 0).all()
    assert not np.signbit(found).any()


def test_many_documents_are_measured_in_shards_like_in_one() -> None:
    texts = [f"{i}. {TEXT}" for i in range(9)]
    one, many = (
        hs.profile("demo", text=texts, batch_tokens=64, shard_bytes=n) for n in (10**6, 200)
    )
    assert many.manifest["corpus"]["shards"] > one.manifest["corpus"]["shards"] == 1
    assert one.tokens == many.tokens
    np.testing.assert_allclose(one.r2(), many.r2(), atol=1e-5)


@pytest.mark.usefixtures("short_parts")
def test_a_document_of_several_parts_is_one_document() -> None:
    texts = [TEXT, f"{TEXT} " * 6, TEXT[:60]]
    one, many = (hs.profile("demo", text=texts, window=64, shard_bytes=n) for n in (10**6, 300))
    a, b = one.manifest["corpus"], many.manifest["corpus"]
    for key in ("documents", "documents_cut", "windows", "sha256", "tokens"):
        assert a[key] == b[key], key
    assert (b["documents"], b["documents_cut"]) == (3, 1)
    assert b["shards"] > 3
    sample = many.sample("all")
    windows = {(int(d), int(w)) for d, w in zip(sample["document"], sample["window"], strict=True)}
    assert {d for d, _ in windows} == {0, 1, 2}
    assert len(windows) == b["windows"]


def test_what_was_not_measured_is_not_counted() -> None:
    corpus = hs.profile("demo", text=[TEXT] * 5, max_tokens=6).manifest["corpus"]
    assert corpus["documents"] == corpus["windows"] == 1
    assert sum(corpus["tokens"].values()) == 6
