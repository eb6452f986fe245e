"""The figures that set first tokens against the rest: norms, positions, compare_views."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from test_artists import BLOCKS, CHANNELS, LOUD, PAGE, SITES, by_gid, head, label, same, unlike

import hiddenscope as hs
from hiddenscope import analysis, figures
from hiddenscope.analysis import density
from hiddenscope.errors import FigureError, InputError, ViewError
from hiddenscope.figures import compare_views, places
from hiddenscope.figures.depth import SHARES
from hiddenscope.figures.matplotlib.style import styled
from hiddenscope.words import number

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHERE = places.places(SITES, 0.4)


def draw(kind: str, *views: str, p: hs.Profile | None = None, **options: Any) -> Figure:
    figure: Figure = getattr((p or unlike()).plot, kind)(*views, **options)
    return figure


def curve(axes: Axes, gid: str) -> np.ndarray:
    """Return the values of a curve through the sites, its pieces joined."""
    pieces = [line for line in axes.lines if line.get_gid() == gid]
    return np.concatenate([np.asarray(p.get_ydata(), float) for p in pieces])


def without_first() -> hs.Profile:
    """States of a bidirectional model: no token is the first of anything."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 30, 8)).astype(np.float32)
    return hs.from_states({"embed": x, "block.0.resid_post": 3 * x}, causal=False, name="both ways")


# --------------------------------------------------------------------------------------------
# Norms.


@pytest.mark.parametrize("view", ["rest", "all", "first"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_norms_are_bands_between_their_quantiles(view: str, norm: str) -> None:
    (axes,) = draw("norms", view=view, norm=norm).axes
    tokens = unlike().norms(norm, 0.5, view)["tokens"].max()
    kept = [b for b in SHARES if b == 1 or tokens * (1 - b) / 2 >= 1]
    drawn = [c for c in axes.collections if str(c.get_gid()).startswith("band:")]
    assert len(drawn) == len(kept) * len(places.places(SITES, 1).runs)
    found = iter(drawn)
    for run in places.places(SITES, 1).runs:
        for share in kept:
            ends = unlike().norms(norm, [(1 - share) / 2, (1 + share) / 2], view).iloc[run]
            y = next(found).get_paths()[0].vertices[:, 1]
            assert y.min() == ends.iloc[:, 1].min()
            assert y.max() == ends.iloc[:, 2].max()
    written = {t.get_text() for t in axes.texts}
    assert written == {"all" if b == 1 else f"{100 * b:g} %" for b in kept}


@pytest.mark.parametrize(("view", "lines"), [("rest", 2), ("first", 1), ("massive", 1)])
def test_first_and_massive_tokens_have_a_line_of_their_own(view: str, lines: int) -> None:
    figure = draw("norms", view=view)
    (axes,) = figure.axes
    held = [k for k in ("first", "massive") if k != view]
    assert len(held) == lines
    assert {line.get_gid() for line in axes.lines} == {f"line:{k}" for k in held}
    for k in held:
        median = unlike().norms(q=0.5, view=k).loc[SITES, "q0.5"]
        same(curve(axes, f"line:{k}"), median)
    names = [t.get_text() for t in axes.get_legend().get_texts()]
    assert names == [f"{k} tokens" for k in held]
    colours = {line.get_gid(): to_hex(line.get_color()) for line in axes.lines}
    assert colours.get("line:first", "#000000") == "#000000"
    low, high = axes.get_ylim()
    for k in held:
        assert low < curve(axes, f"line:{k}").min() <= curve(axes, f"line:{k}").max() < high


def test_the_claim_of_the_norms_is_read_off_the_table() -> None:
    rest, first = (unlike().norms(q=0.5, view=v).loc[SITES, "q0.5"] for v in ("rest", "first"))
    blocks = rest[BLOCKS]
    ratio = first / rest
    site = str(np.abs(np.log(ratio)).idxmax())
    assert head(draw("norms"))[1] == (
        f"median norm {number(rest['embed'])} at embed, {number(blocks.min())} "
        f"({label(blocks.idxmin())}) to {number(blocks.max())} ({label(blocks.idxmax())}), "
        f"{number(rest['final_norm'])} at final norm; first tokens {number(ratio[site])} × that "
        f"at {label(site)} ({number(first[site])})"
    )
    assert "first tokens" not in head(draw("norms", view="first"))[1]
    assert head(draw("norms", norm="linf"))[1].startswith("median largest magnitude ")


def test_norms_of_a_profile_without_first_tokens_are_bands_alone() -> None:
    figure = draw("norms", p=without_first())
    assert not figure.axes[0].lines
    assert figure.axes[0].get_legend() is None
    assert "lines:" not in head(figure)[2]
    assert "first tokens" not in head(figure)[1]


@pytest.mark.parametrize("kind", ["norms", "positions"])
def test_an_axis_of_norms_is_logarithmic_where_they_are_far_apart(kind: str) -> None:
    near = without_first()
    assert draw(kind, p=near).axes[0].get_yscale() == "linear"
    assert draw(kind).axes[0].get_yscale() == "log"
    axes = draw(kind, log=False).axes[0]
    assert axes.get_yscale() == "linear"
    assert "(log)" not in axes.get_ylabel()
    assert draw(kind, range=(1, 50)).axes[0].get_ylim() == (1, 50)
    with pytest.raises(FigureError, match="begins above 0"):
        draw(kind, range=(0, 50))
    assert draw(kind, range=(0, 50), log=False).axes[0].get_ylim() == (0, 50)
    # What lies beyond is not drawn outside of the axes.
    cut = draw(kind, range=(0.1, 0.9))
    cut.draw_without_rendering()
    assert all(line.get_clip_on() for line in cut.axes[0].lines)


@pytest.mark.parametrize("kind", ["norms", "positions"])
def test_states_of_zeros_have_no_norms_to_draw(kind: str) -> None:
    p = hs.from_states({"embed": np.zeros((2, 9, 8), np.float32)})
    with pytest.raises(FigureError, match="every state in the view 'all' is zero"):
        draw(kind, p=p, view="all")


def test_some_zeros_and_infinite_norms_leave_the_axis_as_it_is() -> None:
    x = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
    x[0, 5], x[1, 7] = 0, 3e38
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        p = hs.from_states({"embed": x, "block.0.resid_post": 200 * np.tanh(x)})
    for kind in ("norms", "positions", "compare_views"):
        figure = draw(kind, p=p)
        figure.draw_without_rendering()
        assert all(np.isfinite(axes.get_ylim()).all() for axes in figure.axes)


def test_an_unknown_norm_or_scale_is_refused() -> None:
    with pytest.raises(InputError, match="norm 'l1': choose one of l2, linf"):
        draw("norms", norm="l1")
    with pytest.raises(FigureError, match="x 'asinh': choose linear or log"):
        draw("positions", x="asinh")
    with pytest.raises(InputError, match="x must be a text"):
        draw("positions", x=3)


# --------------------------------------------------------------------------------------------
# Positions.


@pytest.mark.parametrize("view", ["rest", "all", "first"])
@pytest.mark.parametrize("sites", [SITES, [BLOCKS[2]]])
def test_the_norm_is_drawn_by_position_and_position_0_is_a_ring(
    view: str, sites: list[str]
) -> None:
    axes = draw("positions", view=view, sites=sites).axes[0]
    table, whole = (unlike().positions(v).sel(site=sites) for v in (view, "all"))
    held = table["tokens"].values > 0
    lines = by_gid(axes.lines)
    assert ("left_out" in " ".join(lines)) == (view == "rest")
    colours = PAGE.site_colours(sites)
    for site in sites:
        line, ring = lines[f"line:{site}"], lines[f"start:{site}"]
        same(line.get_xdata(), table["start"].values[held])
        same(line.get_ydata(), table["norm"].sel(site=site).values[held])
        same(ring.get_xydata(), [[0, whole["norm"].sel(site=site).values[0]]])
        assert {to_hex(x.get_color()) for x in (line, ring)} == {to_hex(colours[site])}
        if view == "rest":
            joined = lines[f"left_out:{site}"]
            same(joined.get_xdata(), [0, 1])
            same(joined.get_ydata(), [ring.get_ydata()[0], line.get_ydata()[0]])
    low, high = axes.get_ylim()
    rings = [lines[f"start:{site}"].get_ydata()[0] for site in sites]
    assert low < min(rings) <= max(rings) < high


@pytest.mark.parametrize(
    ("x", "scale"), [(None, "linear"), ("linear", "linear"), ("log", "symlog")]
)
def test_position_0_stands_inside_of_the_axis(x: str | None, scale: str) -> None:
    axes = draw("positions", x=x).axes[0]
    assert axes.get_xscale() == scale
    at, end = axes.transData.transform([(0, 1), (49, 1)])[:, 0]
    box = axes.get_window_extent()
    assert box.x0 + 0.02 * box.width < at < end < box.x1
    assert 0 in axes.get_xticks()
    if x == "log":
        assert axes.get_xticks().tolist() == [0, 1, 10]


def test_long_windows_have_a_logarithmic_axis_of_positions() -> None:
    x = np.random.default_rng(0).normal(size=(1, 300, 8)).astype(np.float32)
    figure = draw("positions", p=hs.from_states({"embed": x}))
    assert figure.axes[0].get_xscale() == "symlog"
    assert figure.axes[0].get_xticks().tolist() == [0, 1, 10, 100]
    assert "from position 64 on 8 points for each doubling" in head(figure)[2]


def test_the_claim_of_the_positions_is_read_off_the_table() -> None:
    table = unlike().positions().sel(site=SITES)
    later = np.median(table["norm"].values[:, 1:], axis=1)
    start = unlike().positions("all").sel(site=SITES)["norm"].values[:, 0]
    most = int(np.abs(np.log(start / later)).argmax())
    assert head(draw("positions"))[1] == (
        f"position 0: norm {number(start[most])} at {label(SITES[most])}, "
        f"{number(start[most] / later[most])} × the median of later positions"
    )
    assert "rings: position 0, left out of the curves" in head(draw("positions"))[2]
    assert "left out of the curves" not in head(draw("positions", view="all"))[2]
    assert head(draw("positions", view="first"))[1] == ""


def test_positions_need_a_token_that_is_finite_at_every_site() -> None:
    x = np.random.default_rng(0).normal(size=(1, 9, 8)).astype(np.float32)
    with pytest.warns(hs.HiddenscopeWarning):
        p = hs.from_states({"embed": x, "final_norm": np.full_like(x, np.nan)})
    with pytest.raises(FigureError, match="no token of the view 'all' is finite at every site"):
        draw("positions", p=p, view="all", sites="embed")


# --------------------------------------------------------------------------------------------
# Two views.

PAIRS = [(), ("first", "rest"), ("all", "massive")]


def pair(views: tuple[str, ...]) -> tuple[str, str]:
    return (views[0], views[1]) if views else ("rest", "first")


@pytest.mark.parametrize("views", PAIRS)
def test_histograms_of_both_views_have_the_same_bins(views: tuple[str, ...]) -> None:
    shown = [SITES[0], BLOCKS[2], BLOCKS[3], SITES[-1]]
    panels = draw("compare_views", *views).axes[:4]
    assert [a.get_title("left") for a in panels] == [label(s) for s in shown]
    for axes, site in zip(panels, shown, strict=True):
        steps = {p.get_gid(): p.get_data() for p in axes.patches}
        assert set(steps) == {f"{k}:{v}" for k in ("all", "many") for v in pair(views)}
        tables = [unlike().moments(v).loc[site] for v in pair(views)]
        low, high = min(t["min"] for t in tables), max(t["max"] for t in tables)
        assert axes.get_xlim() == (low, high)
        edges = [steps[f"all:{v}"].edges for v in pair(views)]
        np.testing.assert_array_equal(*edges)
        linear = min(density.linear_width(unlike().stream, v, [site]) for v in pair(views))
        for view in pair(views):
            table = density.densities(
                *(unlike().stream, axes.get_xscale(), 80, view, [site]),
                range=(low, high),
                linear=linear,
            )
            np.testing.assert_array_equal(table["left"], edges[0][:-1])
            held = unlike().moments(view).loc[site, "tokens"] * CHANNELS
            assert table["count"].sum() == held
            values = np.nan_to_num(steps[f"all:{view}"].values)
            np.testing.assert_array_equal(values, table["density"])
            strong = np.isfinite(steps[f"many:{view}"].values)
            np.testing.assert_array_equal(strong, table["count"] >= 10)
    scales = [a.get_xscale() for a in panels]
    assert scales[1] == "asinh"
    assert scales[0] == "linear"
    assert {a.get_yscale() for a in panels} == {"log"}
    assert {a.get_yscale() for a in draw("compare_views", *views, log=False).axes[:4]} == {"linear"}


@pytest.mark.parametrize("views", PAIRS)
def test_norms_of_both_views_are_a_line_and_a_band_each(views: tuple[str, ...]) -> None:
    axes = draw("compare_views", *views).axes[4]
    colours = dict(zip(pair(views), (PAGE.points, "#000000"), strict=True))
    if views == ("first", "rest"):
        colours = {"first": "#000000", "rest": PAGE.points}
    for view in pair(views):
        table = unlike().norms(q=[0.01, 0.5, 0.99], view=view).loc[SITES]
        same(curve(axes, f"median:{view}"), table["q0.5"])
        drawn = [c for c in axes.collections if c.get_gid() == f"band:{view}"]
        for fill, run in zip(drawn, WHERE.runs, strict=True):
            y = fill.get_paths()[0].vertices[:, 1]
            assert y.min() == table["q0.01"].iloc[run].min()
            assert y.max() == table["q0.99"].iloc[run].max()
        lines = [line for line in axes.lines if line.get_gid() == f"median:{view}"]
        assert {to_hex(line.get_color()) for line in lines} == {to_hex(colours[view])}
    assert axes.get_yscale() == "log"
    legend = axes.get_legend()
    names = [t.get_text() for t in legend.get_texts()]
    held = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert dict(zip(names, held, strict=True)) == {k: to_hex(c) for k, c in colours.items()}


@pytest.mark.parametrize("views", PAIRS)
def test_means_of_the_loud_channels_stand_side_by_side(views: tuple[str, ...]) -> None:
    figure = draw("compare_views", *views)
    panels = figure.axes[5:]
    assert [a.get_title("left") for a in panels] == [f"channel means, {v}" for v in pair(views)]
    loud = sorted({c for v in pair(views) for c in unlike().loudest(v, 3, "pooled").index})
    assert LOUD in loud
    fixed = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    for view, axes in zip(pair(views), panels, strict=True):
        drawn = {line.get_gid(): line for line in axes.lines if line.get_gid()}
        assert list(drawn) == [f"channel:{c}" for c in loud]
        table = unlike().channels(view=view)["mean"].unstack()
        for channel in loud:
            same(curve(axes, f"channel:{channel}"), table.loc[SITES, channel])
            if channel in fixed:
                colour = to_hex(drawn[f"channel:{channel}"].get_color())
                assert colour == to_hex(fixed[channel])
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert [t.get_text() for t in panels[0].get_legend().get_texts()] == [str(c) for c in loud]
    chosen = draw("compare_views", *views, channels=[3, 1]).axes[5]
    assert [x.get_gid() for x in chosen.lines if x.get_gid()][:: len(WHERE.runs)] == [
        "channel:1",
        "channel:3",
    ]


def test_the_claim_about_two_views_is_read_off_the_tables() -> None:
    views = ("first", "rest")
    first, rest = (unlike().norms(q=0.5, view=v).loc[SITES, "q0.5"] for v in views)
    site = str(np.abs(np.log(first / rest)).idxmax())
    means = [unlike().channels(site, v)["mean"] for v in views]
    channel = (means[0] - means[1]).abs().idxmax()
    title, claim, caption = head(draw("compare_views", *views))
    assert title == "The views first and rest, unlike"
    assert claim == (
        f"farthest apart at {label(site)}: median norm {number(first[site])} in first against "
        f"{number(rest[site])} in rest, mean of channel {channel}: {number(means[0][channel])} "
        f"against {number(means[1][channel])}"
    )
    for view in views:
        assert f"{view}: {unlike().caption(view)}" in caption


def test_sites_of_the_trunk_are_those_of_the_histograms_alone() -> None:
    figure = draw("compare_views", sites=BLOCKS[1])
    assert len(figure.axes) == 4
    assert len(curve(figure.axes[1], "median:rest")) == len(SITES)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 30, 8))
    p = hs.from_states(
        {f"block.{i}.{k}": x * (i + 1) for i in (0, 1) for k in ("attn_out", "resid_post")}
    )
    inside = draw("compare_views", p=p, sites="block.*.attn_out")
    same(curve(inside.axes[2], "median:rest"), p.norms(q=0.5)["q0.5"].iloc[[0, 2]])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_histograms_fill_their_rows(n: int) -> None:
    figure = draw("compare_views", sites=SITES[:n])
    assert len(figure.axes) == n + 3
    figure.draw_without_rendering()
    top = [a.get_position() for a in figure.axes[: min(n, 4)]]
    assert len({round(box.y0, 3) for box in top}) == 1
    assert top[-1].x1 > 0.95
    last = figure.axes[n - 1].get_position()
    assert all(a.get_position().y1 < last.y0 for a in figure.axes[n:])


def test_values_beyond_a_range_of_two_views_are_counted() -> None:
    site = BLOCKS[2]
    figure = draw("compare_views", sites=site, range=(-5, 5))
    assert figure.axes[0].get_xlim() == (-5, 5)
    beyond = 0
    for view in ("rest", "first"):
        table = density.densities(unlike().stream, "linear", 80, view, [site], range=(-5, 5))
        whole = unlike().moments(view).loc[site, "tokens"] * CHANNELS
        beyond += int(whole - table["count"].sum())
    assert beyond > 100
    assert f"{beyond:,} values beyond the range" in head(figure)[2]
    assert "beyond" not in head(draw("compare_views", sites=site))[2]


def test_a_view_whose_states_do_not_vary_has_no_curve() -> None:
    x = np.random.default_rng(0).normal(size=(3, 20, 8)).astype(np.float32)
    x[:, 0] = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        p = hs.from_states({"embed": x, "block.0.resid_post": np.full_like(x, 2)})
    figure = draw("compare_views", "first", "rest", p=p)
    figure.draw_without_rendering()
    drawn = [{str(patch.get_gid()) for patch in axes.patches} for axes in figure.axes[:2]]
    assert drawn == [{"all:rest", "many:rest"}, set()]


@pytest.mark.parametrize(
    ("views", "error", "says"),
    [
        (("rest", "rest"), FigureError, "'rest' and 'rest' hold the same tokens"),
        (("rest", "all-first"), FigureError, "hold the same tokens"),
        (("first", "nobody"), ViewError, "unknown view 'nobody'"),
        (("nobody",), ViewError, "unknown view 'nobody'"),
        (("first", "special"), FigureError, "'special' holds no tokens"),
        (("first", 3), InputError, "view must be a text"),
    ],
)
def test_views_that_cannot_be_compared_are_refused(
    views: tuple[Any, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        draw("compare_views", *views)


def test_the_other_view_is_the_first_tokens_or_what_they_are_set_against() -> None:
    for views, expected in ((("first",), "rest"), (("rest",), "first"), (("all",), "first")):
        prepared = figures.prepare("compare_views", unlike().stream, *views)
        assert prepared.views == (*views, expected)
    assert figures.prepare("compare_views", unlike().stream, against="massive").views == (
        "rest",
        "massive",
    )


def test_a_profile_without_first_tokens_has_no_such_figure_and_says_why(tmp_path: Path) -> None:
    from hiddenscope.cli.plot import draw_all

    p = without_first()
    with pytest.raises(FigureError, match="'first' holds no tokens"):
        draw("compare_views", p=p)
    drawn, refused = draw_all(p.stream, tmp_path, {"view": "rest"})
    assert {path.stem for path in drawn} == {*figures.KINDS} - {"compare_views"}
    (words,) = refused
    assert words.startswith("no figure compare_views: the view 'first' holds no tokens")


def test_colours_of_channels_that_have_none_are_those_left_over() -> None:
    channels = [LOUD, *(c for c in range(9) if c != LOUD)]
    axes = draw("compare_views", channels=channels).axes[5]
    colours = {x.get_gid(): to_hex(x.get_color()) for x in axes.lines if x.get_gid()}
    assert len(colours) == 9
    fixed = PAGE.channel_colours(analysis.outstanding_channels(unlike().stream))
    assert colours[f"channel:{LOUD}"] == to_hex(fixed[LOUD])
    free = [to_hex(c) for k, c in fixed.items() if k not in channels]
    others = [colours[f"channel:{c}"] for c in sorted(channels) if c not in fixed]
    with styled():
        grey = [to_hex(PAGE.muted)] * 9
    assert others == [*free, *grey][: len(others)]
    assert grey[0] in others


def test_what_they_show_is_prepared_without_matplotlib_and_torch(tmp_path: Path) -> None:
    path = unlike().save(tmp_path / "p.nc")
    code = f"""
import sys
import hiddenscope as hs
from hiddenscope import figures
p = hs.open({str(path)!r})
for kind in ("norms", "positions", "compare_views"):
    assert figures.prepare(kind, p.stream).claim
assert not {{"matplotlib", "torch"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_few_channels_of_either_view_are_loud() -> None:
    assert compare_views.LOUDEST == 3
    prepared = figures.prepare("compare_views", unlike().stream)
    assert 3 <= len(prepared.means[0].columns) <= 6
