"""Batches: windows of like length side by side, padded on the right."""

from __future__ import annotations

from bisect import insort
from itertools import groupby
from operator import neg
from typing import TYPE_CHECKING

from hiddenscope.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BATCH_COST = 256
"""What a batch costs beside its tokens, in tokens: 75 ms against 0.26 ms a token of the demo."""
NEARLY_FULL = 1.08
"""A group whose batches cost at most this many times what full ones cost grows no further."""
GROUP_BATCHES = 16
"""A group of tokens for so many full batches grows no further either."""


def groups(windows: Iterable[Tokens], batch_tokens: int) -> Iterator[list[Tokens]]:
    """Cut windows, in the order of the corpus, into the groups of which batches are made.

    A run can end after any group, and has then measured the beginning of its corpus. So groups
    should be small; but the fewer windows there are to choose from, the more padding there is.
    A group therefore ends as soon as its last batch is full and all of them cost nearly as little
    as full ones without padding: after one batch where texts are long, after two or three where
    they are articles. Texts that are short and of very unlike length need up to `GROUP_BATCHES`,
    with which padding and further batches cost 5 to 12 % (half as many: 10 to 20 %; a whole shard
    of a MiB: 2 to 4 %). Where a group ends depends on nothing but the lengths in it and
    `batch_tokens`.

    Parameters
    ----------
    windows : iterable of Tokens[1, pos]
        Those of one shard. No window is taken before the groups ahead of it are yielded.
    batch_tokens : int
        As in `batches`.

    Yields
    ------
    list of Tokens[1, pos]
    """
    group: list[Tokens] = []
    lengths: list[int] = []
    tokens = 0
    for window in windows:
        group.append(window)
        insort(lengths, window.length, key=neg)
        tokens += window.length
        cuts = list(_cuts(lengths, batch_tokens))
        begin, end = cuts[-1]
        no_room = (end - begin + 1) * lengths[begin] > batch_tokens
        cost = sum(BATCH_COST + (e - b) * lengths[b] for b, e in cuts)
        full = tokens * (1 + BATCH_COST / batch_tokens)
        if tokens >= GROUP_BATCHES * batch_tokens or (no_room and cost <= NEARLY_FULL * full):
            yield group
            group, lengths, tokens = [], [], 0
    if group:
        yield group


def batches(
    windows: Sequence[Tokens], batch_tokens: int, *, padded: bool = True
) -> Iterator[Tokens]:
    """Sort windows by length, stably, and pack them into batches.

    Parameters
    ----------
    windows : sequence of Tokens[1, pos]
        Those of one group.
    batch_tokens : int
        Bound on rows × longest row; a single longer window is a batch of its own.
    padded : bool
        Whether rows of several lengths may share a batch, padded to the longest.

    Yields
    ------
    Tokens[batch, pos]
    """
    # Longest first: if the largest batch does not fit into memory, this shows before other work.
    ordered = sorted(windows, key=lambda w: -w.length)
    for _, alike in groupby(ordered, key=lambda w: None if padded else w.length):
        rows = list(alike)
        for begin, end in _cuts([w.length for w in rows], batch_tokens):
            yield Tokens.join(rows[begin:end])


def _cuts(lengths: Sequence[int], batch_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield where each batch of rows of these lengths, longest first, begins and ends."""
    begin = 0
    while begin < len(lengths):
        end = min(begin + max(batch_tokens // lengths[begin], 1), len(lengths))
        yield begin, end
        begin = end
