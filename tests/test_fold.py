"""Shards fold in one fixed tree, so that what computed them leaves no trace in the numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import (
    Window,
    assert_identical,
    assert_same,
    decode,
    examples,
    make_batch,
    make_layout,
    make_windows,
    snapshot,
)

from hiddenscope import schema
from hiddenscope.stats import ACCUMULATORS, Fold, Layout, StreamState


@dataclass(frozen=True)
class Leaf:
    """A state that remembers how it was joined."""

    tree: object

    def merge(self, other: Leaf) -> Leaf:
        return Leaf((self.tree, other.tree))


def expected_tree(start: int, stop: int) -> object:
    """Split off the largest power of two of shards that leaves some, again and again."""
    n = stop - start
    if n == 1:
        return start
    left = 1 << (n - 1).bit_length() - 1
    return expected_tree(start, start + left), expected_tree(start + left, stop)


def fold(states: list) -> Fold:
    made: Fold = Fold()
    for state in states:
        made.add(state)
    return made


def test_the_index_of_a_shard_alone_decides_the_tree() -> None:
    assert fold([Leaf(i) for i in range(6)]).result() == Leaf((((0, 1), (2, 3)), (4, 5)))
    for n in range(1, 40):
        assert fold([Leaf(i) for i in range(n)]).result() == Leaf(expected_tree(0, n))


def test_a_fold_of_nothing_has_no_result_and_of_one_shard_is_that_shard() -> None:
    assert Fold().result() is None
    assert fold([Leaf("only")]).result() == Leaf("only")


def test_a_fold_holds_at_most_one_state_a_level() -> None:
    folding: Fold[Leaf] = Fold()
    for n in range(1, 300):
        folding.add(Leaf(n))
        assert len(folding.open) <= np.log2(n) + 1


def test_reading_the_result_midway_changes_nothing() -> None:
    folding: Fold[Leaf] = Fold()
    for n in range(1, 30):
        folding.add(Leaf(n - 1))
        assert folding.result() == folding.result() == Leaf(expected_tree(0, n))


CHANNELS = 70
LENGTHS = [20, 3, 11, 0, 40, 1, 25, 8, 30, 5, 17, 2, 9]


@pytest.fixture(scope="module", params=[None, ()], ids=["full", "compact"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return make_layout(CHANNELS, sample_tokens=30, loud=request.param)


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return make_windows(23, LENGTHS, CHANNELS)


@pytest.fixture(scope="module")
def first(layout: Layout, windows: list[Window]) -> StreamState:
    """The state of the first window, which settles the loud channels of the compact form."""
    made = StreamState(layout)
    made.update(make_batch(layout, windows[:1]))
    return made


def shard(first: StreamState, windows: list[Window], every: int = 2) -> StreamState:
    made = first.sibling()
    for start in range(0, len(windows), every):
        made.update(make_batch(made.layout, windows[start : start + every]))
    return made


def cut(windows: list[Window], size: int) -> list[list[Window]]:
    return [windows[start : start + size] for start in range(0, len(windows), size)]


def copy(state: StreamState) -> StreamState:
    """Take a state to a file and back."""
    return StreamState.from_state(state.layout, state.state())


def assert_same_bits(actual: StreamState, expected: StreamState) -> None:
    for a, b in zip(snapshot(actual), snapshot(expected), strict=True):
        assert_identical(a, b)


def test_a_stream_holds_one_accumulator_of_every_group(first: StreamState) -> None:
    assert [type(part) for part in first.parts] == list(ACCUMULATORS)
    assert first.tables(decode).keys() == schema.GROUPS.keys()


def test_a_stream_updates_each_accumulator_and_merges_like_with_like(
    first: StreamState, windows: list[Window]
) -> None:
    a, b = shard(first, windows[:5]), shard(first, windows[5:])
    before = snapshot(a), snapshot(b)
    merged = a.merge(b)
    for part, left, right in zip(merged.parts, a.parts, b.parts, strict=True):
        assert_identical(part.arrays, left.merge(right).arrays)
    for state, saved in zip((a, b), before, strict=True):
        for now, then in zip(snapshot(state), saved, strict=True):
            assert_identical(now, then)
    assert_same_bits(first.sibling().merge(a), a)


def test_a_sibling_is_empty(first: StreamState, windows: list[Window]) -> None:
    for part in first.sibling().parts:
        assert_identical(part.arrays, type(part)(first.layout).arrays)
    assert first.sibling().layout == first.layout
    grown = first.sibling()
    grown.update(make_batch(first.layout, windows))
    assert not first.sibling().parts[0].arrays["count"].any()


def test_the_same_shards_give_the_same_bits_whoever_computes_them(
    first: StreamState, windows: list[Window]
) -> None:
    shards = cut(windows, 2)
    once = fold([shard(first, rows) for rows in shards]).result()
    # Workers finish in any order; the states come back through a file and fold by index.
    done = {i: copy(shard(first, shards[i])) for i in reversed(range(len(shards)))}
    again = fold([done[i] for i in range(len(shards))]).result()
    assert once is not None
    assert again is not None
    assert_same_bits(again, once)


def test_a_fold_resumed_from_its_open_nodes_gives_the_same_bits(
    first: StreamState, windows: list[Window]
) -> None:
    shards = [shard(first, rows) for rows in cut(windows, 2)]
    through = fold(shards).result()
    for stop in range(len(shards)):
        stopped = fold(shards[:stop])
        resumed: Fold[StreamState] = Fold()
        resumed.open = [(level, copy(state)) for level, state in stopped.open]
        for state in shards[stop:]:
            resumed.add(state)
        assert_same_bits(resumed.result(), through)


def test_folding_leaves_the_states_of_the_shards_as_they_are(
    first: StreamState, windows: list[Window]
) -> None:
    shards = [shard(first, rows) for rows in cut(windows, 3)]
    before = [copy(state) for state in shards]
    folding = fold(shards)
    result = folding.result()
    result.update(make_batch(first.layout, windows))
    if len(folding.open) > 1:
        for state, saved in zip(shards, before, strict=True):
            assert_same_bits(state, saved)


@examples(6)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    every=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize("loud", [None, ()], ids=["full", "compact"])
def test_other_shards_of_the_same_windows_give_the_same_numbers(
    loud: tuple[int, ...] | None, sizes: list[int], every: int, seed: int
) -> None:
    layout = make_layout(CHANNELS, sample_tokens=30, loud=loud)
    windows = make_windows(seed, LENGTHS, CHANNELS)
    first = StreamState(layout)
    first.update(make_batch(layout, windows[:1]))
    whole = shard(first, windows, every=len(windows))
    bounds = [0, *np.cumsum(sizes).clip(max=len(windows)), len(windows)]
    pieces = [windows[a:b] for a, b in itertools.pairwise(bounds) if b > a]
    folded = fold([shard(first, rows, every) for rows in pieces]).result()
    for part, expected in zip(folded.parts, whole.parts, strict=True):
        assert_same(part, expected)
