"""How numbers and texts travel in a page: base64 typed arrays, JSON that cannot end its script."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from hiddenscope.figures.plotly.values import typed
from hiddenscope.words import number, shorten, visible

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

LONGEST = 120
"""Characters of a text of the profile that a page shows before its middle is cut out."""
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def text(value: object) -> str:
    """Write a text of the profile on one line: short, with what cannot be printed as numbers."""
    return visible(shorten(str(value), LONGEST))


def for_script(value: Any) -> str:
    """Write JSON that holds no character with a meaning in HTML."""
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return plain.translate(_ESCAPED)


def packed(value: Any) -> str:
    """Write JSON compressed, as base64: less than half as long, and the same for the same value."""
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(plain.encode(), 6, mtime=0)).decode("ascii")


def array(values: ArrayLike, dtype: str = "f4") -> dict[str, str]:
    """Return an array as Plotly and the page's script read it.

    Parameters
    ----------
    values : array_like
    dtype : {'f4', 'f8', 'i4', 'u2', 'u1'}
        Float32 is more than a screen can show.
    """
    if dtype == "f4":
        # What is beyond float32 is drawn at its end.
        most = np.finfo(np.float32).max
        values = np.clip(np.asarray(values, np.float64), -most, most)
    return typed(values, dtype)


def top_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper half of each float32: all that there is of a bfloat16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits >> 16).astype(np.uint16)


def table(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the columns of a table, its index first."""
    return [{"name": text(name), "values": _column(frame[name])} for name in frame.columns]


def _column(values: pd.Series[Any]) -> dict[str, Any] | list[str]:
    """Write one column; names that come again and again are written once."""
    if values.dtype.kind == "f":
        return array(values.to_numpy(), "f4")
    if values.dtype.kind in "iu":
        return array(values.to_numpy(), "f8")
    texts = [number(v) if _is_number(v) else text(v) for v in values]
    names = list(dict.fromkeys(texts))
    if len(names) > len(texts) // 4:
        return texts
    codes = {name: i for i, name in enumerate(names)}
    return {"names": names, "codes": array([codes[t] for t in texts], "u2")}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def sentence(words: str) -> str:
    """Begin a claim with a capital letter, where it begins with a word."""
    shown = text_of_reason(words)
    first = shown.partition(" ")[0]
    return shown[:1].upper() + shown[1:] if first.isalpha() and first.isascii() else shown


def text_of_reason(words: str) -> str:
    """Write words of our own, in which a text of the profile may be, without cutting them."""
    return visible(shorten(words, 1000))
