"""What each figure draws, artist by artist, against the table that it shows."""

from __future__ import annotations

import functools
import io
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from tiny import DEMO
from transformers import AutoTokenizer

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.analysis import density, largest, token_tables
from hiddenscope.errors import FigureError
from hiddenscope.figures import histogram, places, scales
from hiddenscope.figures import wing as prepared_wing
from hiddenscope.figures.covariance import short
from hiddenscope.figures.look import Look
from hiddenscope.figures.matplotlib import axis, bands, matrix, style, theme
from hiddenscope.figures.matplotlib.page import Page
from hiddenscope.figures.matplotlib.theme import HIGHLIGHT
from hiddenscope.figures.prepared import Prepared, a_few, subject
from hiddenscope.figures.r2 import hundredths, lowest_drawn
from hiddenscope.figures.ridge import height
from hiddenscope.sites import Site
from hiddenscope.words import number, shorten, tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

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
        parts[line.get_fontsize()] += line.get_text().split("\n")
    title, claim, caption = (" ".join(lines) for lines in parts.values())
    return title, claim, caption


def body(figure: Figure) -> float:
    """Return the height in mm that is left to the axes."""
    sizes = [t.get_fontsize() * (t.get_text().count("\n") + 1) for t in figure.texts]
    lines = sum(sizes) * 1.3 * 25.4 / 72
    return float(figure.get_figheight() * 25.4 - lines - 2 * (1.5 + 1.0))


def labelled(axis: Any) -> dict[str, float]:
    """Return what is written at an axis, and where."""
    texts = [t.get_text() for t in axis.get_majorticklabels()]
    return dict(zip(texts, map(float, axis.get_majorticklocs()), strict=True))


def joined(lines: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the pieces of one curve."""
    return tuple(np.concatenate([line.get_data()[i] for line in lines]) for i in (0, 1))  # type: ignore[return-value]


def words(title: str, claim: str = "", caption: str = "") -> Prepared:
    return Prepared(title=title, claim=claim, caption=caption)


with style.styled():
    PAGE = Page(Look(), 80, 40, words("colours"))
POINTS = "#2b5f94"


def label(site: str) -> str:
    return Site(site).label


def same(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), rtol=1e-12)


def same_colour(actual: Any, expected: Any) -> None:
    assert to_hex(actual) == to_hex(expected)


# --------------------------------------------------------------------------------------------
# Sites along an axis.


def test_sites_stand_a_unit_apart_and_those_set_off_farther() -> None:
    where = places.places(SITES, 0.4)
    same(where.at, [0.0, 1.4, 2.4, 3.4, 4.4, 5.8])
    assert where.sites == SITES
    assert where.runs == [[0], [1, 2, 3, 4], [5]]
    assert where.span == pytest.approx(6.8)
    assert where.labels() == ["embed", "0", "1", "2", "3", "final norm"]
    assert where.title() == "after block"
    assert where.shown(1) == [0, 1, 2, 3, 4, 5]
    assert where.shown(2) == [0, 1, 3, 5]
    assert where.shown(3) == [0, 1, 4, 5]
    same(places.places(["embed", "final_norm"], 0.25).at, [0.0, 1.25])
    assert places.places(["embed", "final_norm"], 0.25).runs == [[0], [1]]
    assert places.places(["embed", "final_norm"], 0.25).shown(4) == [0, 1]
    same(places.places(BLOCKS, 3.0).at, [0, 1, 2, 3])
    assert places.places(BLOCKS[1:], 0.4).shown(2) == [0, 2]


def test_an_axis_over_several_points_names_them() -> None:
    one = places.places(["block.0.attn_out", "block.1.attn_out", "final_norm"], 0.4)
    assert one.labels() == ["0", "1", "final norm"]
    assert one.title() == "block (attn_out)"
    two = places.places(["embed", "block.0.attn_out", "block.12.resid_post"], 0.4)
    assert two.labels() == ["embed", "0 attn_out", "12"]
    assert two.title() == "block and point"
    assert places.places(["embed"], 0.4).title() == ""


@functools.cache
def long_profile() -> hs.Profile:
    """More sites than rows of full height, or curves, have room."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, 30, 4))
    states = {f"block.{i}.resid_post": x + rng.normal(size=x.shape) for i in range(25)}
    return hs.from_states(states, causal=False, name="long")


def many(n: int) -> list[str]:
    return ["embed", *(f"block.{i}.resid_post" for i in range(n)), "final_norm"]


def written(n: int, per_unit: float, **options: Any) -> tuple[dict[str, float], Any]:
    with style.styled():
        axes = Figure().subplots()
        along = axes.xaxis if options.get("across", True) else axes.yaxis
        axis.label_sites(along, places.places(many(n), 0.4), per_unit, size=6, **options)
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
        where = places.places(many(3), 0.4)
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
    np.testing.assert_allclose(places.spread(wanted, gap, low, high), expected, atol=1e-12)


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
    same(scales.asinh_ticks(low, high, linear), expected)


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
    assert tick(value) == expected
    assert tick(value, 3) == expected


@pytest.mark.parametrize("suffix", ["png", "svg"])
@pytest.mark.parametrize("coloured", [False, True])
def test_a_picture_is_laid_out_when_it_is_saved(suffix: str, coloured: bool) -> None:
    def saved(kind: type[Figure]) -> tuple[bytes, Bbox]:
        with style.styled():
            figure = kind(figsize=(3, 2), layout="constrained")
            axes = figure.add_subplot()
            mesh = axes.pcolormesh([[1.0, 2.0]])
            if coloured:
                figure.colorbar(mesh, ax=axes)
            axes.set_ylabel("two\nlines")
            held = io.BytesIO()
            figure.savefig(held, format=suffix, metadata=style.FORMATS[f".{suffix}"])
        return held.getvalue(), axes.get_position()

    found, place = saved(style.Picture)
    expected, expected_place = saved(Figure)
    assert found == expected
    assert place.x0 == expected_place.x0 > 0.15


def test_text_is_measured_and_wrapped() -> None:
    plain = style.text_width("final norm", 6)
    assert plain == pytest.approx(30.5, abs=0.1)
    assert style.text_width("final norm", 12) == pytest.approx(2 * plain, rel=1e-3)
    assert style.text_width("final norm", 6, "bold") > 1.05 * plain
    assert style.text_width("$x$", 6) > style.text_width("x", 6)
    room = style.text_width("one two", 6) + 0.05
    assert style.wrap("one two three", room, 6) == ["one two", "three"]
    assert style.wrap("one two three", room - 0.1, 6) == ["one", "two", "three"]
    assert style.wrap("one two", room, 6, "bold") == ["one", "two"]
    assert style.wrap("incomprehensibility is", 10, 6) == ["incomprehensibility", "is"]


def test_text_is_shortened_in_the_middle_and_made_legible() -> None:
    assert shorten("abcdefgh", 8) == "abcdefgh"
    assert shorten("abcdefghi", 8) == "abc…ghi"
    assert shorten("abcdefghi", 7) == "abc…ghi"
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
    colours = PAGE.site_colours(SITES)
    assert list(colours) == SITES
    same_colour(colours["embed"], "#d55e00")
    same_colour(colours["final_norm"], "#e69f00")
    # From dark to light through depth.
    for i, site in enumerate(BLOCKS):
        same_colour(colours[site], theme.BLOCKS(i / 3))
    same_colour(colours[BLOCKS[0]], "#0c1b4d")
    same_colour(colours[BLOCKS[-1]], "#8fd3d2")
    same_colour(PAGE.site_colours(["block.5.resid_post"])["block.5.resid_post"], "#0c1b4d")
    found = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    ranked = list(analysis.standing_out(unlike().stream, "all").index)
    assert ranked == [HUGE, LOUD, FARTHER]
    assert found == dict(zip(ranked, HIGHLIGHT, strict=False))


def test_a_sheet_has_its_words_and_the_room_that_it_was_asked_for() -> None:
    with style.styled():
        figure = Page(Look(), 80, 40, words("Title", "a claim", "first second")).figure
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
        bare = Page(Look(), 80, 40, words("Title", "", "word " * 40)).figure
    _, caption = bare.texts
    lines = caption.get_text().split("\n")
    assert len(lines) > 1
    assert body(bare) == pytest.approx(40)
    bare.dpi = 720
    FigureCanvasAgg(bare).draw()
    low, high = (caption.get_window_extent().y0, caption.get_window_extent().y1)
    assert (high - low) / 10 <= 1.3 * 5.5 * len(lines) + 0.1
    caption.set_text("one line")
    single = caption.get_window_extent()
    steps = (high - low - (single.y1 - single.y0)) / 10
    assert steps == pytest.approx(1.3 * 5.5 * (len(lines) - 1), abs=0.3)
    assert max(style.text_width(line, 5.5) for line in lines) <= 77 / 25.4 * 72


def test_a_subject_knows_its_sites_and_says_its_tokens() -> None:
    p = unlike()
    s = subject(p.dataset, "rest", None)
    assert (s.model, s.view, s.sites, s.channels) == ("unlike", "rest", SITES, CHANNELS)
    assert s.stream.name == "residual"
    assert s.caption("", "a note") == f"unlike · {p.caption('rest')} · 40 channels · a note"
    assert subject(p.stream, "first", "block.1.*").sites == [BLOCKS[1]]
    assert subject(p.stream, "first", ("embed", BLOCKS[0])).sites == SITES[:2]
    with pytest.raises(FigureError, match="no group 'nonsense'"):
        subject(p.stream, "rest", None, "nonsense")


def test_a_stream_beside_the_residual_one_is_named_and_long_names_are_cut() -> None:
    manifest = unlike().manifest
    manifest["model"]["name"] = "a" * 30 + "b" * 30
    tree = xr.DataTree(children={"cross_decoder": unlike().stream.copy()})
    tree.attrs = unlike().dataset.attrs | {"manifest": json.dumps(manifest)}
    found = subject(tree, "rest", None)
    assert found.model == "a" * 19 + "…" + "b" * 19 + ", cross decoder"
    assert subject(tree.children["cross_decoder"], "rest", None).model == found.model


def test_a_picture_is_saved_at_300_dots_an_inch_and_shown_at_200() -> None:
    with style.styled():
        figure = Page(Look(), 80, 10, words("Title")).figure
    saved = io.BytesIO()
    figure.savefig(saved, format="png")
    for data, dots in ((saved.getvalue(), 300), (figure._repr_png_(), 200)):
        assert data.startswith(b"\x89PNG")
        # The width stands at a fixed place.
        assert int.from_bytes(data[16:20]) == pytest.approx(80 / 25.4 * dots, abs=1)


@pytest.mark.parametrize(
    ("lowest", "expected"),
    [(0.0, 0.0), (0.4, 0.0), (0.41, 0.4), (0.46, 0.45), (0.999, 0.95), (0.5, 0.5)],
)
def test_the_scale_of_r2_begins_at_zero_unless_all_are_near_one(
    lowest: float, expected: float
) -> None:
    assert lowest_drawn(lowest) == pytest.approx(expected)


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
    assert hundredths(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0.0, "0"), (0.004, "0"), (-0.004, "0"), (0.005, ".01"), (-0.25, "−.25"), (0.99, ".99")),
        *((0.996, "1.0"), (9.94, "9.9"), (9.96, "10"), (-994.0, "−994"), (996.0, "1.0k")),
        *((-12345.0, "−12k"), (9.94e5, "994k"), (9.96e5, "1.0M"), (2.34e7, "23M")),
    ],
)
def test_covariances_are_written_with_two_digits(value: float, expected: str) -> None:
    assert short(value) == expected


# --------------------------------------------------------------------------------------------
# Histogram.


def assert_key(bar: Axes, blocks: Sequence[str], title: str) -> None:
    """Each cell of a bar of colours has the colour and the label of its block, in order."""
    colours = PAGE.site_colours(blocks)
    (mesh,) = [c for c in bar.collections if c.get_array() is not None and c.get_array().size > 1]
    held = mesh.get_array().ravel()
    drawn_at = (mesh.get_coordinates()[:-1, 0, 1] + mesh.get_coordinates()[1:, 0, 1]) / 2
    same(drawn_at, range(len(blocks)))
    for site, value in zip(blocks, held, strict=True):
        same_colour(mesh.cmap(mesh.norm(value)), colours[site])
    for name, place in labelled(bar.yaxis).items():
        assert label(blocks[int(place)]) == f"block {name}"
    assert {"0", str(len(blocks) - 1)} <= set(labelled(bar.yaxis))
    assert bar.get_ylim() == (-0.5, len(blocks) - 0.5)
    assert bar.get_ylabel() == title


def assert_legend(axes: Axes, named: dict[str, str]) -> None:
    legend = axes.get_legend()
    found = [
        (text.get_text(), to_hex(handle.get_color()))
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    ]
    assert found == [(name, to_hex(colour)) for name, colour in named.items()]


OTHERS = {"embed": HIGHLIGHT[0], "final norm": HIGHLIGHT[3]}


@pytest.mark.parametrize(
    ("view", "x", "bins", "y"),
    [
        ("rest", "linear", 60, "density"),
        ("rest", "asinh", 90, "density"),
        ("all", "asinh", 200, "density"),
        ("first", "linear", 12, "share"),
    ],
)
def test_the_histogram_draws_each_sites_row(view: str, x: str, bins: int, y: str) -> None:
    figure = picture("histogram", view=view, x=x, bins=bins)
    axes = figure.axes[0]
    table = density.densities(unlike().stream, x, bins, view)
    colours = PAGE.site_colours(SITES)
    curves = by_gid(axes.patches)
    assert list(curves) == [f"{kind}:{site}" for site in SITES for kind in ("all", "many")]
    for site in SITES:
        part = table[table["site"] == site]
        edges = [*part["left"], part["right"].iloc[-1]]
        for kind, least in (("all", 1), ("many", 10)):
            curve = curves[f"{kind}:{site}"]
            values, found, baseline = curve.get_data()
            np.testing.assert_array_equal(found, edges)
            np.testing.assert_array_equal(values, part[y].where(part["count"] >= least))
            assert baseline is None
            same_colour(curve.get_edgecolor()[:3], to_rgba(colours[site])[:3])
            assert curve.get_zorder() == (2 if site in BLOCKS else 3)
        assert curves[f"all:{site}"].get_alpha() < 0.5
        assert curves[f"many:{site}"].get_alpha() is None
    filled = table.loc[table["count"] > 0, y]
    assert axes.get_yscale() == "log"
    same(axes.get_ylim(), (filled.min() * 0.7, filled.max() * 1.6))
    assert axes.get_xscale() == x
    assert axes.get_xlim() == (table.attrs["low"], table.attrs["high"])
    if x == "asinh":
        assert axes.xaxis.get_transform().linear_width == table.attrs["linear"]
    else:
        total = table.groupby("site")["share"].sum()
        assert total.max() <= 1 + 1e-12
    assert body(figure) == pytest.approx(48)
    for mark, name in zip(axes.yaxis.get_major_ticks(), labelled(axes.yaxis), strict=True):
        assert name == tick(mark.get_loc())
    assert axes.get_xlabel().endswith("(asinh scale)") == (x == "asinh")
    assert axes.get_ylabel().startswith(y)
    assert_legend(axes, OTHERS)
    assert_key(figure.axes[1], BLOCKS, "after block")


def test_the_histogram_says_what_lies_beyond_on_which_side() -> None:
    table = density.densities(unlike().stream, "linear", 60, "all").attrs["sites"]
    below, above = picture("histogram", view="all", x="linear", bins=60).axes[0].texts
    count = int(table["below"].sum())
    assert count > 1
    assert below.get_text() == f"{count} values beyond,\nfarthest −8,500\n(block 2)"
    assert (below.get_position(), below.get_ha()) == ((0.01, 0.98), "left")
    count = int(table["above"].sum())
    assert above.get_text() == f"{count} values beyond,\nfarthest 5,000\n(block 2)"
    assert (above.get_position(), above.get_ha()) == ((0.99, 0.98), "right")
    one = table.assign(below=0, above=[0, 1, 0, 0, 0, 0])
    assert histogram.beyond_words(one) == ("", "1 value beyond,\nfarthest 5,000\n(block 2)")


@pytest.mark.parametrize("x", ["linear", "asinh"])
def test_of_few_values_none_lies_beyond(x: str) -> None:
    axes = picture("histogram", view="first", x=x, bins=12).axes[0]
    assert [t.get_text() for t in axes.texts] == ["", ""]
    table = density.densities(unlike().stream, x, 12, "first")
    assert (table.groupby("site")["count"].sum() == ROWS * CHANNELS).all()
    sigma = density.densities(unlike().stream, "sigma", 12, "first").attrs["sites"]
    assert not sigma[["below", "above"]].to_numpy().any()


def test_the_histogram_names_how_wide_the_sites_are() -> None:
    std = unlike().moments()["std"]
    title, claim, caption = head(picture("histogram"))
    assert title == "Histogram of activations, unlike"
    assert claim == (
        f"σ {number(std['embed'])} at embed, {number(std[BLOCKS[0]])} (block 0) to "
        f"{number(std[BLOCKS[2]])} (block 2), {number(std['final_norm'])} at final norm"
    )
    assert std[BLOCKS].idxmin() == BLOCKS[0]
    assert std[BLOCKS].idxmax() == BLOCKS[2]
    assert "first tokens left out: 294 of 300 tokens" in caption
    figure = picture("histogram", sites="block.*")
    assert head(figure)[1] == claim.split(" at embed, ")[0][:2] + (
        f"{number(std[BLOCKS[0]])} (block 0) to {number(std[BLOCKS[2]])} (block 2)"
    )
    assert figure.axes[0].get_legend() is None
    assert_key(figure.axes[1], BLOCKS, "after block")
    single = picture("histogram", sites="embed,block.3.*", view="first")
    first = unlike().moments("first")["std"]
    assert head(single)[1] == (
        f"σ {number(first['embed'])} at embed, {number(first[BLOCKS[3]])} at block 3"
    )
    assert "first tokens only: 6 of 300 tokens" in head(single)[2]
    assert_legend(single.axes[0], {"embed": HIGHLIGHT[0], "block 3": "#0c1b4d"})
    assert len(single.axes) == 1


def test_the_histogram_has_200_bins_and_a_scale_of_its_own() -> None:
    axes = picture("histogram").axes[0]
    scale = analysis.scale_of(unlike().stream)
    table = density.densities(unlike().stream, scale, 200)
    assert axes.get_xscale() == scale
    _, edges, _ = by_gid(axes.patches)["all:embed"].get_data()
    np.testing.assert_array_equal(edges[:-1], table.loc[table["site"] == "embed", "left"])
    with pytest.raises(FigureError, match="unknown x 'sigma'"):
        picture("histogram", x="sigma")


# --------------------------------------------------------------------------------------------
# Ridge.


@pytest.mark.parametrize(
    ("view", "x", "sites"),
    [
        ("rest", "sigma", None),
        ("all", "asinh", None),
        ("first", "linear", None),
        ("rest", "sigma", "embed,block.0.*,block.3.*"),
    ],
)
def test_the_ridge_draws_each_sites_density_in_its_row(
    view: str, x: str, sites: str | None
) -> None:
    figure = picture("ridge", view=view, x=x, sites=sites)
    axes = figure.axes[0]
    names = SITES if sites is None else ["embed", BLOCKS[0], BLOCKS[3]]
    table = density.densities(unlike().stream, x, 160, view, names)
    stands = dict(zip(names, places.places(names, 0.25).at, strict=True))
    artists = by_gid([*axes.patches, *axes.lines, *axes.collections])
    colours = PAGE.site_colours(names)
    for site in names:
        part = table[table["site"] == site]
        base = stands[site] + 0.5
        # Six decades are 0.86 of a row; the peak of the normal reaches that.
        wide = 1 if x == "sigma" else unlike().moments(view).loc[site, "std"]
        top = 1 / wide / np.sqrt(2 * np.pi)

        def height(column: str, part: Any = part, top: float = top) -> np.ndarray:
            with np.errstate(divide="ignore"):
                return 0.86 * np.clip(1 + np.log10(part[column] / top) / 6, 0, 1.12)

        shape = artists[f"density:{site}"]
        values, edges, bottom = shape.get_data()
        np.testing.assert_allclose(values, base - height("density"))
        np.testing.assert_array_equal(edges, [*part["left"], part["right"].iloc[-1]])
        assert bottom == pytest.approx(base)
        assert shape.get_fill()
        same_colour(shape.get_facecolor()[:3], to_rgba(colours[site])[:3])
        middle = (part["left"] + part["right"]) / 2
        for_normal = artists[f"normal:{site}"]
        np.testing.assert_allclose(for_normal.get_xdata(), middle)
        np.testing.assert_allclose(for_normal.get_ydata(), base - height("normal"))
        (outline,) = artists[f"grey:{site}"].get_paths()
        corners = {*zip(middle, base - height("normal"), strict=True), *((m, base) for m in middle)}
        found = sorted({(round(a, 9), round(b, 9)) for a, b in outline.vertices})
        np.testing.assert_allclose(
            found, sorted({(round(a, 9), round(b, 9)) for a, b in corners}), atol=1e-8
        )
        # Grey lies behind the density, the normal's line before it.
        order = [artists[f"{kind}:{site}"].get_zorder() for kind in ("grey", "density", "normal")]
        assert order == sorted(order)
        assert len(set(order)) == 3
        assert list(artists[f"base:{site}"].get_ydata()) == pytest.approx([base] * 2)
        # Half of six decades down.
        assert list(artists[f"thousandth:{site}"].get_ydata()) == pytest.approx([base - 0.43] * 2)
    np.testing.assert_allclose(axes.get_ylim(), (stands[names[-1]] + 0.55, stands[names[0]] - 0.6))
    assert axes.get_xlim() == (table.attrs["low"], table.attrs["high"])
    assert axes.get_xscale() == ("asinh" if x == "asinh" else "linear")
    assert labelled(axes.yaxis) == pytest.approx({label(s): stands[s] for s in names})
    robust = x == "sigma" and sites is None
    scales = table.attrs["sites"]
    widths = {t.get_position()[1]: t.get_text() for t in axes.texts}
    assert {t.get_position()[0] for t in axes.texts} == {1.02}
    for site in names:
        wide = scales.loc[site, "unit" if robust else "std"]
        assert widths[stands[site]] == f"{'s' if robust else 'σ'} {number(wide)}"
    expected = {
        "sigma": f"(activation − {'median' if robust else 'mean'}) / {'s' if robust else 'σ'} of "
        "the site",
        "asinh": "activation (asinh scale)",
        "linear": "activation",
    }
    assert axes.get_xlabel() == expected[x]
    assert body(figure) == pytest.approx(6.4 * (len(names) + 0.25 * (sites is None) + 0.25) + 12)


def test_a_row_reaches_six_decades_below_the_peak_and_a_little_above() -> None:
    densities = 5.0 * np.array([1.0, 1e-3, 1e-6, 1e-7, 0.0, 10**0.6, 10.0])
    expected = 0.86 * np.array([1.0, 0.5, 0.0, 0.0, 0.0, 1.1, 1.12])
    np.testing.assert_allclose(height(densities, 5.0), expected, atol=1e-12)


def test_rows_are_lower_and_their_words_thinned_where_there_are_many() -> None:
    for sites, row in ((25, 6.0), (23, 6.4)):
        figure = long_profile().plot.ridge(sites=long_profile().sites[:sites])
        assert body(figure) == pytest.approx(row * sites + 12)
        assert [t.get_position()[1] for t in figure.axes[0].texts] == list(range(sites))


def test_the_ridge_says_what_its_tables_hold() -> None:
    title, claim, caption = head(picture("ridge", x="sigma", view="rest", sites=None))
    assert title == "Density of activations by site, unlike"
    kurtosis = unlike().moments()["excess_kurtosis"]
    assert claim == (
        f"heaviest tails: block 2, excess kurtosis {number(kurtosis[BLOCKS[2]])} (a normal has 0)"
    )
    assert kurtosis.idxmax() == BLOCKS[2]
    scales = density.densities(unlike().stream, "sigma").attrs["sites"]
    assert scales["dominated"].idxmax() == BLOCKS[2]
    assert (
        f"one value holds {scales['dominated'].max():.0%} of the variance of block 2 (2 sites of "
        "this kind), so σ says little" in caption
    )
    assert "a normal with the same quantiles of 15.9 and 84.1 %" in caption
    count = int(scales["below"].sum() + scales["above"].sum())
    assert count
    low, high = number(scales["min"].min()), number(scales["max"].max())
    assert f"beyond the x axis: {count} values" in caption
    assert caption.endswith(f"as far as {low} and {high}")
    _, _, plain = head(picture("ridge", x="sigma", view="rest", sites="embed,block.0.*,block.3.*"))
    assert "a normal of the same mean and standard deviation" in plain
    assert "one value holds" not in plain
    calm = head(picture("ridge", sites="embed"))
    assert kurtosis["embed"] < -0.5
    assert calm[1] == (
        "no site has clearly heavier tails than a normal: excess kurtosis at most "
        f"{number(kurtosis['embed'])} (embed; a normal has 0)"
    )
    assert "beyond the x axis" not in head(picture("ridge", sites="embed", view="first"))[2]
    default = by_gid(picture("ridge").axes[0].patches)["density:embed"].get_data()
    chosen = by_gid(picture("ridge", x="sigma", view="rest", bins=160).axes[0].patches)
    np.testing.assert_array_equal(default.values, chosen["density:embed"].get_data().values)


# --------------------------------------------------------------------------------------------
# Depth.

SHARES = {"all": 1.0, "99.9 %": 0.999, "99 %": 0.99, "90 %": 0.9, "50 %": 0.5}


@pytest.mark.parametrize("view", ["rest", "all", "first"])
def test_the_depth_draws_each_bands_quantiles_at_its_site(view: str) -> None:
    figure = picture("depth", view=view)
    axes = figure.axes[0]
    names = [n for n in SHARES if not (view == "first" and n in {"99.9 %"})]
    where = places.places(SITES, 0.4 + 0.085 * 6)
    runs = [[0], [1, 2, 3, 4], [5]]
    drawn_bands = axes.collections
    # Widest first, so that the narrower lie on top.
    assert [c.get_gid() for c in drawn_bands] == [f"band:{n}" for n in names] * 3
    for band, (run, name) in zip(drawn_bands, [(r, n) for r in runs for n in names], strict=True):
        share = SHARES[name]
        table = unlike().quantiles([(1 - share) / 2, (1 + share) / 2], view).values
        at = where.at[run] if len(run) > 1 else where.at[run[0]] + np.array([-0.35, 0.35])
        rows = run if len(run) > 1 else run * 2
        expected = {(x, y) for x, i in zip(at, rows, strict=True) for y in table[i]}
        (outline,) = band.get_paths()
        found = sorted({(float(x), float(y)) for x, y in outline.vertices})
        np.testing.assert_allclose(found, sorted(expected), rtol=1e-6)
    colours = [to_hex(c.get_facecolor()[0]) for c in drawn_bands[: len(names)]]
    assert colours == [bands.BANDS[SHARES[n]][0] for n in names]
    # Darker from band to band.
    light = [sum(to_rgba(c)[:3]) for c in colours]
    assert light == sorted(light, reverse=True)
    linear = density.linear_width(unlike().stream, view)
    assert axes.get_yscale() == "asinh"
    assert axes.yaxis.get_transform().linear_width == linear
    extremes = unlike().moments(view)
    ends = np.arcsinh(np.array([extremes["min"].min(), extremes["max"].max()]) / linear)
    room = 0.04 * (ends[1] - ends[0])
    limits = linear * np.sinh([ends[0] - room, ends[1] + room])
    np.testing.assert_allclose(axes.get_ylim(), limits)
    ticks = scales.asinh_ticks(*limits, linear)
    assert labelled(axes.yaxis) == pytest.approx({tick(t): t for t in ticks})
    edge = 0.5 + 0.02 * where.span
    np.testing.assert_allclose(axes.get_xlim(), (-edge, where.at[-1] + edge))
    found = labelled(axes.xaxis)
    assert found == pytest.approx(
        {
            name: at
            for name, at in zip(["embed", "0", "1", "2", "3", "final\nnorm"], where.at, strict=True)
        }
    )
    assert axes.get_xlabel() == "after block"
    assert list(axes.lines[0].get_ydata()) == [0, 0]
    assert body(figure) == pytest.approx(46)


@pytest.mark.parametrize("view", ["rest", "first"])
def test_the_depth_names_its_bands_beside_the_last_site(view: str) -> None:
    axes = picture("depth", view=view).axes[0]
    names = [n for n in SHARES if not (view == "first" and n in {"99.9 %"})]
    linear = density.linear_width(unlike().stream, view)
    shares = np.array([SHARES[n] for n in names])
    table = unlike().quantiles([*(1 + shares) / 2, (1 - shares[-1]) / 2], view).values[-1]
    edges = np.arcsinh(table / linear)
    low, high = np.arcsinh(np.array(axes.get_ylim()) / linear)
    gap = (high - low) * 1.25 * 5 / (46 * 0.8 / 25.4 * 72)
    wanted = places.spread(list((edges[:-1] + edges[1:]) / 2), gap, low + gap / 2, high - gap / 2)
    assert [t.get_text() for t in axes.texts] == names
    for text, y, name in zip(axes.texts, wanted, names, strict=True):
        assert text.xy[0] == 1.02
        assert np.arcsinh(text.xy[1] / linear) == pytest.approx(y)
        assert text.get_color() == bands.BANDS[SHARES[name]][1]
    assert (np.diff(wanted) <= -gap * 0.999).all()


def test_the_depth_says_how_far_values_reach() -> None:
    title, claim, caption = head(picture("depth", view="rest"))
    assert title == "Activations through depth, unlike"
    low, high = unlike().quantiles([0.005, 0.995]).sel(site=BLOCKS[2]).values
    assert claim == (
        "farthest from zero: 5,000 at block 2, where 99 % of the values lie between "
        f"{number(low)} and {number(high)}"
    )
    assert "the middle 50 %, 90 %, 99 %, 99.9 % and all of a site's values" in caption
    assert "too few" not in caption
    _, claim, caption = head(picture("depth", view="first"))
    assert claim.startswith("farthest from zero: −8,500 at block 2, where 99 % ")
    assert "240 values per site: too few for 99.9 %" in caption
    assert "the middle 50 %, 90 %, 99 % and all" in caption
    assert "first tokens left out: 294" in head(picture("depth"))[2]
    few = picture("depth", view="first", sites="block.0.*,block.3.*")
    low, high = unlike().quantiles([0.005, 0.995], "first").sel(site=BLOCKS[3]).values
    least = unlike().moments("first").loc[[BLOCKS[0], BLOCKS[3]]]
    far = max(-least["min"].min(), least["max"].max())
    assert f"{number(far)} at block 3" in head(few)[1].replace("−", "")
    assert labelled(few.axes[0].xaxis) == {"0": 0, "3": 1}


# --------------------------------------------------------------------------------------------
# Wing.


@pytest.mark.parametrize(
    ("view", "sites"), [("rest", SITES), ("first", SITES), ("rest", [*BLOCKS, "final_norm"])]
)
def test_the_wing_draws_each_sites_row_of_r2(view: str, sites: list[str]) -> None:
    figure = picture("wing", view=view, sites=",".join(sites))
    left, right = figure.axes[:2]
    where = places.places(sites, 0.4)
    table = unlike().r2(view=view).sel(site_a=sites, site_b=sites).values
    colours = PAGE.site_colours(sites)
    for i, site in enumerate(sites):
        pieces = [line for line in left.lines if line.get_gid() == f"wing:{site}"]
        x, y = joined(pieces)
        same(x, where.at)
        same(y, table[i])
        for piece in pieces:
            same_colour(piece.get_color(), colours[site])
        assert [len(p.get_xdata()) for p in pieces] == [len(r) for r in where.runs]
        assert [p.get_linestyle() for p in pieces] == [
            "None" if where.sites[r[0]] not in BLOCKS else "-" for r in where.runs
        ]
        assert [p.get_markersize() for p in pieces] == [
            1.8 if where.sites[r[0]] in BLOCKS else 3.2 for r in where.runs
        ]
    lines = unlike().wing(view).loc[sites]
    expected = {
        "next": ("with the next site", POINTS, "-", "o"),
        "embed": ("with embed", HIGHLIGHT[0], "--", "s"),
        "final_norm": ("with final norm", HIGHLIGHT[3], ":", "^"),
    }
    assert {line.get_gid() for line in right.lines} == {f"line:{c}" for c in expected}
    for column, (_, colour, dash, marker) in expected.items():
        pieces = [line for line in right.lines if line.get_gid() == f"line:{column}"]
        x, y = joined(pieces)
        same(x, where.at)
        # R² of a site with itself is left out.
        values = [np.nan if s == column else v for s, v in lines[column].items()]
        np.testing.assert_array_equal(y, values)
        for piece, run in zip(pieces, where.runs, strict=True):
            same_colour(piece.get_color(), colour)
            assert piece.get_marker() == marker
            alone = where.sites[run[0]] not in BLOCKS
            assert piece.get_linestyle() == ("None" if alone else dash)
            assert piece.get_fillstyle() == ("none" if alone and marker != "o" else "full")
    assert_legend(right, {name: colour for name, colour, _, _ in expected.values()})
    lowest = lowest_drawn(np.nanmin(table))
    assert lowest == 0
    for axes in (left, right):
        np.testing.assert_allclose(axes.get_ylim(), (-0.03, 1.03))
        np.testing.assert_allclose(axes.get_xlim(), (-0.6, where.at[-1] + 0.6))
        assert axes.get_xlabel() == "after block"
        found = {k.replace("\n", " "): v for k, v in labelled(axes.xaxis).items()}
        assert found == pytest.approx(dict(zip(where.labels(), where.at, strict=True)))
    assert left.get_ylabel() == "R²"
    assert left.get_title("left").startswith("with every site")
    assert right.get_title("left") == "with one site"
    assert_key(figure.axes[2], BLOCKS, "")
    assert_legend(left, {label(s): OTHERS[label(s)] for s in sites if s not in BLOCKS})
    assert body(figure) == pytest.approx(48)
    steps = lines["next"]
    low = str(steps.idxmin())
    after = SITES[SITES.index(low) + 1]
    title, claim, _ = head(figure)
    assert title == "R² through depth, unlike"
    assert claim == (
        f"largest change between neighbours: {label(low)} to {label(after)}, "
        f"R² {number(steps.min())}"
    )


@pytest.mark.parametrize(
    ("curves", "step", "said"),
    [(6, 1, ""), (5, 2, "second"), (3, 2, "second"), (2, 3, "third"), (1, 6, "6th")],
)
def test_the_wing_leaves_out_curves_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch, curves: int, step: int, said: str
) -> None:
    assert prepared_wing.CURVES == 16
    monkeypatch.setattr(prepared_wing, "CURVES", curves)
    figure = unlike().plot.wing()
    lines = figure.axes[0].lines
    kept = [SITES[i] for i in places.places(SITES, GAP).shown(step)]
    assert {line.get_gid() for line in lines} == {f"wing:{site}" for site in kept}
    sizes = {line.get_markersize() for line in lines if len(line.get_xdata()) > 1}
    assert sizes == {1.8 if step == 1 else 0}
    words = f"on the left the curves of every {said} block"
    assert head(figure)[2].endswith(words if said else "flattened states")


def test_the_wing_zooms_in_where_all_sites_are_alike() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 60, 8))
    states = {f"block.{i}.resid_post": x + 0.2 * i * rng.normal(size=x.shape) for i in range(3)}
    near = hs.from_states(states, causal=False)
    values = near.r2().values
    lowest = values.min()
    assert 0.75 < lowest < 0.9
    begin = np.floor(lowest * 20) / 20
    room = 0.03 * (1 - begin)
    for axes in near.plot.wing().axes[:2]:
        np.testing.assert_allclose(axes.get_ylim(), (begin - room, 1 + room))
    figure = near.plot.r2()
    # Although the cells are written, a bar says that the colours do not begin at 0.
    assert len(figure.axes) == 4
    panels = [near.r2().values, near.r2("within").values, near.r2(without=[0]).values]
    del panels[2]
    assert figure.axes[0].collections[0].norm.vmin <= min(p.min() for p in panels)
    assert figure.axes[0].collections[0].norm.vmin > 0.5


# --------------------------------------------------------------------------------------------
# Covariance and R².


def cells(axes: Axes) -> dict[tuple[float, float], tuple[float, Any]]:
    """Return the value and the colour of each cell of a matrix by its centre (x, y)."""
    found = {}
    for mesh in axes.collections:
        corners = mesh.get_coordinates()
        middle = (corners[:-1, :-1] + corners[1:, 1:]) / 2
        colours = mesh.cmap(mesh.norm(mesh.get_array()))
        for place, value, colour in zip(
            middle.reshape(-1, 2),
            np.ma.filled(mesh.get_array(), np.nan).ravel(),
            colours.reshape(-1, 4),
            strict=True,
        ):
            found[round(float(place[0]), 6), round(float(place[1]), 6)] = (float(value), colour)
    return found


def assert_matrix(axes: Axes, sites: Sequence[str], table: np.ndarray, write: Any) -> None:
    """Each pair of sites stands at its place, the first site above and to the left."""
    where = places.places(sites, 0.35)
    held = cells(axes)
    assert len(held) == len(sites) ** 2
    said = {t.get_position(): t for t in axes.texts}
    for i in range(len(sites)):
        for j in range(len(sites)):
            place = (round(float(where.at[j]), 6), round(float(where.at[i]), 6))
            value, colour = held[place]
            np.testing.assert_equal(value, table[i, j])
            if not np.isfinite(table[i, j]):
                continue
            if write:
                text = said[where.at[j], where.at[i]]
                assert text.get_text() == write(table[i, j])
                red, green, blue, _ = colour
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.52
                assert text.get_color() == ("white" if dark else style.INK)
    assert len(said) == (np.isfinite(table).sum() if write else 0)
    hatched = {(p.get_x() + 0.5, p.get_y() + 0.5) for p in axes.patches if p.get_hatch()}
    empty = {(where.at[j], where.at[i]) for i, j in np.argwhere(~np.isfinite(table))}
    assert hatched == empty
    for patch in axes.patches:
        assert (patch.get_width(), patch.get_height()) == (1, 1)
    np.testing.assert_allclose(axes.get_xlim(), (-0.55, where.at[-1] + 0.55))
    np.testing.assert_allclose(axes.get_ylim(), (where.at[-1] + 0.55, -0.55))
    for along in (axes.xaxis, axes.yaxis):
        assert labelled(along) == pytest.approx(dict(zip(where.labels(), where.at, strict=True)))
    assert axes.get_xlabel() == where.title()
    assert axes.get_aspect() == 1


@pytest.mark.parametrize(
    ("view", "without", "sites"),
    [("rest", (), SITES), ("first", (HUGE, LOUD), SITES), ("rest", (HUGE,), SITES[1:3])],
)
def test_the_covariance_draws_each_pair_of_sites(
    view: str, without: tuple[int, ...], sites: list[str]
) -> None:
    figure = picture("covariance", view=view, without=without, sites=",".join(sites))
    (axes,) = figure.axes
    table = unlike().covariance(view, without=without).sel(site_a=sites, site_b=sites).values
    assert_matrix(axes, sites, table, short)
    norm = axes.collections[0].norm
    reach = np.abs(table).max()
    linear = max(np.abs(table).min(), reach * 1e-5)
    assert (norm.vmin, norm.vmax) == pytest.approx((-reach, reach))
    assert norm.linthresh == pytest.approx(linear)
    # Red is positive.
    red, _, blue, _ = axes.collections[0].cmap(norm(reach))
    assert red > blue
    variances = dict(zip(sites, np.diag(table), strict=True))
    low, high = min(variances, key=variances.get), max(variances, key=variances.get)
    title, claim, caption = head(figure)
    assert title == "Covariance between sites, unlike"
    assert claim == (
        f"variance from {number(variances[low])} ({label(low)}) to {number(variances[high])} "
        f"({label(high)})"
    )
    assert f"linear within ±{number(linear)}" in caption
    said = {(): "", (HUGE,): "without channel 31", (HUGE, LOUD): "without channels 31, 7"}[without]
    assert said in caption
    assert ("without" in caption) == bool(without)
    assert "k: thousands" not in caption
    assert body(figure) == pytest.approx(72)


def test_the_covariance_without_room_for_numbers_has_a_bar() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, 40, 4)) * 300
    states = {f"block.{i}.resid_post": x + 90 * rng.normal(size=x.shape) for i in range(20)}
    p = hs.from_states(states, causal=False)
    axes, bar = p.plot.covariance().axes
    table = p.covariance().values
    assert not axes.texts
    reach, linear = np.abs(table).max(), np.abs(table).min()
    assert bar.get_ylim() == pytest.approx((-reach, reach))
    assert labelled(bar.yaxis) == pytest.approx(
        {tick(t): t for t in scales.asinh_ticks(-reach, reach, max(linear, reach * 1e-5))}
    )
    held = cells(axes)
    assert all(held[j, i][0] == table[i, j] for i in range(20) for j in range(20))
    few = p.plot.covariance(sites="block.3.*,block.4.*")
    assert len(few.axes) == 1
    assert "k: thousands, M: millions" in head(few)[2]


@pytest.mark.parametrize(
    ("view", "without", "left"),
    [("rest", None, [HUGE, LOUD, FARTHER]), ("first", (FARTHER,), [FARTHER])],
)
def test_r2_draws_three_tables_of_each_pair_of_sites(
    view: str, without: tuple[int, ...] | None, left: list[int]
) -> None:
    figure = picture("r2", view=view, without=without)
    tables = [
        unlike().r2("pooled", view),
        unlike().r2("within", view),
        unlike().r2("pooled", view, without=left),
    ]
    assert len(figure.axes) == 3
    names = ["pooled (the article's)", "within channels"]
    names.append("without channels 31, 7, 19" if without is None else "without channel 19")
    for axes, table, name in zip(figure.axes, tables, names, strict=True):
        assert_matrix(axes, SITES, table.values, hundredths)
        norm = axes.collections[0].norm
        assert (norm.vmin, norm.vmax) == (0, 1)
        assert axes.get_title("left") == name
        bright, dark = (sum(axes.collections[0].cmap(norm(v))[:3]) for v in (0, 1))
        assert bright > dark
    held = unlike().loudest(view, by="pooled")
    title, claim, caption = head(figure)
    assert title == "R² between sites, unlike"
    pooled, offset = held.loc[left, "pooled"].sum(), held.loc[left, "offset"].sum()
    verb = "hold" if len(left) > 1 else "holds"
    assert claim == (
        f"{names[2].removeprefix('without ')} {verb} {pooled:.0%} of the pooled variance of the "
        f"blocks ({offset:.0%} as constant offsets)"
    )
    assert "hatched" not in caption
    assert body(figure) == pytest.approx(64)


def test_cells_without_variance_are_hatched() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 30, 6))
    flat = {BLOCKS[0]: x, BLOCKS[1]: np.full_like(x, 2.0), BLOCKS[2]: x + rng.normal(size=x.shape)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        p = hs.from_states(flat, causal=False)
    figure = p.plot.r2(without=[1, 2, 3, 4, 5])
    table = p.r2().values
    assert np.isnan(table[1]).all()
    assert np.isfinite(table[0, 2])
    assert_matrix(figure.axes[0], BLOCKS[:3], table, hundredths)
    assert "hatched: no variance" in head(figure)[2]
    title = figure.axes[2].get_title("left").replace("\n", " ")
    assert title == "without channels 1, 2, 3, 4 and 1 more"


def test_r2_leaves_out_no_more_channels_than_it_can() -> None:
    x = np.random.default_rng(2).normal(size=(1, 30, 3)) * [1, 5, 3]
    p = hs.from_states({"embed": x[:, ::-1], BLOCKS[0]: x}, causal=False)
    assert p.plot.r2().axes[2].get_title("left") == "without channels 1, 2"
    assert matrix.gap(SITES) == matrix.gap(many(14)) == 0.35
    assert matrix.gap(many(18)) == pytest.approx(0.35 + 4 * 0.035)


def test_many_sites_have_no_numbers_but_a_bar_of_r2() -> None:
    p = long_profile()
    figure = p.plot.r2(sites=p.sites[:17])
    assert not figure.axes[0].texts
    assert figure.axes[3].get_ylabel() == "R²"
    assert figure.axes[3].get_ylim() == (0, 1)
    sixteen = p.plot.r2(sites=p.sites[:16])
    assert len(sixteen.axes) == 3
    assert len(sixteen.axes[0].texts) == 256


# --------------------------------------------------------------------------------------------
# Scatter.

SHOWN = ["embed", BLOCKS[2], BLOCKS[3], "final_norm"]


def reach_of(site: str, view: str) -> tuple[str, float, tuple[float, float]]:
    """Return the scale, the linear part and the limits of a panel."""
    row = unlike().moments(view).loc[site]
    low, high = row["min"], row["max"]
    bulk = np.abs(unlike().quantiles([0.005, 0.995], view, [site]).values).max()
    if max(-low, high) <= 10 * bulk:
        room = 0.1 * (high - low)
        return "linear", 1.0, (low - room, high + room)
    linear = density.linear_width(unlike().stream, view, [site])
    a, b = np.arcsinh([low / linear, high / linear])
    room = 0.1 * (b - a)
    return "asinh", linear, (linear * np.sinh(a - room), linear * np.sinh(b + room))


def assert_numbers(axes: Axes, site: str, view: str) -> None:
    """Channels that stand out bear their number at their farthest value."""
    table = unlike().channels(site, view)
    found = list(analysis.standing_out(unlike().stream, view, [site]).index)
    assert len(found) <= 5
    colours = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    assert [t.get_text() for t in axes.texts] == [str(c) for c in found]
    for text, channel in zip(axes.texts, found, strict=True):
        low, high = table.loc[channel, ["min", "max"]]
        up = high > -low
        assert text.xy == (channel, high if up else low)
        assert text.xyann == (0, 2 if up else -2)
        assert (text.get_ha(), text.get_va()) == ("center", "bottom" if up else "top")
        same_colour(text.get_color(), colours[channel])
        assert text.get_weight() == "bold"


def assert_rings(axes: Axes, site: str, view: str, against: str) -> None:
    rings = by_gid(axes.collections)["extremes"]
    table = unlike().extremes(view, site).head(64)
    np.testing.assert_allclose(rings.get_offsets(), table[[against, "value"]].to_numpy(float))
    colours = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    wanted = [to_hex(colours.get(c, style.INK)) for c in table["channel"]]
    assert [to_hex(c) for c in rings.get_edgecolors()] == wanted
    assert not len(rings.get_facecolors())


@pytest.mark.parametrize("view", ["rest", "all"])
def test_the_scatter_of_many_tokens_draws_densities_and_their_outlines(view: str) -> None:
    figure = picture("scatter", view=view)
    sample = unlike().sample(view)
    tokens = sample.sizes["token"]
    assert tokens == {"rest": 294, "all": 300}[view]
    scales = []
    for n, site in enumerate(SHOWN):
        top, bottom = figure.axes[2 * n : 2 * n + 2]
        scale, linear, reach = reach_of(site, view)
        scales.append(scale)
        for axes in (top, bottom):
            assert axes.get_title("left") == label(site)
            assert axes.get_yscale() == scale
            np.testing.assert_allclose(axes.get_ylim(), reach)
            named = n == 0 or scale == "asinh"
            words = "activation" if scale == "linear" else "activation (asinh)"
            assert axes.get_ylabel() == (words if named else "")
            assert list(axes.lines[0].get_ydata()) == [0, 0]
        edges = density.even_steps(*reach, 96, scale, linear)
        for axes, against, columns in (
            (top, "position", tokens // 8),
            (bottom, "channel", 128),
        ):
            counts = token_tables.plane(sample, site, against, columns, edges)
            mesh = axes.collections[0]
            values = np.ma.filled(mesh.get_array(), 0.0)
            total = np.maximum(counts.values.sum(0), 1)
            np.testing.assert_allclose(values, counts.values / total)
            np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()), counts == 0)
            corners = mesh.get_coordinates()
            np.testing.assert_allclose(corners[0, :-1, 0], counts["left"])
            np.testing.assert_allclose(corners[0, -1, 0], counts["right"][-1])
            np.testing.assert_allclose(corners[:, 0, 1], edges)
            assert (mesh.norm.vmin, mesh.norm.vmax) == (1e-4, 1.0)
        # Of each channel and position, as many values as tokens stand in its column.
        assert len(figure.axes[1].collections[0].get_array()[0]) == CHANNELS
        table = unlike().positions(view).sel(site=site)
        starts = [*table["start"].values, 50]
        lines = by_gid(top.patches)
        for sign in (-1, 1):
            curve = lines[f"band:{sign}"].get_data()
            np.testing.assert_array_equal(curve.values, table["mean"] + sign * table["std"])
            np.testing.assert_array_equal(curve.edges[: len(curve.values)] + 0.5, starts[:-1])
            assert curve.edges[-1] == 49.5
            assert curve.baseline is None
        lines = by_gid(bottom.patches)
        for column in ("min", "max"):
            curve = lines[f"outer:{column}"].get_data()
            np.testing.assert_array_equal(curve.values, unlike().channels(site, view)[column])
            np.testing.assert_array_equal(curve.edges, np.arange(CHANNELS + 1) - 0.5)
        assert_rings(top, site, view, "position")
        assert_rings(bottom, site, view, "channel")
        assert_numbers(bottom, site, view)
        np.testing.assert_allclose(top.get_xlim(), (-0.04 * 50, 1.02 * 50))
        np.testing.assert_allclose(bottom.get_xlim(), (-1.3, 40.3))
        assert (top.get_xlabel(), bottom.get_xlabel()) == ("token index in its window", "channel")
        dots = [line for line in top.lines if line.get_gid()]
        assert [line.get_gid() for line in dots] == (["first"] if view == "all" else [])
        for line in dots:
            first = sample["stratum"].values == "first"
            assert first.sum() == ROWS
            np.testing.assert_array_equal(line.get_xdata(), 0)
            values = sample["state"].sel(site=site).values[first].ravel()
            np.testing.assert_array_equal(line.get_ydata(), values)
            same_colour(line.get_color(), "black")
        assert not [line for line in bottom.lines if line.get_gid()]
    assert scales == ["linear", "asinh", "linear", "linear"]
    bar = figure.axes[-1]
    np.testing.assert_allclose(bar.get_ylim(), (1e-4, 1))
    assert bar.get_ylabel() == "share of the values in a column (log)"
    assert labelled(bar.yaxis) == pytest.approx({tick(v): v for v in bar.get_yticks()})
    assert len(figure.axes) == 9
    assert body(figure) == pytest.approx(84)


def test_the_scatter_of_few_tokens_draws_every_value() -> None:
    view, sites = "first+massive", [BLOCKS[2], "final_norm"]
    figure = picture("scatter", view=view, sites=",".join(sites))
    sample = unlike().sample(view)
    first = sample["stratum"].values == "first"
    assert (first.sum(), len(first)) == (6, 7)
    colours = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    for n, site in enumerate(sites):
        top, bottom = figure.axes[2 * n : 2 * n + 2]
        state = sample["state"].sel(site=site).values
        scale, _, reach = reach_of(site, view)
        along = np.broadcast_to(np.arange(CHANNELS), state.shape)
        # Tokens of several windows stand side by side.
        places = np.broadcast_to(np.arange(7)[:, None], state.shape)
        for axes, x in ((top, places), (bottom, along)):
            lines = by_gid(axes.lines)
            for gid, rows, colour in (
                ("values", ~first, POINTS),
                ("first", first, "#000000"),
            ):
                np.testing.assert_array_equal(lines[gid].get_xdata(), x[rows].ravel())
                np.testing.assert_array_equal(lines[gid].get_ydata(), state[rows].ravel())
                same_colour(lines[gid].get_color(), colour)
            assert axes.get_title("left") == label(site)
            assert axes.get_yscale() == scale
            np.testing.assert_allclose(axes.get_ylim(), reach)
        found = list(analysis.standing_out(unlike().stream, view, [site]).index)[:5]
        marks = {k: v for k, v in by_gid(top.lines).items() if k.startswith("channel:")}
        assert list(marks) == [f"channel:{c}" for c in found]
        for c in found:
            np.testing.assert_array_equal(marks[f"channel:{c}"].get_xdata(), np.arange(7))
            np.testing.assert_array_equal(marks[f"channel:{c}"].get_ydata(), state[:, c])
            same_colour(marks[f"channel:{c}"].get_color(), colours.get(c, style.INK))
        assert not top.collections
        assert_rings(bottom, site, view, "channel")
        assert_numbers(bottom, site, view)
        assert top.get_ylabel().startswith("activation")
    assert figure.axes[3].get_ylabel() == ""
    last = figure.axes[2]
    pieces = [style.token_text(str(p)) for p in sample["piece"].values]
    assert [t.get_text() for t in last.get_xticklabels()] == pieces
    np.testing.assert_array_equal(last.get_xticks(), np.arange(7))
    np.testing.assert_allclose(last.get_xlim(), (-0.8, 7.6))
    assert {t.get_rotation() for t in last.get_xticklabels()} == {90.0}
    assert figure.axes[0].xaxis.get_tick_params()["labelbottom"] is False
    assert last.xaxis.get_tick_params().get("labelbottom", True)
    assert body(figure) == pytest.approx(24 * 2 + 40)
    title, _, caption = head(figure)
    assert title == "Activations by token and by channel, unlike"
    assert "tokens of several windows side by side" in caption
    assert "black: first tokens" in caption
    assert "lines: mean" not in caption
    alone = picture("scatter", view="massive", sites="embed")
    np.testing.assert_array_equal(alone.axes[0].get_xticks(), [9])
    _, _, caption = head(alone)
    assert "several windows" not in caption
    assert "black" not in caption


def test_the_scatter_says_which_channels_vary_and_lie_apart() -> None:
    table = unlike().loudest()
    title, claim, caption = head(picture("scatter", view="rest"))
    assert title == "Activations by position and by channel, unlike"
    assert (table["variance"].idxmax(), table["offset"].idxmax()) == (HUGE, LOUD)
    assert claim == (
        f"most variance: channel 31, {table['variance'].max():.0%} of that within channels of the "
        "blocks (an equal share is 2.5%); largest constant offset: channel 7, "
        f"{table['offset'].max():.0%} of the pooled variance"
    )
    assert caption.endswith(
        "rings: the largest magnitudes of all tokens · lines: mean ± σ by position, smallest and "
        "largest by channel · numbers: channels that stand out at the site"
    )
    assert "a sample" not in caption
    assert head(picture("scatter", view="all"))[2].endswith("· black: first tokens")
    assert head(picture("scatter"))[2] == caption
    assert a_few(SITES) == SHOWN
    assert a_few(BLOCKS) == [BLOCKS[0], BLOCKS[2], BLOCKS[3]]
    assert a_few(["embed", "final_norm"]) == ["embed", "final_norm"]
    assert a_few(many(7)) == [*("embed", "block.3.resid_post", "block.6.resid_post", "final_norm")]


def test_numbers_of_neighbouring_channels_lean_apart() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(4, 100, 48))
    for channel, by in ((10, 20), (12, 18), (14, 16), (11, -22), (40, 14)):
        x[..., channel] += by
    p = hs.from_states({"block.0.resid_post": x}, sample_mib=0.02, name="lean")
    figure = p.plot.scatter()
    found = {t.get_text(): t for t in figure.axes[1].texts}
    expected = {"10": -1, "12": 0, "14": 1, "11": 0, "40": 0}
    assert found.keys() == expected.keys()
    for name, lean in expected.items():
        up = name != "11"
        assert found[name].get_ha() == ("right", "center", "left")[lean + 1]
        assert found[name].xyann == (2 * lean, 2 if up else -2)
    held = p.sample().sizes["token"]
    assert 84 < held < 396
    caption = head(figure)[2]
    assert f"a sample of {held} tokens, the same at every site" in caption


def test_the_scatter_joins_tokens_and_channels_into_columns() -> None:
    x = np.random.default_rng(6).normal(size=(1, 900, 300))
    p = hs.from_states({"embed": x}, causal=False)
    top, bottom = p.plot.scatter().axes[:2]
    tokens = p.sample().sizes["token"]
    assert tokens == 900
    # At most 96 and 128 columns, each of whole positions and channels.
    for axes, wide, count in ((top, 10, 90), (bottom, 3, 100)):
        edges = axes.collections[0].get_coordinates()[0, :, 0]
        np.testing.assert_array_equal(edges, np.arange(count + 1) * wide - 0.5)
    assert density.with_room(2.0, 2.0, "linear", 1.0) == (1.0, 3.0)
    assert density.with_room(-1.0, 3.0, "linear", 1.0) == pytest.approx((-1.4, 3.4))
    low, high = density.with_room(-5.0, 2000.0, "asinh", 0.5)
    ends = np.arcsinh(np.array([low, -5.0, 2000.0, high]) / 0.5)
    np.testing.assert_allclose(np.diff(ends) / (ends[2] - ends[1]), [0.1, 1, 0.1])


@pytest.mark.parametrize(("tokens", "points"), [(84, True), (85, False)])
def test_the_scatter_draws_points_up_to_84_tokens(tokens: int, points: bool) -> None:
    x = np.random.default_rng(6).normal(size=(1, tokens, 4))
    figure = hs.from_states({"embed": x}, causal=False).plot.scatter()
    assert len(figure.axes) == (2 if points else 3)
    assert ("values" in by_gid(figure.axes[0].lines)) == points


# --------------------------------------------------------------------------------------------
# Outliers.


@pytest.mark.parametrize(
    ("view", "sites"), [("rest", SITES), ("first", SITES), ("rest", ["embed", *BLOCKS[:2]])]
)
def test_the_outliers_draw_magnitudes_and_the_map_of_each_site(view: str, sites: list[str]) -> None:
    figure = picture("outliers", view=view, sites=",".join(sites))
    left, right, bar = figure.axes
    table = analysis.magnitudes(unlike().stream, view).loc[sites]
    where = places.places(sites, 0.4)
    expected = {
        "top1": ("largest", "#0c1b4d", "o"),
        "top2": ("second", "#3a78b8", "s"),
        "top3": ("third", "#56b4e9", "^"),
        "median": ("median of all tokens", "#d55e00", "D"),
    }
    for column, (_, colour, marker) in expected.items():
        pieces = [line for line in left.lines if line.get_gid() == f"line:{column}"]
        x, y = joined(pieces)
        same(x, where.at)
        np.testing.assert_array_equal(y, table[column])
        for piece, run in zip(pieces, where.runs, strict=True):
            same_colour(piece.get_color(), colour)
            assert piece.get_marker() == marker
            alone = sites[run[0]] not in BLOCKS
            assert piece.get_linestyle() == ("None" if alone else "-")
    assert_legend(left, {name: colour for name, colour, _ in expected.values()})
    markers = [h.get_marker() for h in left.get_legend().legend_handles]
    assert markers == [m for _, _, m in expected.values()]
    assert left.get_yscale() == "log"
    assert left.get_ylim()[0] <= table.min().min()
    assert left.get_ylim()[1] >= table.max().max()
    np.testing.assert_allclose(left.get_xlim(), (-0.6, where.at[-1] + 0.6))
    found = {k.replace("\n", " "): v for k, v in labelled(left.xaxis).items()}
    assert found == pytest.approx(dict(zip(where.labels(), where.at, strict=True)))
    assert left.get_xlabel() == "after block"
    # The map.
    where = places.places(sites, 0.25 + 0.05 * len(sites))
    relative = largest.largest_map(unlike().stream, view).loc[sites].to_numpy()
    held = cells(right)
    assert len(held) == relative.size
    for i, y in enumerate(where.at):
        for channel in range(CHANNELS):
            value, _ = held[channel, round(float(y), 6)]
            assert value == relative[i, channel]
    norm = right.collections[0].norm
    top = relative.max()
    assert (norm.vmin, norm.vmax) == (1, min(max(top, 3), 30))
    np.testing.assert_allclose(right.get_ylim(), (where.at[-1] + 0.55, -0.55))
    assert labelled(right.yaxis) == pytest.approx(
        dict(zip([label(s) for s in sites], where.at, strict=True))
    )
    assert right.get_xlabel() == "channel"
    assert bar._colorbar.extend == "max"
    assert labelled(bar.yaxis) == pytest.approx({str(t): t for t in (1, 2, 5, 10, 20)})
    assert bar.get_ylabel() == "largest ÷ median channel's (log)"
    assert body(figure) == pytest.approx(52)


@pytest.mark.parametrize("view", ["rest", "first"])
def test_the_map_numbers_channels_above_their_columns(view: str) -> None:
    figure = picture("outliers", view=view, sites=",".join(SITES))
    texts = figure.axes[1].texts
    colours = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    ranked = list(analysis.standing_out(unlike().stream, view).index)
    assert [t.get_text() for t in texts] == [str(c) for c in ranked] == ["31", "7", "19"]
    for text, channel in zip(texts, ranked, strict=True):
        assert text.xy == (channel, 1.0)
        # There is room for each above its column.
        assert text.xyann == (channel, 1.0)
        same_colour(text.get_color(), colours[channel])
        assert text.arrowprops["arrowstyle"] == "-"
    found = unlike().outliers(view)
    title, claim, caption = head(figure)
    assert title == "Largest magnitudes, unlike"
    assert claim == f"{analysis.massive_words(found, 2)}. {analysis.channel_words(found)}"
    assert ("channel 31 in blocks 1–2" in claim) == (len(found.massive) > 0)
    assert "second and third: among the 8 largest values kept per channel" in caption


def test_a_map_without_outliers_ends_at_three_times_the_median() -> None:
    rng = np.random.default_rng(9)
    x = rng.uniform(0.5, 1, size=(1, 12, 1100)) * np.linspace(1, 2, 1100)
    sites = {"embed": x, "block.0.resid_post": 2 * x}
    p = hs.from_states(sites, causal=False)
    left, right, bar = p.plot.outliers(sites="embed").axes
    table = largest.largest_map(p.stream, "rest").loc[["embed"]]
    assert table.attrs["group"] == 3
    (mesh,) = right.collections
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), 0), table.to_numpy())
    corners = mesh.get_coordinates()
    np.testing.assert_array_equal(corners[0, :, 0], [*np.arange(-0.5, 1099, 3), 1099.5])
    assert right.get_xlabel() == "channel (largest of every 3)"
    assert table.to_numpy().max() < 2
    assert (mesh.norm.vmin, mesh.norm.vmax) == (1, 3)
    assert bar._colorbar.extend == "neither"
    assert list(bar.get_yticks()) == [1, 2]
    assert not right.texts
    assert left.get_xlabel() == ""


def test_the_map_numbers_at_most_eight_channels_apart_from_each_other() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 40, 64))
    loud = [3, 4, 5, 6, 30, 31, 60, 61, 62, 63]
    for rank, channel in enumerate(loud):
        x[..., channel] *= 30 - 2 * rank
    p = hs.from_states({"block.0.resid_post": x, "block.1.resid_post": x}, causal=False)
    right = p.plot.outliers().axes[1]
    numbers = [int(t.get_text()) for t in right.texts]
    found = p.outliers()
    ranked = [*found.channels.index, *analysis.standing_out(p.stream, "rest").index]
    assert numbers == list(dict.fromkeys(ranked))[:8]
    assert len(numbers) == 8
    assert [t.xy[0] for t in right.texts] == numbers
    wide = max(style.text_width(str(c), 5) for c in numbers) + 3
    gap = wide * 64 / (60 / 25.4 * 72)
    expected = places.spread([float(c) for c in numbers], gap, gap / 2, 64 - gap / 2)
    np.testing.assert_allclose([t.xyann[0] for t in right.texts], expected)
    assert np.diff(sorted(expected)).min() >= gap * 0.999
    colours = PAGE.channel_colours(analysis.outstanding_channels(p.stream))
    for text, channel in zip(right.texts, numbers, strict=True):
        same_colour(text.get_color(), colours.get(channel, style.INK))
