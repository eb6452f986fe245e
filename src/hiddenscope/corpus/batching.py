"""Batches: windows of like length side by side, padded on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def batches(
    windows: Sequence[Tokens], batch_tokens: int, *, padded: bool = True
) -> Iterator[Tokens]:
    """Sort windows by length, stably, and pack them into batches.

    Parameters
    ----------
    windows : sequence of Tokens[1, pos]
        Those of one shard.
    batch_tokens : int
        Bound on rows × longest row; a single longer window is a batch of its own.
    padded : bool
        Whether rows of several lengths may share a batch, padded to the longest.

    Yields
    ------
    Tokens[batch, pos]
    """
    rows: list[Tokens] = []
    # Longest first: if the largest batch does not fit into memory, this shows before other work.
    for window in sorted(windows, key=lambda w: -w.length):
        full = (len(rows) + 1) * rows[0].length > batch_tokens if rows else False
        if rows and (full or not (padded or window.length == rows[0].length)):
            yield Tokens.join(rows)
            rows = []
        rows.append(window)
    if rows:
        yield Tokens.join(rows)
