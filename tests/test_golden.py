"""Profiles that older releases wrote still open and answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hiddenscope as hs
from hiddenscope import schema
from hiddenscope.errors import ProfileError

GOLDEN = Path(__file__).parent / "golden"
FILES = {int(path.stem.split("-")[1]): path for path in GOLDEN.glob("schema-*.nc")}


def test_there_is_a_file_of_every_older_schema() -> None:
    assert sorted(FILES) == list(range(1, schema.VERSION))


@pytest.mark.parametrize("version", sorted(FILES))
def test_an_older_profile_opens_with_its_tables_and_figures(version: int, tmp_path: Path) -> None:
    p = hs.open(FILES[version])
    assert p.tokens["regular"] == 65
    assert p.moments().loc["block.5.resid_post", "max"] == pytest.approx(23.436043)
    assert p.outliers().massive.empty
    tables = (p.quantiles(0.5), p.histogram(), p.covariance(), p.r2("channel"), p.norms())
    tables += (p.positions(), p.sample(), p.extremes(), p.loudest(), p.wing(), p.channels("embed"))
    assert all(len(table) for table in tables)
    for kind in dir(p.plot):
        getattr(p.plot, kind)()
    again = hs.open(p.save(tmp_path / "again.nc"))
    assert again.dataset.attrs["schema_version"] == version


def test_before_schema_3_the_ends_were_those_of_whole_tokens() -> None:
    x = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
    x[0, 3, 5], x[0, 3, 1] = np.nan, 50
    with pytest.warns(hs.HiddenscopeWarning):
        p = hs.from_states({"embed": x})
    assert float(p.quantiles(1.0, view="all")[0, 0]) == 50
    finite = np.isfinite(x).all(-1)
    p.stream["moments"]["max"].values[:] = x[finite].max()
    p.dataset.attrs["schema_version"] = 2
    assert float(p.quantiles(1.0, view="all")[0, 0]) == pytest.approx(50, rel=0.01)


def test_what_an_older_schema_lacks_is_refused_by_name() -> None:
    with pytest.raises(ProfileError, match=r"schema 1 and lacks 'over_rms'.*measure again"):
        _ = hs.open(FILES[1]).outliers().channels
