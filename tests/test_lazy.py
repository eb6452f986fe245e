"""A profile that is opened holds what xarray's own reader finds, and reads it when it is asked."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from known import known

import hiddenscope as hs
from hiddenscope.errors import ProfileError
from hiddenscope.profiles.lazy import LazyArray, read_tree

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known().profile.save(tmp_path_factory.mktemp("lazy") / "profile.nc")


@pytest.mark.parametrize("name", ["full", "compact", "schema-1.nc", "schema-2.nc"])
def test_it_is_what_xarrays_own_reader_finds(name: str, path: Path, tmp_path: Path) -> None:
    if name == "compact":
        path = known(compact=True).profile.save(tmp_path / "compact.nc")
    elif name != "full":
        path = GOLDEN / name
    found = read_tree(path.read_bytes())
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        expected = opened.load()
    assert [node.path for node in found.subtree] == [node.path for node in expected.subtree]
    arrays = 0
    for node, wanted in zip(found.subtree, expected.subtree, strict=True):
        a, b = node.to_dataset(), wanted.to_dataset()
        xr.testing.assert_identical(a, b)
        assert set(a.coords) == set(b.coords)
        for key, variable in b.variables.items():
            assert a[key].dtype == variable.dtype, key
            assert a[key].values.dtype == variable.dtype, key
            assert a[key].attrs == variable.attrs, key
            arrays += 1
    assert arrays > 50


def test_numbers_are_read_when_they_are_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, ...]] = []
    plain = LazyArray.values.fget
    assert plain is not None

    def noted(self: LazyArray) -> np.ndarray:
        if self._values is None:
            read.append(self.shape)
        return plain(self)

    monkeypatch.setattr(LazyArray, "values", property(noted))
    p = hs.open(path)
    assert p.sites
    assert p.manifest
    assert not [shape for shape in read if len(shape) > 1]
    before = len(read)
    first = p.dataset["residual/moments"]["mean"].values
    again = p.dataset["residual/moments"]["mean"].values
    assert len(read) == before + 1
    np.testing.assert_array_equal(first, again)


def test_of_a_part_no_more_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = hs.open(path).dataset["residual/grid"]["count"]
    whole = hs.open(path).dataset["residual/grid"]["count"].values
    plain = LazyArray.values.fget
    assert plain is not None

    def no_counts(self: LazyArray) -> np.ndarray:
        assert self.shape != whole.shape, "read whole"
        return plain(self)

    with monkeypatch.context() as m:
        m.setattr(LazyArray, "values", property(no_counts))
        np.testing.assert_array_equal(counts[:, 1].values, whole[:, 1])
        np.testing.assert_array_equal(counts[::-1, 0, 5:9].values, whole[::-1, 0, 5:9])
        np.testing.assert_array_equal(counts[[2, 0], [1]].values, whole[[2, 0]][:, [1]])
        hs.open(path).quantiles(0.5, view="first")
    assert whole[:, 1].any()


def test_it_goes_to_another_process_and_into_a_new_file(path: Path, tmp_path: Path) -> None:
    table = hs.open(path).moments("all")
    for made in (pickle.loads(pickle.dumps(hs.open(path))), copy.deepcopy(hs.open(path))):
        assert made.moments("all").equals(table)
        assert made.manifest == hs.open(path).manifest
        assert made.quantiles(0.5).equals(hs.open(path).quantiles(0.5))
    target = Path(shutil.copy(path, tmp_path / "same.nc"))
    # The file it came from is no longer needed.
    held = hs.open(target)
    target.unlink()
    assert held.moments("all").equals(table)
    held.save(target)
    assert hs.open(target).moments("all").equals(table)


def test_damage_inside_is_told_when_it_is_met(path: Path, tmp_path: Path) -> None:
    with h5py.File(path) as file:
        place = file["residual/moments/mean"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    for i in range(place.size):
        content[place.byte_offset + i] ^= 0xFF
    harmed = tmp_path / "harmed.nc"
    harmed.write_bytes(content)
    p = hs.open(harmed)
    assert p.sites
    with pytest.raises(ProfileError, match=r"the profile is damaged .*make it again"):
        p.moments("all")
