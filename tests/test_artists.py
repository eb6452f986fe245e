"""What each figure draws, artist by artist, against the table that it shows."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from tiny import DEMO
from transformers import AutoTokenizer

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.errors import FigureError
from hiddenscope.figures import (
    axis,
    matrix,
    style,
)
from hiddenscope.figures.style import number
from hiddenscope.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist

BLOCKS = [f"block.{i}.resid_post" for i in range(4)]
SITES = ["embed", *BLOCKS, "final_norm"]
SCALES = dict(zip(SITES, (0.2, 1.0, 2.5, 0.7, 4.0, 1.6), strict=True))
MEANS = dict(zip(SITES, (0.05, -0.4, 0.9, 0.1, -2.0, 0.3), strict=True))
OWN_NOISE = dict(zip(SITES, (0.0, 0.9, 0.4, 1.3, 0.2, 0.6), strict=True))
LOUD, FARTHER, HUGE = 7, 19, 31
"""Channels: one far off at every block, one less so, one with massive activations."""
ROWS, LENGTH, CHANNELS = 6, 50, 40
# `embed` at 0, blocks from 1.4 on, `final_norm` at 5.8, with a gap of 0.4.
GAP = 0.4


@functools.cache
def unlike() -> hs.Profile:
    """Sites of different scale, mean, skewness and correlation: no two rows can be swapped."""
    rng = np.random.default_rng(11)
    shape = (ROWS, LENGTH, CHANNELS)
    x = rng.uniform(-1.7, 1.7, size=shape)
    states = {}
    for i, site in enumerate(SITES):
        noise = rng.gamma(2.0 + i, 1.0, size=shape)
        x = x + OWN_NOISE[site] * (noise - noise.mean()) / noise.std()
        x /= x.std()
        made = MEANS[site] + SCALES[site] * x * np.linspace(0.6, 1.4, CHANNELS)
        if site in BLOCKS:
            made[..., LOUD] += 9 * SCALES[site]
            made[..., FARTHER] -= 6 * SCALES[site]
        if site in BLOCKS[1:3]:
            made[2, 9, HUGE] = 3500 + 500 * i
            made[4, 0, HUGE] = -7000 - 500 * i
        states[site] = made.astype(np.float32)
    text = "The miller opened his door and saw water, and two ducks swimming over his barley. "
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    ids = np.resize(tokenizer(text)["input_ids"], (ROWS, LENGTH))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        return hs.from_states(states, input_ids=ids, tokenizer=tokenizer, name="unlike")


@functools.cache
def picture(kind: str, **options: Any) -> Figure:
    """Draw a figure once for all tests that look at it."""
    figure: Figure = getattr(unlike().plot, kind)(**options)
    return figure


def by_gid(artists: Sequence[Artist]) -> dict[str, Any]:
    return {str(a.get_gid()): a for a in artists if a.get_gid()}


def head(figure: Figure) -> tuple[str, str, str]:
    """Return title, claim and caption, their lines joined."""
    parts: dict[float, list[str]] = {style.TITLE: [], style.TICK: [], style.NOTE: []}
    for line in figure.texts:
        parts[line.get_fontsize()].append(line.get_text())
    title, claim, caption = (" ".join(lines) for lines in parts.values())
    return title, claim, caption


def body(figure: Figure) -> float:
    """Return the height in mm that is left to the axes."""
    lines = sum(line.get_fontsize() for line in figure.texts) * 1.3 * 25.4 / 72
    return float(figure.get_figheight() * 25.4 - lines - 2 * (1.5 + 1.0))


def labelled(axis: Any) -> dict[str, float]:
    """Return what is written at an axis, and where."""
    texts = [t.get_text() for t in axis.get_majorticklabels()]
    return dict(zip(texts, map(float, axis.get_majorticklocs()), strict=True))


def joined(lines: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the pieces of one curve."""
    return tuple(np.concatenate([line.get_data()[i] for line in lines]) for i in (0, 1))  # type: ignore[return-value]


def label(site: str) -> str:
    return Site(site).label


def same(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), rtol=1e-12)


def same_colour(actual: Any, expected: Any) -> None:
    assert to_hex(actual) == to_hex(expected)


# --------------------------------------------------------------------------------------------
# Sites along an axis.


def test_sites_stand_a_unit_apart_and_those_set_off_farther() -> None:
    where = axis.places(SITES, 0.4)
    same(where.at, [0.0, 1.4, 2.4, 3.4, 4.4, 5.8])
    assert where.sites == SITES
    assert where.runs == [[0], [1, 2, 3, 4], [5]]
    assert where.span == pytest.approx(6.8)
    assert where.labels() == ["embed", "0", "1", "2", "3", "final norm"]
    assert where.title() == "after block"
    assert where.shown(1) == [0, 1, 2, 3, 4, 5]
    assert where.shown(2) == [0, 1, 3, 5]
    assert where.shown(3) == [0, 1, 4, 5]
    same(axis.places(["embed", "final_norm"], 0.25).at, [0.0, 1.25])
    assert axis.places(["embed", "final_norm"], 0.25).runs == [[0], [1]]
    assert axis.places(["embed", "final_norm"], 0.25).shown(4) == [0, 1]
    same(axis.places(BLOCKS, 3.0).at, [0, 1, 2, 3])
    assert axis.places(BLOCKS[1:], 0.4).shown(2) == [0, 2]


def test_an_axis_over_several_points_names_them() -> None:
    one = axis.places(["block.0.attn_out", "block.1.attn_out", "final_norm"], 0.4)
    assert one.labels() == ["0", "1", "final norm"]
    assert one.title() == "block (attn_out)"
    two = axis.places(["embed", "block.0.attn_out", "block.12.resid_post"], 0.4)
    assert two.labels() == ["embed", "0 attn_out", "12"]
    assert two.title() == "block and point"
    assert axis.places(["embed"], 0.4).title() == ""


def many(n: int) -> list[str]:
    return ["embed", *(f"block.{i}.resid_post" for i in range(n)), "final_norm"]


def written(n: int, per_unit: float, **options: Any) -> tuple[dict[str, float], Any]:
    with style.styled():
        axes = Figure().subplots()
        along = axes.xaxis if options.get("across", True) else axes.yaxis
        axis.label_sites(along, axis.places(many(n), 0.4), per_unit, size=6, **options)
    return labelled(along), along.get_major_ticks()


@pytest.mark.parametrize(
    ("n", "per_unit", "options", "blocks"),
    [
        (3, 40, {}, [0, 1, 2]),
        (12, 12, {}, range(12)),
        # The tenth gives way to the last.
        (12, 8, {}, [0, 2, 4, 6, 8, 11]),
        (12, 5, {}, [0, 4, 8, 11]),
        (30, 4, {}, [0, 4, 8, 12, 16, 20, 24, 29]),
        (80, 2, {}, [0, 10, 20, 30, 40, 50, 60, 70, 79]),
        (12, 8, {"across": False}, range(12)),
        (12, 5, {"across": False}, [2, 4, 6, 8, 11]),
        (80, 2, {"across": False}, range(4, 80, 4)),
        (12, 8, {"upright": False}, [0, 2, 4, 6, 8, 11]),
    ],
)
def test_labels_of_sites_are_thinned_and_stand_at_their_site(
    n: int, per_unit: float, options: dict[str, bool], blocks: Sequence[int]
) -> None:
    found, marks = written(n, per_unit, **options)
    last = "final\nnorm" if not options else "final norm"
    expected = {"embed": 0.0} | {str(i): 1.4 + i for i in blocks} | {last: 1.8 + n}
    assert found.keys() == expected.keys()
    for name, place in expected.items():
        assert found[name] == pytest.approx(place)
    assert {mark.label1.get_fontsize() for mark in marks} == {6}


def test_words_move_down_or_turn_where_they_would_touch_numbers() -> None:
    def pads(**options: Any) -> list[float]:
        return [mark.get_pad() for mark in written(**options)[1]]

    def turned(**options: Any) -> list[float]:
        return [mark.label1.get_rotation() for mark in written(**options)[1]]

    assert pads(n=3, per_unit=40) == [2.0] * 5
    assert pads(n=12, per_unit=8) == [9.8, *[2.0] * 6, 9.8]
    assert turned(n=12, per_unit=8) == [0.0] * 8
    # Turned, they are narrow enough to stay.
    assert pads(n=12, per_unit=8, upright=False) == [2.0] * 8
    assert turned(n=12, per_unit=8, upright=False) == [90.0, *[0.0] * 6, 90.0]
    assert turned(n=12, per_unit=8, across=False, upright=False) == [0.0] * 14


def test_long_labels_stand_upright_along_an_x_axis() -> None:
    with style.styled():
        axes = Figure().subplots()
        where = axis.places(many(3), 0.4)
        names = ["embed", "block 0 attn_out", "block 1 attn_out", "block 2 attn_out", "final norm"]
        axis.label_sites(axes.xaxis, where, 12, size=6, labels=names)
    assert list(labelled(axes.xaxis)) == names
    assert [m.label1.get_rotation() for m in axes.xaxis.get_major_ticks()] == [90.0] * 5


@pytest.mark.parametrize(
    ("wanted", "gap", "low", "high", "expected"),
    [
        ([1, 2, 3], 0.5, 0, 10, [1, 2, 3]),
        ([1, 1], 1, 0, 10, [0.5, 1.5]),
        ([2, 1.5], 1, 0, 10, [2.25, 1.25]),
        ([0, 0.1, 8], 1, 0, 10, [0, 1, 8]),
        ([9.9, 10, 3], 1, 0, 10, [9, 10, 3]),
        ([-5, 20], 1, 0, 10, [0, 10]),
        # Three that push each other settle about their common centre.
        ([4, 4.5, 5], 2, 0, 10, [2.5, 4.5, 6.5]),
        # Two groups that come to touch join.
        ([4, 4, 5.2], 1, 0, 10, [3.4, 4.4, 5.4]),
        # Without room for all, they share what there is.
        ([1, 1, 1], 9, 0, 4, [0, 2, 4]),
        ([3], 9, 0, 4, [3]),
        ([], 1, 0, 4, []),
    ],
)
def test_labels_are_spread_as_little_as_needed(
    wanted: list[float], gap: float, low: float, high: float, expected: list[float]
) -> None:
    np.testing.assert_allclose(axis.spread(wanted, gap, low, high), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "linear", "expected"),
    [
        (-10, 1000, 1, [-10, 0, 10, 1000]),
        (0, 1e6, 0.01, [0, 1, 1e3, 1e6]),
        (-1e4, 2e5, 0.5, [-1e3, -10, 0, 10, 1e3, 1e5]),
        (-30, 300, 3, [-10, 0, 10, 100]),
        # The outermost power is kept, on either side where it fits.
        (-2000, 50, 1, [-1000, -10, 0, 10]),
        (-0.5, 0.5, 1, [0]),
    ],
)
def test_an_asinh_axis_has_ticks_at_zero_and_at_powers_of_ten(
    low: float, high: float, linear: float, expected: list[float]
) -> None:
    same(axis.asinh_ticks(low, high, linear), expected)


def test_an_axis_of_values_has_the_limits_and_the_scale_that_it_is_given() -> None:
    with style.styled():
        left, right = Figure().subplots(1, 2)
        axis.value_axis(left.xaxis, "asinh", -10, 1000, 1.0)
        axis.value_axis(right.yaxis, "linear", -3e5, 6e5, 1.0)
    assert (left.get_xscale(), left.get_yscale()) == ("asinh", "linear")
    assert (right.get_xscale(), right.get_yscale()) == ("linear", "linear")
    assert left.get_xlim() == (-10, 1000)
    assert right.get_ylim() == (-3e5, 6e5)
    assert left.get_ylim() == right.get_xlim() == (0, 1)
    assert left.xaxis.get_transform().linear_width == 1.0
    assert not len(left.xaxis.get_minorticklocs())
    assert labelled(left.xaxis) == {"−10": -10, "0": 0, "10": 10, "1,000": 1000}
    inside = {k: v for k, v in labelled(right.yaxis).items() if -3e5 <= v <= 6e5}
    assert inside == {"−3e5": -3e5, "−1.5e5": -1.5e5, "0": 0, "1.5e5": 1.5e5} | {
        "3e5": 3e5,
        "4.5e5": 4.5e5,
        "6e5": 6e5,
    }


# --------------------------------------------------------------------------------------------
# Words, colours and the sheet.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0.0, "0"), (float("nan"), "–"), (0.001, "0.001"), (0.0009, "9.0e−4")),
        *((0.12345, "0.123"), (-2.5, "−2.5"), (99.94, "99.9"), (100.4, "100"), (-1234.4, "−1,234")),
        *((99999.0, "99,999"), (1e5, "1.0e5"), (-1.52e12, "−1.5e12"), (1.5e-12, "1.5e−12")),
    ],
)
def test_numbers_have_three_digits(value: float, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(
            (0.0, "0"),
            (-0.5, "−0.5"),
            (1234.5, "1,234.5"),
            (0.1 + 0.2, "0.3"),
            (0.00099, "0.00099"),
        ),
        *((99999.0, "99,999"), (1e5, "1e5"), (-1e6, "−1e6"), (5e-4, "5e−4"), (1e-12, "1e−12")),
        # A tick that says 2e5 must not stand at 150,000.
        *((1.5e5, "1.5e5"), (2.5e5, "2.5e5"), (-1.25e6, "−1.25e6"), (2.5e-4, "2.5e−4")),
    ],
)
def test_ticks_say_the_number_at_which_they_stand(value: float, expected: str) -> None:
    assert style.tick(value) == expected
    assert style.tick(value, 3) == expected


def test_text_is_measured_and_wrapped() -> None:
    plain = style.text_width("final norm", 6)
    assert plain == pytest.approx(30.5, abs=0.1)
    assert style.text_width("final norm", 12) == pytest.approx(2 * plain, rel=1e-3)
    assert style.text_width("final norm", 6, "bold") > 1.05 * plain
    assert style.text_width("$x$", 6) > style.text_width("x", 6)
    room = style.text_width("one two", 6)
    assert style.wrap("one two three", room, 6) == ["one two", "three"]
    assert style.wrap("one two three", room - 0.1, 6) == ["one", "two", "three"]
    assert style.wrap("one two", room, 6, "bold") == ["one", "two"]
    assert style.wrap("incomprehensibility is", 10, 6) == ["incomprehensibility", "is"]


def test_text_is_shortened_in_the_middle_and_made_legible() -> None:
    assert style.shorten("abcdefgh", 8) == "abcdefgh"
    assert style.shorten("abcdefghi", 8) == "abc…ghi"
    assert style.shorten("abcdefghi", 7) == "abc…ghi"
    assert style.legible("a\tb\nc\rd\x07e f") == "a⇥b↵c↵d\\x07e f"
    assert style.legible("\U0010fffd") == "\\x10fffd"
    assert style.legible("\u0c85") in {"\u0c85", "□"}
    assert style.token_text("Ġwater") == "water"
    assert style.token_text("▁water ") == "water"
    assert style.token_text("  ") == "␣␣"
    assert style.token_text("Ċ") == "↵"
    assert style.token_text("") == "∅"
    assert style.token_text("abcdefghijklm") == "abcde…ijklm"
    assert style.token_text("abcdefghijkl") == "abcdefghijkl"


def test_sites_and_channels_have_their_colours() -> None:
    colours = style.site_colours(SITES)
    assert list(colours) == SITES
    same_colour(colours["embed"], "#d55e00")
    same_colour(colours["final_norm"], "#e69f00")
    # From dark to light through depth.
    for i, site in enumerate(BLOCKS):
        same_colour(colours[site], style.DEPTH(i / 3))
    same_colour(colours[BLOCKS[0]], "#0c1b4d")
    same_colour(colours[BLOCKS[-1]], "#8fd3d2")
    same_colour(style.site_colours(["block.5.resid_post"])["block.5.resid_post"], "#0c1b4d")
    found = style.channel_colours(unlike().stream)
    ranked = list(analysis.standing_out(unlike().stream, "all").index)
    assert ranked == [HUGE, LOUD, FARTHER]
    assert found == dict(zip(ranked, style.LOUD, strict=False))


def test_a_sheet_has_its_words_and_the_room_that_it_was_asked_for() -> None:
    with style.styled():
        figure = style.sheet(80, 40, "Title", "a claim", "first second")
    assert figure.get_figwidth() * 25.4 == pytest.approx(80)
    point = 25.4 / 72
    above, below = 1.5 + 1.3 * (8 + 6) * point + 1.0, 1.5 + 1.3 * 5.5 * point + 1.0
    height = above + 40 + below
    assert figure.get_figheight() * 25.4 == pytest.approx(height)
    assert [t.get_text() for t in figure.texts] == ["Title", "a claim", "first second"]
    assert [t.get_fontsize() for t in figure.texts] == [8, 6, 5.5]
    assert [t.get_weight() for t in figure.texts] == ["bold", "normal", "normal"]
    tops = [1.5, 1.5 + 1.3 * 8 * point, above + 40 + 1.0]
    same([t.get_position()[1] for t in figure.texts], [1 - y / height for y in tops])
    same([t.get_position()[0] for t in figure.texts], [1.5 / 80] * 3)
    assert not any(t.get_in_layout() for t in figure.texts)
    x, y, wide, high = figure.get_layout_engine().get()["rect"]
    same([x * 80, y * height], [0.75, below])
    same([wide * 80, high * height], [80 - 1.5, 40])
    with style.styled():
        bare = style.sheet(80, 40, "Title", "", "word " * 40)
    lines = [t for t in bare.texts if t.get_fontsize() == 5.5]
    assert len(bare.texts) == 1 + len(lines) > 2
    assert body(bare) == pytest.approx(40)
    steps = -np.diff([t.get_position()[1] for t in lines]) * bare.get_figheight() * 72
    np.testing.assert_allclose(steps, 1.3 * 5.5)
    assert max(style.text_width(t.get_text(), 5.5) for t in lines) <= 77 / 25.4 * 72


def test_a_subject_knows_its_sites_and_says_its_tokens() -> None:
    p = unlike()
    s = style.subject(p.dataset, "rest", None)
    assert (s.model, s.view, s.sites, s.channels) == ("unlike", "rest", SITES, CHANNELS)
    assert s.stream.name == "residual"
    assert s.caption("", "a note") == f"unlike · {p.caption('rest')} · 40 channels · a note"
    assert style.subject(p.stream, "first", "block.1.*").sites == [BLOCKS[1]]
    assert style.subject(p.stream, "first", ("embed", BLOCKS[0])).sites == SITES[:2]
    with pytest.raises(FigureError, match="no group 'nonsense'"):
        style.subject(p.stream, "rest", None, "nonsense")


@pytest.mark.parametrize(
    ("lowest", "expected"),
    [(0.0, 0.0), (0.4, 0.0), (0.41, 0.4), (0.46, 0.45), (0.999, 0.95), (0.5, 0.5)],
)
def test_the_scale_of_r2_begins_at_zero_unless_all_are_near_one(
    lowest: float, expected: float
) -> None:
    assert matrix.lowest_drawn(lowest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "1"),
        (0.996, "1"),
        (0.994, ".99"),
        (0.5, ".50"),
        (0.005, ".01"),
        (0.004, "0"),
        (0, "0"),
    ],
)
def test_r2_is_written_in_hundredths(value: float, expected: str) -> None:
    assert matrix._share(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0.0, "0"), (0.004, "0"), (-0.004, "0"), (0.005, ".01"), (-0.25, "−.25"), (0.99, ".99")),
        *((0.996, "1.0"), (9.94, "9.9"), (9.96, "10"), (-994.0, "−994"), (996.0, "1.0k")),
        *((-12345.0, "−12k"), (9.94e5, "994k"), (9.96e5, "1.0M"), (2.34e7, "23M")),
    ],
)
def test_covariances_are_written_with_two_digits(value: float, expected: str) -> None:
    assert matrix._short(value) == expected
