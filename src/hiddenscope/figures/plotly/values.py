"""Numbers and texts as Plotly's JavaScript reads them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.words import bare_token, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

LONGEST = 60
"""Characters of a token that are shown."""
_SPECIAL = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("$"): "&#36;"}


def typed(values: Any, dtype: str = "f4") -> dict[str, str]:
    """Write numbers as a base64 typed array, which is small and quick to read.

    Parameters
    ----------
    values : array_like
        Of one or more dimensions.
    dtype : str
        As Plotly and NumPy call it: ``f4``, ``f8``, ``i4``, ``u1``, ….

    Returns
    -------
    dict
        ``dtype``, ``bdata`` and, of more than one dimension, ``shape``.
    """
    array = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    spec = {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode("ascii")}
    if array.ndim > 1:
        spec["shape"] = ", ".join(str(n) for n in array.shape)
    return spec


def coarse(values: ArrayLike) -> NDArray[np.float32]:
    """Round numbers on which only a place, a colour or three digits depend.

    The lower ten bits of each become zero, which pack into little room. What is left is true to
    one part in 16,384: finer than a screen.

    Parameters
    ----------
    values : array_like of float
    """
    exact = np.asarray(values, np.float32)
    bits = (exact.view(np.uint32) + np.uint32(1 << 9)) & ~np.uint32((1 << 10) - 1)
    return np.where(np.isfinite(exact), bits.view(np.float32), exact)


def escaped(text: str) -> str:
    """Write a text so that Plotly shows it as it is.

    Plotly reads tags and entities in every text; between dollar signs, formulas, where MathJax is
    loaded; and ``%{…}`` in templates. What cannot be printed is shown by number.
    """
    return visible(text).translate(_SPECIAL).replace("%{", "%&#123;")


def token_text(piece: str) -> str:
    """Write a token for a label."""
    return escaped(shorten(bare_token(shorten(piece, 10 * LONGEST)), LONGEST))


def lines(texts: Sequence[str]) -> str:
    """Join texts, escaped already, as lines below each other."""
    return "<br>".join(texts)
