"""The contract of every accumulator, and each against float64 NumPy over all tokens at once."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import (
    DTYPES,
    SITES,
    Plain,
    Window,
    assert_identical,
    assert_same,
    close,
    decode,
    examples,
    labelled,
    make_batch,
    make_layout,
    make_windows,
    moment_scales,
    snapshot,
    spread,
)

from hiddenscope import from_states, grid
from hiddenscope.errors import HiddenscopeWarning, MergeError
from hiddenscope.measuring import layouts
from hiddenscope.stats import (
    ACCUMULATORS,
    Accumulator,
    Layout,
    StreamState,
    find_massive,
    gather,
    octaves,
)
from hiddenscope.stats.cross import Cross
from hiddenscope.stats.extremes import Extremes
from hiddenscope.stats.grid import Grid
from hiddenscope.stats.moments import Moments
from hiddenscope.stats.norms import Norms
from hiddenscope.stats.octaves import Octaves
from hiddenscope.stats.positions import Positions
from hiddenscope.stats.sample import Sample
from hiddenscope.strata import PLAIN, Strata
from hiddenscope.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.stats.base import State

K = range(len(PLAIN))
ALL = range(len(SITES))


@st.composite
def streams(draw: st.DrawFn, min_windows: int = 1) -> tuple[Layout, list[Window]]:
    """Windows of many lengths (0 is a row of padding), dtypes, channels and budgets."""
    lengths = draw(st.lists(st.integers(0, 20), min_size=min_windows, max_size=8))
    channels = draw(st.sampled_from([5, 70]))
    dtypes = draw(st.permutations(DTYPES))[:2]
    bad = draw(st.sampled_from([0.0, 0.1, 0.3, 1.0]))
    seed = draw(st.integers(0, 2**32 - 1))
    layout = make_layout(
        channels, SITES[: len(dtypes)], sample_tokens=draw(st.sampled_from([2, 24]))
    )
    return layout, make_windows(seed, lengths, channels, dtypes, bad=bad)


def groups(random: Random, items: Sequence) -> list[list]:
    """Cut a sequence into pieces of random sizes."""
    pieces: list[list] = []
    for item in items:
        if not pieces or random.random() < 0.4:
            pieces.append([])
        pieces[-1].append(item)
    return pieces


def fresh(layout: Layout) -> StreamState:
    """Make an empty state of every kind, of the co-moments both forms."""
    compact = Cross(replace(layout, loud=tuple(range(0, layout.channels, 2))))
    return StreamState(layout, [*StreamState(layout).parts, compact])


def updated(
    state: StreamState, windows: Sequence[Window], *, every: int = 2, **padding: float
) -> StreamState:
    for start in range(0, len(windows), every):
        state.update(make_batch(state.layout, windows[start : start + every], **padding))
    return state


def assert_same_bits(actual: StreamState, expected: StreamState | list[State]) -> None:
    wanted = expected if isinstance(expected, list) else snapshot(expected)
    for now, then in zip(snapshot(actual), wanted, strict=True):
        assert_identical(now, then)


def overwrite(*states: StreamState) -> None:
    for array in (x for state in states for part in state.parts for x in part.arrays.values()):
        array[...] = 1


class TestContract:
    """What folding, checkpoints and workers rely on, of every accumulator at once."""

    @examples(30)
    @given(streams(), st.randoms(use_true_random=False))
    def test_any_split_order_and_merge_tree_equal_one_pass(
        self, stream: tuple[Layout, list[Window]], random: Random
    ) -> None:
        layout, windows = stream
        empty = fresh(layout)
        whole = updated(empty.sibling(), windows, every=len(windows))

        shuffled = random.sample(windows, len(windows))
        states = [empty]
        for batches in groups(random, groups(random, shuffled)):
            state = empty.sibling()
            for rows in batches:
                state.update(make_batch(layout, rows))
            states.append(state)
        while len(states) > 1:
            a, b = (states.pop(random.randrange(len(states))) for _ in range(2))
            states.append(a.merge(b))
        for part, expected in zip(states[0].parts, whole.parts, strict=True):
            assert_same(part, expected)

    @examples(15)
    @given(streams())
    def test_a_fresh_state_is_the_identity_of_merge(
        self, stream: tuple[Layout, list[Window]]
    ) -> None:
        layout, windows = stream
        sibling = fresh(layout)
        state = updated(sibling.sibling(), windows)
        new = StreamState(layout, [type(p)(p.layout) for p in state.parts])
        for empty in (sibling, new):
            assert_same_bits(state.merge(empty), state)
            assert_same_bits(empty.merge(state), state)
            assert_same_bits(empty.merge(empty), empty)

    @examples(15)
    @given(streams(min_windows=2))
    def test_merge_and_what_follows_it_neither_change_nor_alias_the_inputs(
        self, stream: tuple[Layout, list[Window]]
    ) -> None:
        layout, windows = stream
        empty = fresh(layout)
        later = make_batch(layout, windows)
        a, b = (updated(empty.sibling(), windows[i::2], every=1) for i in (0, 1))
        for left, right in ((a, b), (b, empty), (empty, b), (a, a), (empty, empty)):
            before = snapshot(left), snapshot(right)
            merged = left.merge(right)
            longer = left.merge(right)
            assert_same_bits(merged, longer)
            longer.update(later)
            overwrite(merged)
            assert_same_bits(left, before[0])
            assert_same_bits(right, before[1])

        merged = a.merge(b)
        before_all = snapshot(merged)
        a.update(later)
        b.update(later)
        overwrite(a, b)
        assert_same_bits(merged, before_all)

    @examples(15)
    @given(streams())
    def test_a_state_survives_the_round_trip_and_shares_nothing(
        self, stream: tuple[Layout, list[Window]]
    ) -> None:
        layout, windows = stream
        original = updated(fresh(layout), windows)
        saved = snapshot(original)
        restored = StreamState(
            layout,
            [type(p).from_state(p.layout, s) for p, s in zip(original.parts, saved, strict=True)],
        )
        assert [type(p) for p in restored.parts] == [*ACCUMULATORS, Cross]
        assert_same_bits(restored, saved)

        more = make_batch(layout, windows)
        restored.update(more)
        assert_same_bits(original, saved)
        original.update(more)
        assert_same_bits(restored, original)

        before = snapshot(restored)
        for array in (x for s in (*saved, *snapshot(restored)) for x in s.values()):
            array[...] = 1
        assert_same_bits(restored, before)
        assert_same_bits(original, before)

    def test_padding_is_never_counted_whatever_it_holds(self) -> None:
        layout = make_layout(6)
        windows = make_windows(5, [9, 0, 3, 14], 6)
        states = [
            updated(fresh(layout), windows, every=4, padding=padding, extra=extra)
            for padding, extra in ((np.nan, 1), (6e4, 40), (np.inf, 0))
        ]
        assert_same_bits(states[1], states[0])
        assert_same_bits(states[2], states[0])

    def test_padding_alone_changes_nothing(self) -> None:
        layout = make_layout(6)
        windows = make_windows(5, [9, 3], 6)
        state = updated(fresh(layout), windows)
        before = snapshot(state)
        state.update(make_batch(layout, make_windows(6, [0, 0], 6)))
        assert_same_bits(state, before)

    def test_update_leaves_the_hidden_states_as_they_are(self) -> None:
        layout = make_layout(70)
        windows = make_windows(7, [9, 30, 3], 70)
        batch = make_batch(layout, windows)
        before = {site: x.clone() for site, x in batch.states.items()}
        fresh(layout).update(batch)
        for site, x in batch.states.items():
            assert torch.equal(x.view(torch.uint8), before[site].view(torch.uint8))


CHANNELS = 70
LENGTHS = [150, 1, 90, 0, 33, 64, 2, 140, 40, 7]


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return make_windows(11, LENGTHS, CHANNELS)


@pytest.fixture(scope="module")
def plain(windows: list[Window]) -> Plain:
    return Plain(windows)


def measure(kind: type[Accumulator], windows: Sequence[Window], **options: object) -> Accumulator:
    channels = next(iter(windows[0].states.values())).shape[1]
    layout = make_layout(channels, **options)
    (part,) = updated(StreamState(layout, [kind(layout)]), windows, every=3).parts
    return part


def part_of(state: StreamState, name: str) -> Accumulator:
    return next(part for part in state.parts if part.name == name)


def test_grid_holds_every_value_of_every_token(windows: list[Window], plain: Plain) -> None:
    data = labelled(measure(Grid, windows))["count"]
    assert data.dims == ("site", "stratum", "cell")
    assert data.dtype == np.int64
    for site, k in np.ndindex(len(SITES), len(PLAIN)):
        values = plain.values(SITES[site])[plain.stratum == k]
        counts = data.values[site, k]
        finite = values[np.isfinite(values)].astype(np.float64)
        np.testing.assert_array_equal(grid.merged(counts), np.histogram(finite, grid.EDGES)[0])
        assert grid.nonfinite(counts) == values.size - finite.size
        assert counts[0x7F80] == np.count_nonzero(values == np.inf)
        assert counts.sum() == values.size > 0


def test_moments_are_numpys_over_tokens_finite_at_the_site(
    windows: list[Window], plain: Plain
) -> None:
    data = labelled(measure(Moments, windows, outlier_rms=1.5))
    assert data["over"].attrs["threshold"] == 6.0
    assert data["over_rms"].attrs["factor"] == 1.5
    at_threshold = 0
    for site, k in np.ndindex(len(SITES), len(PLAIN)):
        found = {key: values[site, k] for key, values in data.items() if key != "count"}
        values = plain.values(SITES[site])[plain.stratum == k]
        own = (plain.stratum == k) & ~plain.finite(SITES[site])
        x = values[np.isfinite(values).all(1)].astype(np.float64)
        assert 0 < len(x) == data["count"][site, k]
        mean = x.mean(0)
        power = {f"m{p}": ((x - mean) ** p).sum(0) for p in (2, 3, 4)}
        scales = moment_scales(np.array(len(x)), mean, power["m2"], power["m4"])
        for key, expected in ({"mean": mean} | power).items():
            close(found[key], expected, scales[key], key)
        norms = np.sqrt((x**2).sum(1, keepdims=True))
        close(found["unit_mean"], (x / norms).mean(0), np.ones(CHANNELS), "unit_mean")
        known = np.isfinite(values)
        np.testing.assert_array_equal(found["min"], values.min(0, initial=np.inf, where=known))
        np.testing.assert_array_equal(found["max"], values.max(0, initial=-np.inf, where=known))
        np.testing.assert_array_equal(found["over"], (np.abs(x) >= 6).sum(0))
        at_threshold += np.count_nonzero(np.abs(x) == 6)
        far = x**2 * x.shape[1] >= 2.25 * (x**2).sum(1, keepdims=True)
        np.testing.assert_array_equal(found["over_rms"], (far & x.any(1, keepdims=True)).sum(0))
        assert found["over_rms"].any()
        np.testing.assert_array_equal(found["nonfinite"], (~known).sum(0))
        lost = [d for (d, *_), row in zip(plain.places, own, strict=True) if row]
        assert found["nonfinite_document"] == min(lost, default=-1)
    assert at_threshold


def test_moments_of_no_tokens_are_empty() -> None:
    layout = make_layout(4)
    state = Moments(layout)
    (window,) = make_windows(0, [3], 4)
    nothing = dict.fromkeys(SITES, torch.full((3, 4), torch.nan))
    state.update(make_batch(layout, [replace(window, states=nothing)]))
    assert state.arrays["nonfinite"].sum() == 3 * 4 * len(SITES)
    assert not state.arrays["count"].any()
    assert (state.arrays["min"] == np.inf).all()
    assert (state.arrays["max"] == -np.inf).all()


def numpy_octaves(plain: Plain, site: str, strata: Sequence[int]) -> np.ndarray:
    """Count magnitudes ``[channel, octave]`` of the tokens that are finite at a site."""
    keep = np.isin(plain.stratum, strata) & plain.finite(site)
    x = np.abs(plain.values(site)[keep].astype(np.float64))
    return np.stack([np.histogram(column, [*grid.OCTAVE_STARTS, np.inf])[0] for column in x.T])


def test_octaves_are_numpys_over_tokens_finite_at_the_site(
    windows: list[Window], plain: Plain
) -> None:
    part = measure(Octaves, windows)
    assert part.arrays["count"].dtype == np.int32
    data = labelled(part)
    assert data["count"].dims == ("site", "stratum_group", "channel", "octave")
    assert data["count"].dtype == np.int64
    assert data["stratum_group"].values.tolist() == list(PLAIN)
    for site, k in np.ndindex(len(SITES), len(PLAIN)):
        expected = numpy_octaves(plain, SITES[site], [k])
        np.testing.assert_array_equal(data["count"][site, k], expected)


def test_counts_of_more_than_128_mib_keep_only_rest_and_the_others_apart(
    windows: list[Window], plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = len(SITES) * len(PLAIN) * CHANNELS * 32 * 4
    assert octaves.MOST_BYTES == 128 << 20
    monkeypatch.setattr(octaves, "MOST_BYTES", whole)
    assert Octaves(make_layout(CHANNELS)).arrays["count"].shape[1] == len(PLAIN)
    monkeypatch.setattr(octaves, "MOST_BYTES", whole - 1)
    data = labelled(measure(Octaves, windows))
    assert data["stratum_group"].values.tolist() == ["rest", "others"]
    for i, site in enumerate(SITES):
        for group, strata in enumerate(([2, 3], [0, 1])):
            expected = numpy_octaves(plain, site, strata)
            np.testing.assert_array_equal(data["count"][i, group], expected)


def test_octaves_are_widened_before_a_count_overflows(windows: list[Window]) -> None:
    part = measure(Octaves, windows)
    layout, most = part.layout, np.iinfo(np.int32).max
    tokens = sum(LENGTHS[:2])
    full = part.state()
    full["count"][0, 0, 0, 5] = most - tokens
    room = Octaves.from_state(layout, full)
    room.update(make_batch(layout, windows[:2]))
    assert room.arrays["count"].dtype == np.int32
    full["count"][0, 0, 0, 5] += 1
    wide = Octaves.from_state(layout, full)
    wide.update(make_batch(layout, windows[:2]))
    assert wide.arrays["count"].dtype == np.int64
    # The same in a merge, whichever side is wide.
    for a, b in ((wide, part), (part, wide), (wide, wide)):
        merged = a.merge(b).arrays["count"]
        np.testing.assert_array_equal(
            merged, a.arrays["count"].astype(np.int64) + b.arrays["count"]
        )
    assert part.merge(part).arrays["count"].dtype == np.int32


def numpy_comoments(plain: Plain, k: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Return count, mean[site, channel], comoment[site, site, channel] and the latter's scale."""
    keep = (plain.stratum == k) & plain.finite_everywhere
    x = np.stack([plain.values(site)[keep] for site in SITES]).astype(np.float64)
    mean = x.mean(1)
    d = x - mean[:, None]
    comoment = np.einsum("atc,btc->abc", d, d)
    s = spread(np.array(x.shape[1]), mean, (d * d).sum(1))
    return x.shape[1], mean, comoment, x.shape[1] * s[:, None] * s


def test_cross_is_numpys_over_tokens_finite_at_every_site(
    windows: list[Window], plain: Plain
) -> None:
    data = labelled(measure(Cross, windows))
    assert data["comoment"].dims == ("stratum", "site_a", "site_b", "channel")
    for k in K:
        n, mean, comoment, scale = numpy_comoments(plain, k)
        assert 1 < n == data["count"][k]
        close(data["mean"].values[k], mean, np.sqrt(scale[ALL, ALL] / n), "mean")
        close(data["comoment"].values[k], comoment, scale, "comoment")


def test_compact_cross_keeps_sums_single_channels_and_loud_pairs(
    windows: list[Window], plain: Plain
) -> None:
    data = labelled(measure(Cross, windows, loud=()))
    loud = data["loud"].values
    assert len(set(loud)) == 64
    for k in K:
        n, mean, comoment, scale = numpy_comoments(plain, k)
        assert n == data["count"][k]
        close(data["mean"].values[k], mean, np.sqrt(scale[ALL, ALL] / n), "mean")
        close(data["comoment_sum"].values[k], comoment.sum(-1), scale.sum(-1), "sum")
        close(data["comoment_self"].values[k], comoment[ALL, ALL], scale[ALL, ALL], "self")
        following = data["comoment_next"].values[k]
        close(following[:-1], comoment[ALL[:-1], ALL[1:]], scale[ALL[:-1], ALL[1:]], "next")
        close(data["comoment_loud"].values[k], comoment[..., loud], scale[..., loud], "loud")


def test_a_co_moment_of_more_than_128_mib_is_compact() -> None:
    sites = [f"block.{i}.resid_post" for i in range(64)]
    for channels, compact in ((1024, False), (1025, True)):
        # 4 strata × 64² pairs × 8 bytes are 128 KiB a channel.
        layout = layouts.make_layout(sites, channels, trunk=sites, options=layouts.Options(PLAIN))
        assert layout.loud == (() if compact else None)


def test_compact_cross_leaves_out_the_quietest_channels_of_the_first_batch() -> None:
    # Two more would be quiet, but for a mean that is the same at every site, and but for one site
    # where all others are quieter still.
    quiet, offset, there = [3, 7, 20, 31, 44, 69], 50, 12
    factor = torch.ones(CHANNELS)
    factor[[*quiet, offset, there]] = 1e-6
    rng = np.random.default_rng(0)
    made = make_windows(3, [40, 30], CHANNELS, bad=0.0)
    states = [torch.from_numpy(rng.normal(size=(40, CHANNELS))).float() for _ in made]
    first = [
        replace(w, states={site: x[: len(w.ids)] * factor for site in SITES})
        for w, x in zip(made, states, strict=True)
    ]
    for window in first:
        window.states[SITES[0]].mul_(1e-6)[:, there] *= 1e9
        for x in window.states.values():
            x[:, offset] += 50 * x[:, there + 1].std()
    layout = make_layout(CHANNELS, loud=())
    state = StreamState(layout)
    # What has no finite token does not settle anything, and is counted.
    lost = [replace(w, states={s: x * torch.nan for s, x in w.states.items()}) for w in first]
    state.update(make_batch(layout, lost))
    assert state.layout.loud == ()
    before = state.from_state(state.layout, state.state())
    state.update(make_batch(layout, first))
    expected = tuple(np.setdiff1d(np.arange(CHANNELS), quiet).tolist())
    assert state.layout.loud == expected
    state.update(make_batch(layout, made))
    for later in (state, state.sibling(), before.merge(state), state.merge(before)):
        assert later.layout.loud == expected
        assert {part.layout for part in later.parts} == {later.layout}
        assert part_of(later, "cross").arrays["loud"].shape[-1] == 64
    assert before.layout.loud == ()
    twice = part_of(before.merge(state), "grid").arrays["count"].sum()
    total = CHANNELS * len(SITES) * sum(len(w.ids) for w in made)
    assert twice == 4 * total


def test_compact_cross_refuses_states_of_other_loud_channels(windows: list[Window]) -> None:
    layout = make_layout(CHANNELS, loud=())
    one, other = StreamState(layout), StreamState(layout)
    one.update(make_batch(layout, windows[:1]))
    turned = {site: x.flip(1) for site, x in windows[0].states.items()}
    other.update(make_batch(layout, [replace(windows[0], states=turned)]))
    with pytest.raises(MergeError, match="different loud"):
        one.merge(other)


def test_norms_count_the_l2_norm_and_largest_magnitude_of_finite_tokens(
    windows: list[Window], plain: Plain
) -> None:
    data = labelled(measure(Norms, windows))
    magnitudes = np.append(grid.VALUES[0x7F80:], 2.0**128)
    for site, k in np.ndindex(len(SITES), len(PLAIN)):
        x = plain.values(SITES[site])[(plain.stratum == k) & plain.finite(SITES[site])]
        x = np.abs(x.astype(np.float64))
        for key, norm in (("l2", np.sqrt((x**2).sum(1))), ("linf", x.max(1))):
            expected = np.histogram(norm.astype(np.float32), magnitudes)
            counts = data[key].values[site, k]
            assert len(counts) == grid.CELLS // 2
            np.testing.assert_array_equal(counts[:0x7F80], expected[0], key)
            assert counts.sum() == len(x)


def test_a_norm_beyond_float32_is_counted_as_infinite() -> None:
    rows = make_windows(0, [2], 4, bad=0.0)
    huge = {site: torch.full((2, 4), 3e38) for site in SITES}
    data = labelled(measure(Norms, [replace(rows[0], states=huge)]))
    assert data["l2"][..., 0x7F80].sum() == 2 * len(SITES)
    assert data["linf"][..., 0x7F80].sum() == 0


def test_positions_are_numpys_over_tokens_and_channels_of_each_bucket(
    windows: list[Window], plain: Plain
) -> None:
    data = labelled(measure(Positions, windows))
    starts, stops = data["position_start"].values, data["position_stop"].values
    np.testing.assert_array_equal(starts[:64], np.arange(64))
    np.testing.assert_array_equal(starts[1:], stops[:-1])
    assert (stops - starts <= starts / 8).all(where=starts >= 64)
    assert stops[-1] > max(LENGTHS) - 1
    for k in K:
        own = (plain.stratum == k) & plain.finite_everywhere
        assert data["count"].values[k].sum() == own.sum()
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            keep = own & (plain.position >= start) & (plain.position < stop)
            assert data["count"][k, i] == keep.sum()
            for site, name in enumerate(SITES):
                x = plain.values(name)[keep].astype(np.float64)
                mean = x.mean() if x.size else np.float64(0)
                m2 = ((x - mean) ** 2).sum()
                s = spread(np.array(x.size), mean, m2)
                close(data["mean"].values[site, k, i], mean, s, "mean")
                close(data["m2"].values[site, k, i], m2, x.size * s**2, "m2")
                assert data["absmax"].values[site, k, i] == np.abs(x).max(initial=0)


def test_positions_far_along_a_window_share_buckets_on_a_logarithmic_scale() -> None:
    rng = np.random.default_rng(0)
    n = 5000
    made = make_windows(0, [n], 2 + 2, DTYPES[:1], bad=0.0)[0]
    x = torch.from_numpy(rng.normal(size=(n, 4))).float()
    layout = make_layout(4, SITES[:1])
    state = Positions(layout)
    state.update(make_batch(layout, [replace(made, states={SITES[0]: x})]))
    data = labelled(state)
    assert data.sizes["position"] < 64 + 8 * np.log2(n / 64) + 1
    bounds = np.append(data["position_start"].values, n)
    np.testing.assert_array_equal(data["count"].sum("stratum"), np.diff(bounds))


def test_positions_of_states_that_hardly_vary() -> None:
    made = make_windows(0, [40], 4, DTYPES[:1], bad=0.0)[0]
    rng = np.random.default_rng(0)
    small = 1e-6 * rng.normal(size=(40, 4)).astype(np.float32)
    constant = np.repeat(rng.normal(size=(40, 1)).astype(np.float32), 4, axis=1)
    layout = make_layout(4, SITES[:1])
    for x, expected in ((small, 4 * small.astype(np.float64).var(1)), (constant, np.zeros(40))):
        state = Positions(layout)
        state.update(make_batch(layout, [replace(made, states={SITES[0]: torch.from_numpy(x)})]))
        m2 = labelled(state)["m2"].values.sum((0, 1))
        np.testing.assert_allclose(m2, expected, rtol=1e-6, atol=1e-14)
        assert (m2 >= 0).all()


def test_the_last_bucket_of_positions_holds_all_from_16_million() -> None:
    layout = make_layout(4, SITES[:1])
    made = make_windows(0, [4], 4, DTYPES[:1], bad=0.0)
    batch = make_batch(layout, made, extra=0)
    far = np.array([[5, 2**24 - 1, 2**24, 2**40]])
    state = Positions(layout)
    state.update(replace(batch, tokens=replace(batch.tokens, positions=far)))
    data = labelled(state)
    assert data["count"].sum("stratum").values[-1] == 3
    assert data["position_stop"].values[-1] == np.iinfo(np.int64).max
    assert labelled(Positions(layout)).sizes["position"] == 0


def numpy_extremes(windows: Sequence[Window], site: str, k: int) -> list[tuple]:
    """Rank every finite value: (−magnitude, document, window, position, channel)."""
    ranked, per_channel, kept = [], {}, []
    for w in windows:
        x = w.states[site].double().numpy()
        for t in np.flatnonzero(w.strata == k):
            where = (w.document, w.window, int(t))
            values = [(c, v) for c, v in enumerate(x[t].tolist()) if np.isfinite(v)]
            ranked += [(-abs(v), *where, c, v, w) for c, v in values]
    for value in sorted(ranked, key=lambda r: r[:5]):
        channel = value[4]
        per_channel[channel] = per_channel.get(channel, 0) + 1
        if per_channel[channel] <= 8:
            kept.append(value)
    return kept[:64]


@pytest.mark.parametrize("channels", [5, 70])
@pytest.mark.parametrize("ties", [False, True], ids=["values differ", "many ties"])
def test_extremes_are_the_64_largest_at_most_8_a_channel(channels: int, ties: bool) -> None:
    made = make_windows(13, [12, 1, 30, 0, 21, 9], channels)
    if ties:
        rng = np.random.default_rng(0)
        few = torch.from_numpy(rng.integers(-2, 3, (30, channels))).float()
        made = [replace(w, states=dict.fromkeys(SITES, few[: len(w.ids)])) for w in made]
    data = labelled(measure(Extremes, made[::-1]))
    assert data["value"].dims == ("site", "stratum", "rank")
    assert data.sizes["rank"] == 64
    lengths = []
    for site, k in np.ndindex(len(SITES), len(PLAIN)):
        held = data.isel(site=site, stratum=k)
        expected = numpy_extremes(made, SITES[site], k)
        lengths.append(len(expected))
        filled = slice(len(expected))
        for column, key in enumerate(("document", "window", "position", "channel", "value"), 1):
            wanted = [row[column] for row in expected]
            np.testing.assert_array_equal(held[key].values[filled], wanted, key)
        assert (held["channel"].values[len(expected) :] == -1).all()
        for rank, (*_, position, _, _, w) in enumerate(expected):
            x = np.abs(w.states[SITES[site]][position].double().numpy())
            assert held["median"][rank] == np.median(x[np.isfinite(x)])
            assert held["token_id"][rank] == w.ids[position]
            assert held["piece"][rank] == decode([w.ids[position]])
            assert held["before"][rank] == decode(w.ids[max(position - 8, 0) : position])
            assert held["after"][rank] == decode(w.ids[position + 1 : position + 9])
    assert max(lengths) == min(64, 8 * channels)


def test_sample_keeps_a_short_text_whole_with_its_states_and_labels() -> None:
    made = make_windows(17, [62], 6)
    plain = Plain(made)
    data = labelled(measure(Sample, made))
    assert data["passage"].values.tolist() == [1] * 62
    np.testing.assert_array_equal(data["position"], np.arange(62))
    np.testing.assert_array_equal(data["token_id"], plain.token_id)
    np.testing.assert_array_equal(data["stratum"], np.array(PLAIN)[plain.stratum])
    assert data["piece"].values.tolist() == [decode([i]) for i in plain.token_id]
    for i, site in enumerate(SITES):
        np.testing.assert_array_equal(data["state"][i], rounded(plain.values(site)))


def rounded(values: np.ndarray) -> np.ndarray:
    """Round as the sample does, to bfloat16."""
    return torch.from_numpy(np.ascontiguousarray(values)).bfloat16().float().numpy()


def places(data: xr.Dataset) -> list[tuple[int, int, int]]:
    columns = (data[key].values.tolist() for key in ("document", "window", "position"))
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("budget", [10, 60, 200])
def test_sample_keeps_to_its_budget_and_gives_every_stratum_its_share(
    windows: list[Window], plain: Plain, budget: int
) -> None:
    data = labelled(measure(Sample, windows, sample_tokens=budget))
    at = np.array([plain.places.index(place) for place in places(data)])
    assert len(set(at.tolist())) == len(at)
    strata = np.bincount(plain.stratum[at], minlength=len(PLAIN))
    available = np.bincount(plain.stratum)
    assert (strata >= np.minimum(available, 16)).all()
    assert len(at) <= budget + 16 * len(PLAIN)
    np.testing.assert_array_equal(data["token_id"], plain.token_id[at])
    for i, site in enumerate(SITES):
        np.testing.assert_array_equal(data["state"][i], rounded(plain.values(site)[at]))

    passage = data.isel(token=data["passage"].values == 1)
    (document,), (window,) = (np.unique(passage[key]) for key in ("document", "window"))
    length = LENGTHS[2 * document + window]
    expected = np.arange(min(length, budget // 2, 64))
    np.testing.assert_array_equal(passage["position"], expected)


def test_sample_chooses_by_digest_and_not_by_order_or_values(windows: list[Window]) -> None:
    def chosen(made: Sequence[Window]) -> list[tuple]:
        return places(labelled(measure(Sample, made, sample_tokens=20)))

    distinct = [replace(w, digest=100 + w.document) for w in windows]
    before = chosen(distinct)
    assert chosen(distinct[::-1]) == before
    other = [replace(w, states={s: -x[:, :5] for s, x in w.states.items()}) for w in distinct]
    assert chosen(other) == before
    moved = [replace(w, document=w.document + 50) for w in distinct]
    assert chosen(moved) != [(d + 50, w, p) for d, w, p in before]
    assert chosen([replace(w, digest=w.digest + 1) for w in distinct]) != before


def test_copies_of_a_document_get_their_share_of_the_sample() -> None:
    made = [
        replace(w, digest=7 if i % 5 else 100 + i, window=0, document=i)
        for i, w in enumerate(make_windows(2, [20] * 100, 4))
    ]
    data = labelled(measure(Sample, made, sample_tokens=400))
    copies = np.asarray(data["document"].values) % 5 != 0
    assert 0.7 < copies.mean() < 0.9
    assert len(np.unique(data["document"].values)) > 50


def test_equal_places_of_two_corpora_stay_apart_whatever_the_order_of_merging() -> None:
    rows = make_windows(4, [12, 9, 14], 70, bad=0.0)
    layout = make_layout(70, sample_tokens=20)
    # The same document stands at the same place in both; the values differ in sign alone.
    other = [replace(w, ids=w.ids + 1, states={s: -x for s, x in w.states.items()}) for w in rows]
    a, b = (updated(StreamState(layout), w).of_corpus(i) for i, w in enumerate((rows, other)))
    assert a.parts[-1].arrays["corpus"].max() == 0
    one, two = a.merge(b), b.merge(a)
    ids = {(w.document, w.window, t): i for w in rows for t, i in enumerate(w.ids)}
    for name in ("extremes", "sample"):
        left, right = (labelled(part_of(x, name)) for x in (one, two))
        xr.testing.assert_identical(left, right)
        assert set(np.unique(left["corpus"])) - {-1} == {0, 1}
        keys = ("document", "window", "position", "token_id", "corpus")
        for *place, token_id, corpus in zip(*(left[k].values.ravel() for k in keys), strict=True):
            assert token_id == -1 or token_id == ids[tuple(place)] + corpus
    sample = labelled(part_of(one, "sample"))
    assert sample.sizes["token"] > 20
    passage = sample.isel(token=sample["passage"].values == 1)
    assert len(np.unique(passage["corpus"])) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"outlier": 5.0}, "different outlier: 6.0 and 5.0"),
        ({"outlier_rms": 3.0}, "different outlier_rms"),
        ({"channels": 6}, "different channels: 5 and 6"),
        ({"sites": SITES[:2]}, "different sites"),
        ({"strata": Strata(PLAIN[:-1], PLAIN.left_out)}, "different strata"),
        ({"sample_tokens": 3}, "different sample_tokens"),
    ],
)
def test_states_that_were_not_measured_alike_are_not_merged(
    options: dict[str, object], says: str
) -> None:
    layout = make_layout(5)
    for kind in ACCUMULATORS:
        with pytest.raises(MergeError, match=says):
            kind(layout).merge(kind(replace(layout, **options)))
    with pytest.raises(MergeError, match="Grid with Moments"):
        Grid(layout).merge(Moments(layout))


def test_the_passage_is_one_window_also_where_documents_repeat() -> None:
    made = [
        replace(w, digest=7, window=0, document=i)
        for i, w in enumerate(make_windows(1, [5] * 6, 4))
    ]
    data = labelled(measure(Sample, made))
    passage = data.isel(token=data["passage"].values == 1)
    assert len(np.unique(passage["document"])) == 1
    np.testing.assert_array_equal(passage["position"], np.arange(5))


@pytest.mark.parametrize("budget", [0, 1])
def test_a_sample_without_a_budget_still_shows_a_few_tokens_of_every_stratum(
    windows: list[Window], budget: int
) -> None:
    data = labelled(measure(Sample, windows, sample_tokens=budget))
    strata = np.array([(data["stratum"].values == s).sum() for s in PLAIN])
    available = np.bincount(Plain(windows).stratum)
    expected = np.minimum(available, 16)
    assert (strata >= expected).all()
    assert strata.sum() <= expected.sum() + budget
    assert not data["passage"].any()


def test_the_passage_of_a_long_window_has_64_tokens() -> None:
    data = labelled(measure(Sample, make_windows(3, [200], 4), sample_tokens=400))
    assert np.flatnonzero(data["passage"].values).tolist() == list(range(64))


def mixed(x: int) -> int:
    """SplitMix64 by Steele, Lea and Flood (2014), in whole numbers."""
    bits = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & bits
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & bits
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & bits
    return x ^ (x >> 31)


def test_a_token_is_drawn_by_a_hash_of_its_place(windows: list[Window]) -> None:
    # What the generator of that paper gives first with the seed 0.
    assert mixed(0) == 0xE220A8397B1DCDAF
    arrays = measure(Sample, windows).arrays
    digests = {(w.document, w.window): w.digest for w in windows}
    keys = ("document", "window", "position", "window_hash", "token_hash")
    columns = (arrays[key].tolist() for key in keys)
    for document, window, position, *hashes in zip(*columns, strict=True):
        by_document = mixed(digests[document, window] ^ mixed(document))
        by_window = mixed(by_document ^ window)
        assert hashes == [by_window, mixed(by_window ^ mixed(position))]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_massive_value_exceeds_a_magnitude_and_a_multiple_of_the_sites_median(sign: int) -> None:
    states = torch.full((5, 8), 0.125)
    states[0, 3] = sign * 100
    states[1, 2] = sign * 100.5
    states[2, 0] = sign * torch.inf
    states[3, 1], states[3, 2] = torch.nan, sign * 1e4
    # A third of the values is far below the median.
    states[4], states[3, 3:] = 1e-3, 1e-3
    assert find_massive(states, 100, 700).tolist() == [False, True, False, False, False]
    assert not find_massive(states, 100, 900).any()
    assert find_massive(states[:0], 100, 700).tolist() == []


def test_gathering_copies_the_counted_tokens_by_stratum_and_rounds_float64() -> None:
    strata = np.array([[0, 2, 1, -1], [0, 1, 2, 2]], np.int8)
    zeros = np.zeros((2, 4), np.int64)
    row = zeros[:, 0]
    tokens = Tokens(zeros, strata, zeros == 1, zeros, zeros, row, row.astype(np.uint64))
    states = torch.arange(1.0, 9, dtype=torch.float64).reshape(2, 4, 1) + 1e-12
    states[0, 3] = torch.nan
    gathered = gather(tokens, states)
    states[:] = 100
    assert gathered.dtype == torch.float32
    assert gathered.squeeze(1).tolist() == [1, 5, 3, 6, 2, 7, 8]
    assert tokens.count(4).tolist() == [2, 2, 3, 0]
    # Padding may hold anything; of tokens it is said what float32 cannot hold.
    states[0, 3] = 1e300
    assert not gather(tokens, states).isinf().any()
    states[1, 1:3, 0] = torch.tensor([-1e300, torch.inf], dtype=torch.float64)
    with pytest.warns(HiddenscopeWarning, match="1 finite float64 values are beyond float32"):
        gathered = gather(tokens, states)
    assert gathered.squeeze(1).tolist() == [100, 100, 100, -torch.inf, 100, torch.inf, 100]


def test_given_states_are_put_in_order_of_depth() -> None:
    x = np.random.default_rng(0).normal(size=(1, 9, 4))
    blocks = [f"block.{i}.resid_post" for i in range(12)]
    made = from_states(dict.fromkeys(sorted(["final_norm", "embed", *blocks]), x))
    assert made.sites == ["embed", *blocks, "final_norm"]
