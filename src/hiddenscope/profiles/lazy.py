"""Arrays of a file that are read when somebody first looks at them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from hiddenscope.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_OF_NETCDF = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_FillValue"}
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


class LazyArray(BackendArray):
    """An array of numbers in a file: read in parts where parts are asked for; once whole, kept."""

    def __init__(self, held: h5py.Dataset) -> None:
        self._held: h5py.Dataset | None = held
        self._values: NDArray[Any] | None = None
        self.shape, self.dtype = held.shape, held.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        """Return a part, as xarray asks for it."""
        made: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._part
        )
        return made

    def _part(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        whole = all(
            isinstance(k, slice) and len(range(n)[k]) == n
            for k, n in zip(key, self.shape, strict=True)
        )
        if self._held is not None and not whole:
            return _read(self._held, key)
        values: NDArray[Any] = self.values[key]
        return values

    @property
    def values(self) -> NDArray[Any]:
        """The whole array."""
        if self._values is None:
            assert self._held is not None
            self._values = _read(self._held)
            self._held = None
        return self._values

    def __getstate__(self) -> dict[str, Any]:
        """Return the array itself: a place in a file means nothing to another process."""
        return vars(self) | {"_values": self.values, "_held": None}


def read_tree(content: bytes) -> xr.DataTree:
    """Read the tree of a netCDF-4 file, of its arrays only the names, shapes and types.

    xarray's own reader takes most of a second over a profile, whatever is asked of it.

    Raises
    ------
    OSError
        It is no HDF5 file, or a part of one.
    """
    file = h5py.File(io.BytesIO(content), "r")
    return xr.DataTree.from_dict(dict(_groups(file, {})))


def _groups(group: h5py.Group, scales: dict[int, str]) -> Iterator[tuple[str, xr.Dataset]]:
    members = dict(group.items())
    held = {key: value for key, value in members.items() if isinstance(value, h5py.Dataset)}
    # An array names its dimensions by where in the file their scales are: in its own group or one
    # around it. To ask HDF5 for the names themselves takes longer than all the rest.
    scales = scales | {_address(a.id): key for key, a in held.items() if a.is_scale}
    variables = {
        name: xr.Variable(_dimensions(array, scales), _values(array), _attributes(array))
        for name, array in held.items()
        if not (array.is_scale and array.attrs["NAME"].startswith(_NO_VARIABLE))
    }
    labels = {name for name in variables if held[name].is_scale}
    for variable in variables.values():
        # Those that label no dimension are named in an attribute of the arrays.
        labels.update(variable.attrs.pop("coordinates", "").split())
    coordinates = {name: variables.pop(name) for name in list(variables) if name in labels}
    yield group.name, xr.Dataset(variables, coordinates, _attributes(group))
    for child in members.values():
        if isinstance(child, h5py.Group):
            yield from _groups(child, scales)


def _values(array: h5py.Dataset) -> Any:
    if h5py.check_string_dtype(array.dtype):
        return _read(array.asstr()).astype(np.str_)
    # The labels of a dimension xarray makes an index of, and therefore reads, at once.
    return _read(array) if array.is_scale else indexing.LazilyIndexedArray(LazyArray(array))


def _read(array: Any, key: Any = ()) -> NDArray[Any]:
    """Read an array, whole or a part of it.

    Raises
    ------
    ProfileError
        This part of the file is damaged.
    """
    try:
        values: NDArray[Any] = array[key]
    except OSError as error:
        msg = f"the profile is damaged ({error}): make it again with `hiddenscope profile`"
        raise ProfileError(msg) from error
    return values


def _address(held: h5py.h5d.DatasetID) -> int:
    return int(h5py.h5o.get_info(held).addr)


def _dimensions(array: h5py.Dataset, scales: dict[int, str]) -> list[str]:
    # The scale of a dimension is an array of its own, which labels itself.
    if array.is_scale:
        return [scales[_address(array.id)]]
    found = [f"dimension_{axis}" for axis in range(array.ndim)]
    for axis in range(array.ndim):
        if h5py.h5ds.get_num_scales(array.id, axis):
            found[axis] = scales[h5py.h5ds.iterate(array.id, axis, _address)]
    return found


def _attributes(held: h5py.HLObject) -> dict[str, Any]:
    keys = [k for k in held.attrs if k not in _OF_NETCDF and not k.startswith(("_Netcdf4", "_NC"))]
    values = {key: held.attrs[key] for key in keys}
    return {
        key: value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value
        for key, value in values.items()
    }
