"""What the header of a GGUF file says, read strictly.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Other readers map a file
into memory and slice it, so that a truncated file causes an unrelated error, or none; here every
length is first compared with the size of the file.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any, NamedTuple

from hiddenscope.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"GGUF"
VERSIONS = (2, 3)

_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32


class Tensor(NamedTuple):
    """A tensor as the header lists it; `end` is the byte of the file that follows it."""

    name: str
    type: str
    values: int
    end: int


@dataclass(frozen=True)
class Header:
    """The header of a GGUF file.

    Attributes
    ----------
    metadata : dict
        Scalars and strings by key; of an array its length.
    tensors : tuple of Tensor
    """

    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        """What llama.cpp calls the kind of model, such as ``llama``."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def quantisation(self) -> str:
        """How weights are stored, such as ``Q4_1``: as the file says, or as most of them are."""
        from gguf import LlamaFileType  # noqa: PLC0415 - optional

        try:
            name = LlamaFileType(self.metadata["general.file_type"]).name
        except (KeyError, ValueError):
            name = "GUESSED"
        if name != "GUESSED":
            return name.removeprefix("MOSTLY_").removeprefix("ALL_")
        values: Counter[str] = Counter()
        for tensor in self.tensors:
            values[tensor.type] += tensor.values
        return values.most_common(1)[0][0]


def is_gguf(path: Path) -> bool:
    """Whether a file begins as a GGUF file does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file, and check that all that it lists is there.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Header

    Raises
    ------
    ModelError
        The file cannot be read, is empty, no GGUF file, of another version or byte order, damaged,
        truncated, one part of several, or holds no weights.
    """
    shown = repr(str(path))
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if start[:4] != MAGIC:
                what = f"begins with {start[:4]!r}" if size else "is empty"
                msg = f"{shown} is no GGUF file: it {what}, expected {MAGIC!r}"
                raise ModelError(msg)
            _check_version(shown, start[4:].ljust(4, b"\xff"), size)
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                header = _Reader(data, shown).header()
    except OSError as error:
        msg = f"cannot read the GGUF file {shown}: {error.strerror or error}"
        raise ModelError(msg) from error
    parts = header.metadata.get("split.count")
    if isinstance(parts, int) and parts > 1:
        msg = (
            f"{shown} is one of {parts} parts of a model: join them with "
            "`llama-gguf-split --merge FIRST_PART WHOLE` and name the whole"
        )
        raise ModelError(msg)
    if not header.tensors:
        msg = f"{shown} holds no weights: expected the GGUF file of a model, not of a vocabulary"
        raise ModelError(msg)
    end = max(tensor.end for tensor in header.tensors)
    if size < end:
        raise _truncated(shown, f"{size:,} of {end:,} bytes are there")
    return header


def _check_version(shown: str, field: bytes, size: int) -> None:
    (version,) = struct.unpack("<I", field)
    (swapped,) = struct.unpack(">I", field)
    if size < 8:
        raise _truncated(shown, f"it has {size} bytes, fewer than any header")
    if version not in VERSIONS and swapped in VERSIONS:
        msg = (
            f"{shown} is big-endian, which is not read: convert it with "
            "`gguf-convert-endian FILE little`"
        )
        raise ModelError(msg)
    if version not in VERSIONS:
        msg = (
            f"{shown} is of GGUF version {version}, expected {' or '.join(map(str, VERSIONS))}: "
            "convert the model anew with a current llama.cpp"
        )
        raise ModelError(msg)


def _truncated(shown: str, what: str) -> ModelError:
    return ModelError(f"{shown} is truncated: {what}; download or copy it again")


class _Reader:
    """Walks through a header from its start."""

    def __init__(self, data: mmap, shown: str) -> None:
        self.data, self.shown = data, shown
        self.at = len(MAGIC) + 4

    def header(self) -> Header:
        tensor_count, key_count = self.numbers("QQ")
        metadata = {}
        for _ in range(key_count):
            key = self.string()
            metadata[key] = self.value(self.number("I"))
        listed = [self.tensor() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            what = f"an alignment of {alignment!r}"
            raise self._damaged(what)
        start = math.ceil(self.at / alignment) * alignment
        return Header(metadata, tuple(t._replace(end=start + t.end) for t in listed))

    def tensor(self) -> Tensor:
        """Read one entry of the list of tensors; its end is counted from the first tensor."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415 - optional

        name = self.string()
        shape = self.numbers(f"{self.number('I')}Q")
        kind, offset = self.numbers("IQ")
        try:
            quantisation = GGMLQuantizationType(kind)
        except ValueError as error:
            msg = (
                f"{self.shown} holds the tensor {name!r} in the format {kind}, which the package "
                "gguf does not know: update it with pip install -U gguf"
            )
            raise ModelError(msg) from error
        block_values, block_bytes = GGML_QUANT_SIZES[quantisation]
        values = math.prod(shape)
        end = offset + values // block_values * block_bytes
        return Tensor(name, quantisation.name, values, end)

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            what = f"a value of kind {kind!r}"
            raise self._damaged(what)
        element, length = self.numbers("IQ")
        if element in _SCALARS:
            self.skip(length * struct.calcsize(_SCALARS[element]))
        elif element == _STRING:
            for _ in range(length):
                self.string()
        else:
            what = f"an array of values of kind {element!r}"
            raise self._damaged(what)
        return length

    def string(self) -> str:
        length = self.number("Q")
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8", errors="replace")

    def number(self, kind: str) -> Any:
        return self.numbers(kind)[0]

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        layout = f"<{kinds}"
        start = self.at
        try:
            self.skip(struct.calcsize(layout))
        except struct.error as error:  # a count that no file could hold
            raise self._over() from error
        return struct.unpack_from(layout, self.data, start)

    def skip(self, length: int) -> None:
        if length > len(self.data) - self.at:
            raise self._over()
        self.at += length

    def _damaged(self, what: str) -> ModelError:
        return ModelError(
            f"{self.shown} is damaged: {what} before byte {self.at:,}; download or copy it again"
        )

    def _over(self) -> ModelError:
        what = f"its header does not end in its {len(self.data):,} bytes"
        return _truncated(self.shown, what)
