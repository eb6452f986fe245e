"""The schema: what a profile holds is what the table says, and the page says the same.

docs/file-format.md is written anew where it does not say what the table says.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import xarray as xr
from known import known

import hiddenscope as hs
from hiddenscope import schema
from hiddenscope.errors import ProfileError
from hiddenscope.schema import COMPACT, FULL, GROUPS, SHARED, TEXT, Variable

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parent.parent / "docs" / "file-format.md"

INTRODUCTION = f"""# The file format

`profile.nc` is netCDF-4, of schema {schema.VERSION}. Anything that reads netCDF or HDF5 reads it:

```python
import xarray as xr
tree = xr.open_datatree("profile.nc", engine="h5netcdf")
tree["residual/moments"]["mean"]
```

The root says what the file is (`title`, `description`, `source`) and `how_to_open` it, in words for
whoever meets it in another tool; `schema_version`, and as JSON `manifest` (model, tokenizer, text,
thresholds, versions, time) and `checks` (what the run checked of itself). Below it lies a group
for each stream (`residual`; of an encoder-decoder `encoder` and `decoder`, which in a profile reads
the text shifted right by one token: `decoder_reads` in the manifest), and in each the groups below.
An older file lacks what a later schema added, and any group but {
    " and ".join(f"`{name}`" for name in schema.REQUIRED)
} may be absent: only what would be answered from it is
refused. Strings are UTF-8 without NUL.

Sums such as `m2` are centred and not divided. A cell of the grid is the top 16 bits of a float32:
sign, exponent and 7 bits of the mantissa; `magnitude` counts the first half of the cells, those
that are not negative. The coordinate `value` is the lower edge of each cell, which a negative cell
comes close to and does not hold. `octaves` counts magnitudes by powers of two; where that would
take over 128 MiB in 32 bits, the strata of `rest` are counted together, and the `others` together.
The attribute `compact` of `cross` says which form the co-moments have.
"""


def page() -> str:
    parts = [INTRODUCTION, "## Coordinates of every group that has the dimension\n", rows(SHARED)]
    for name, variables in GROUPS.items():
        parts += [f"## `{name}`\n", rows(variables)]
    return "\n".join(parts)


def rows(variables: dict[str, Variable]) -> str:
    lines = ["| variable | dimensions | type | units | what | since |", "|---|---|---|---|---|---|"]
    for name, v in variables.items():
        what = v.long_name + (f" ({v.form} form)" if v.form else "")
        cells = (f"`{name}`", ", ".join(v.dims), v.dtype, v.units, what, str(v.since))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_the_page_says_what_the_table_says() -> None:
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(), "utf-8")
    assert before == page(), f"{PAGE} did not say what the schema says: it was written anew"


@pytest.mark.parametrize("form", [FULL, COMPACT])
def test_a_profile_holds_what_the_table_says_and_nothing_else(form: str) -> None:
    stream = known(compact=form == COMPACT).profile.stream
    assert list(stream.children) == list(GROUPS)
    for name, variables in GROUPS.items():
        data = stream[name].to_dataset()
        wanted = {k: v for k, v in variables.items() if v.belongs(schema.VERSION, form)}
        dims = {dim for v in wanted.values() if not v.coordinate for dim in v.dims}
        wanted |= {k: v for k, v in SHARED.items() if set(v.dims) <= dims and k not in wanted}
        assert set(data.variables) == set(wanted), name
        for key, variable in wanted.items():
            found = data.variables[key]
            assert found.dims == variable.dims, (name, key)
            assert (key in data.coords) == variable.coordinate, (name, key)
            assert variable.attrs.items() <= found.attrs.items()
            assert found.attrs.keys() == variable.attrs.keys() | variable.settings.keys()
            if variable.dtype != TEXT:
                assert found.dtype == np.dtype(variable.dtype), (name, key)
    assert stream["moments"]["over"].attrs["threshold"] == 5.0
    assert stream["moments"]["over_rms"].attrs["factor"] == 3.0
    assert stream["cross"].attrs == {"compact": int(form == COMPACT)}


def test_a_file_says_what_it_is_to_any_reader(tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(1, 9, 64))
    path = hs.from_states({"embed": states}, name="a model").save(tmp_path / "p.nc")
    with h5py.File(path) as file:
        about = {key: file.attrs[key] for key in ("title", "description", "how_to_open", "source")}
        groups = re.findall(r"/residual/\w+", about["description"])
        assert [g.rpartition("/")[2] for g in groups] == list(GROUPS)
        assert all(group in file for group in groups)
    assert about["title"] == "Hidden states of a model on given states"
    assert about["source"] == f"hiddenscope {hs.__version__}"
    calls = re.findall(r"[\w.]+\(path[^)]*\)", about["how_to_open"])
    assert len(calls) == 2
    for call in calls:
        opened = eval(call, {"hiddenscope": hs, "xarray": xr, "path": path})
        tree = opened.dataset if isinstance(opened, hs.Profile) else opened
        assert tree["residual/moments"]["mean"].dims == ("site", "stratum", "channel")
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        assert plain.attrs["how_to_open"] == about["how_to_open"]
    with xr.open_dataset(path, group="residual/grid", engine="h5netcdf") as cells:
        counts = cells["count"].sum(("site", "stratum")).load()
    # The counts of the values from 1 to 2, told by the file alone.
    values = states.astype(np.float32)
    between = counts[(counts["value"] >= 1) & (counts["value"] < 2)].sum()
    assert between == ((values >= 1) & (values < 2)).sum() > 0
    assert counts[counts["value"] < 0].sum() == (values < 0).sum()


def test_every_word_of_the_table_is_there() -> None:
    for variable in (v for group in (SHARED, *GROUPS.values()) for v in group.values()):
        assert variable.long_name
        assert variable.units
        assert 1 <= variable.since <= schema.VERSION


def without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def turned(file: h5py.File) -> None:
    values = file["residual/norms/l2"][...].astype(np.float32)
    del file["residual/norms/l2"]
    file["residual/norms"].create_dataset("l2", data=values)
    for axis, dim in enumerate(("site", "stratum", "magnitude")):
        file["residual/norms/l2"].dims[axis].attach_scale(file["residual/norms"][dim])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = known(compact=True).profile.save(tmp_path_factory.mktemp("schema") / "whole.nc")
    assert hs.open(path).sites
    return path


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (without("residual/extremes/after"), "lacks residual/extremes/after"),
        (without("residual/cross/comoment_next"), "lacks residual/cross/comoment_next"),
        (without("residual/moments/nonfinite_document"), "lacks residual/moments/nonfinite_d"),
        (turned, "residual/norms/l2 is float32, not int64"),
    ],
    ids=["text", "compact form", "since schema 2", "type"],
)
def test_a_file_that_lacks_part_of_a_group_is_refused(
    harm: Callable[[h5py.File], None], says: str, whole: Path, tmp_path: Path
) -> None:
    harmed = Path(shutil.copy(whole, tmp_path / "harmed.nc"))
    with h5py.File(harmed, "r+") as file:
        harm(file)
    with pytest.raises(ProfileError, match=says):
        hs.open(harmed)


def test_other_dimensions_are_refused(tmp_path: Path) -> None:
    path = known().profile.save(tmp_path / "p.nc")
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        tree = opened.load()
    data = tree["residual/norms"].to_dataset()
    data["l2"] = data["l2"].transpose("stratum", "site", "magnitude")
    tree["residual/norms"] = xr.DataTree(data)
    tree.to_netcdf(tmp_path / "turned.nc", engine="h5netcdf")
    with pytest.raises(ProfileError, match="norms/l2 has the dimensions"):
        hs.open(tmp_path / "turned.nc")
