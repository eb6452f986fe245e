"""What a user may choose of every figure: where it is drawn, its size, words and colours."""

from __future__ import annotations

import inspect
import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from known import SIX_BLOCKS as BLOCKS
from known import six_blocks as profile
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

import hiddenscope as hs
from hiddenscope import figures
from hiddenscope.errors import FigureError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PANELS = {
    "histogram": 1,
    "ridge": 1,
    "depth": 1,
    "covariance": 1,
    "r2": 3,
    "wing": 2,
    "outliers": 2,
    "scatter": 8,
    "norms": 1,
    "positions": 1,
    "compare_views": 7,
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def draw(kind: str, **options: Any) -> Figure:
    figure: Figure = getattr(profile().plot, kind)(**options)
    return figure


def said(figure: Figure) -> list[str]:
    return [t.get_text().replace("\n", " ") for t in figure.texts]


def test_every_kind_is_looked_at() -> None:
    assert tuple(sorted(PANELS)) == tuple(sorted(figures.KINDS))


@pytest.mark.parametrize("kind", PANELS)
class TestPlace:
    def test_a_size_is_that_of_the_page(self, kind: str) -> None:
        figure = draw(kind, figsize=(9, 7))
        assert figure.get_size_inches().tolist() == [9, 7]
        figure.draw_without_rendering()
        page = figure.bbox
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box.x0 >= page.x0 - 1
            assert box.x1 <= page.x1 + 1
            assert box.y0 >= page.y0 - 1

    def test_on_a_small_page_words_give_way(self, kind: str) -> None:
        whole = said(draw(kind, figsize=(7, 6)))
        small = said(draw(kind, figsize=(3.2, 1.4)))
        assert len(whole) == 3
        assert len(small) == 1
        assert whole[0].startswith(small[0][:12])
        assert said(draw(kind, figsize=(3.2, 1.4), title=None, caption=None)) == []

    def test_it_is_drawn_on_the_axes_of_the_user(self, kind: str) -> None:
        own = plt.figure(figsize=(12, 8), layout="constrained")
        many = PANELS[kind]
        axes = list(np.ravel(own.subplots(2, -(-many // 2))))[:many]
        options = {"ax": axes[0]} if many == 1 else {"fig": axes}
        usual = draw(kind)
        assert draw(kind, title="Mine", **options) is own
        if many == 1:
            assert axes[0].get_title(loc="left") == "Mine"
        for mine, other in zip(axes, usual.axes, strict=False):
            drawn = (len(mine.lines), len(mine.patches), len(mine.collections))
            assert drawn == (len(other.lines), len(other.patches), len(other.collections))
            assert sum(drawn)
        assert own.get_suptitle() == ""
        assert not own.texts
        with pytest.raises(FigureError, match=f"got {many + 1} Axes"):
            draw(kind, fig=[*axes, axes[0]])

    def test_it_is_drawn_into_a_part_of_a_figure(self, kind: str) -> None:
        own = plt.figure(figsize=(14, 6), layout="constrained")
        left, right = own.subfigures(1, 2)
        assert draw(kind, fig=left) is left
        assert draw(kind, fig=right, title=None, caption=None) is right
        assert len(left.axes) == len(right.axes) >= PANELS[kind]
        assert "made up" in left.get_suptitle()
        assert "tokens" in left.get_supxlabel()
        assert right.get_suptitle() == right.get_supxlabel() == ""
        own.draw_without_rendering()

    def test_words_can_be_changed_left_out_and_edited(self, kind: str) -> None:
        title, *_, caption = said(draw(kind))
        assert title.endswith("made up")
        assert "tokens" in caption
        assert said(draw(kind, title="Mine", caption="Below"))[:: len(said(draw(kind))) - 1] == [
            "Mine",
            "Below",
        ]
        bare = draw(kind, title=None, caption=None)
        assert said(bare) == []
        assert draw(kind).get_figheight() > bare.get_figheight()
        figure = draw(kind)
        figure.suptitle("Edited")
        assert said(figure)[0] == "Edited"
        assert title not in said(figure)

    def test_a_dark_style_is_respected(self, kind: str) -> None:
        before = dict(mpl.rcParams)
        with plt.style.context("dark_background"):
            figure = draw(kind)
        assert dict(mpl.rcParams) == before
        assert to_hex(figure.get_facecolor()) == "#000000"
        colours = {to_hex(t.get_color()) for t in figure.texts}
        assert "#ffffff" in colours
        assert all(sum(mpl.colors.to_rgb(c)) > 1.5 for c in colours)
        for axes in figure.axes:
            assert to_hex(axes.xaxis.label.get_color()) == "#ffffff"

    def test_what_cannot_be_drawn_on_is_refused(self, kind: str) -> None:
        own = plt.figure()
        for options, says in (
            ({"ax": 3}, "ax must be Axes"),
            ({"fig": [3]}, "fig must be a Figure"),
            ({"ax": own.add_subplot(), "fig": own}, "either ax or fig"),
            ({"figsize": (3, -1)}, "width, height"),
            ({"figsize": 4}, "width, height"),
            ({"figsize": (4, 4), "fig": own}, "figsize is that of a new figure"),
            ({"cmap": "no such map"}, "no colour map 'no such map'"),
            ({"title": 3}, "title must be a text"),
            ({"cmap": 5}, "cmap must be a colour map"),
            ({"ax": plt.figure().add_subplot(projection="polar")}, "straight axes"),
            ({"highlight": ["red", "no colour"]}, "'no colour' in highlight"),
            ({"colour": "red"}, "no option 'colour'"),
        ):
            with pytest.raises(FigureError, match=says):
                draw(kind, **options)

    def test_its_signature_and_help_name_every_option(self, kind: str) -> None:
        method = getattr(profile().plot, kind)
        assert tuple(inspect.signature(method).parameters) == figures.options(kind)
        text = inspect.getdoc(method)
        assert text is not None
        assert text.startswith(figures.summary(kind))
        for option in figures.options(kind):
            assert f"\n{option} : " in text or f"{option} : " in text or f"{option}, " in text
        assert "tree" not in text
        assert f"p.plot.{kind}(" in text
        listed = repr(profile().plot)
        assert f"{kind}: {figures.summary(kind)}" in listed
        for option in figures.options(kind):
            assert option in listed


def test_fonts_and_sizes_of_the_user_win() -> None:
    with mpl.rc_context({"font.family": ["DejaVu Serif"], "axes.labelsize": 11}):
        axes = draw("depth").axes[0]
    assert axes.xaxis.label.get_fontsize() == 11
    assert axes.xaxis.label.get_fontfamily() == ["DejaVu Serif"]


def test_options_of_other_kinds_are_refused_or_understood() -> None:
    with pytest.raises(InputError, match="x must be a text"):
        draw("histogram", x=[1, 2])
    for kind in ("covariance", "r2"):
        draw(kind, without=3)
        with pytest.raises(InputError, match="without must be"):
            draw(kind, without="three")
    with pytest.raises(FigureError, match="no option 'figsize'"):
        figures.prepare("depth", profile().stream, figsize=(3, 3))
    draw("histogram", highlight=np.array(["red", "blue"]))


def test_states_that_are_never_finite_are_said_to_be_so() -> None:
    states = np.full((1, 9, 8), np.nan, np.float32)
    whole = np.random.default_rng(0).normal(size=states.shape).astype(np.float32)
    with pytest.warns(hs.HiddenscopeWarning):
        p = hs.from_states({"embed": whole, "final_norm": states})
    for kind in ("covariance", "r2", "wing"):
        with pytest.raises(FigureError, match="no token of the view 'all' is finite at every site"):
            getattr(p.plot, kind)(view="all")
    with pytest.raises(FigureError, match="no token of the view 'all' has a state here"):
        p.plot.depth(view="all", sites="final_norm")


def test_a_figure_that_is_cut_to_what_is_drawn_keeps_its_words() -> None:
    figure = draw("covariance", figsize=(6, 5))
    for dpi in (100, 200):
        buffer = io.BytesIO()
        # What a notebook does once pyplot was used in it.
        figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0, dpi=dpi)
        with Image.open(buffer) as picture:
            assert picture.size == (6 * dpi, 5 * dpi)
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.size == (1200, 1000)


def test_numbers_of_channels_stand_between_the_map_and_its_title_at_any_size() -> None:
    for figsize in (None, (9, 6), (12, 10)):
        figure = draw("outliers", figsize=figsize)
        figure.draw_without_rendering()
        axes = figure.axes[1]
        title = axes._left_title.get_window_extent()
        numbers = [t.get_window_extent() for t in axes.texts if t.get_text().isdigit()]
        assert numbers
        assert all(axes.bbox.y1 < box.y1 < title.y0 for box in numbers), figsize


def test_uneven_bins_are_drawn_by_density() -> None:
    tree = profile().stream
    assert figures.prepare("histogram", tree, range=(-1, 1), bins=20).y == "share"
    uneven = figures.prepare("histogram", tree, range=(-8, 8), bins=200)
    widths = (uneven.table["right"] - uneven.table["left"]).unique()
    assert uneven.y == "density"
    assert widths.max() > 1.1 * widths.min()
    assert draw("histogram", range=(-8, 8)).axes[0].get_ylabel().startswith("density per unit")


def test_colours() -> None:
    curves = {p.get_gid(): to_hex(p.get_edgecolor()) for p in draw("histogram").axes[0].patches}
    chosen = draw("histogram", cmap="viridis", highlight=["red", "lime", "blue", "magenta"])
    mine = {p.get_gid(): to_hex(p.get_edgecolor()) for p in chosen.axes[0].patches}
    viridis = mpl.colormaps["viridis"]
    for i, site in enumerate(BLOCKS):
        assert mine[f"many:{site}"] == to_hex(viridis(i / 5)) != curves[f"many:{site}"]
    assert mine["many:embed"] == "#ff0000"
    assert mine["many:final_norm"] == "#ff00ff"
    one = {p.get_gid(): p for p in draw("histogram", highlight="red").axes[0].patches}
    assert to_hex(one["many:embed"].get_edgecolor()) == "#ff0000"
    assert draw("r2", cmap="Greys").axes[0].collections[0].get_cmap().name == "Greys"
    assert draw("covariance", cmap="PuOr").axes[0].collections[0].get_cmap().name == "PuOr"
    numbers = [t for t in draw("outliers", highlight=["lime"]).axes[1].texts if t.get_text() == "7"]
    assert [t.get_color() for t in numbers] == ["lime"]


def test_ranges() -> None:
    assert draw("histogram", range=(-3, 2)).axes[0].get_xlim() == (-3, 2)
    assert draw("ridge", range=(-3, 2)).axes[0].get_xlim() == (-3, 2)
    assert draw("depth", range=(-3, 2)).axes[0].get_ylim() == (-3, 2)
    assert draw("outliers", range=(1, 20)).axes[0].get_ylim() == (1, 20)
    assert draw("wing", range=(0.5, 1)).axes[0].get_ylim() == pytest.approx((0.485, 1.015))
    for axes in draw("scatter", range=(-3, 2)).axes[:8]:
        assert axes.get_ylim() == (-3, 2)
    assert draw("r2", range=(0.2, 0.9)).axes[0].collections[0].get_clim() == (0.2, 0.9)
    assert draw("covariance", range=(-4, 3)).axes[0].collections[0].get_clim() == (-4, 4)
    for kind in PANELS:
        for wrong in ((2, 1), (1, float("nan")), (1, 2, 3), 4):
            with pytest.raises(InputError, match="range must be two finite numbers"):
                draw(kind, range=wrong)
    with pytest.raises(FigureError, match="begins above 0"):
        draw("outliers", range=(-1, 5))
    assert draw("outliers", range=(-1, 5), log=False).axes[0].get_ylim() == (-1, 5)


def test_a_range_of_the_histogram_counts_what_lies_beyond() -> None:
    axes = draw("histogram", range=(-1, 1)).axes[0]
    values = profile().sample("rest")["state"].values
    beyond = axes.texts[1].get_text()
    assert int(beyond.split()[0].replace(",", "")) > 1000
    assert "1 in 10,000" not in said(draw("histogram", range=(-1, 1)))[-1]
    assert values.size


def test_axes_that_are_not_logarithmic() -> None:
    for kind in ("histogram", "outliers"):
        for log, scale in ((True, "log"), (False, "linear")):
            axes = draw(kind, log=log).axes[0]
            assert axes.get_yscale() == scale
            assert ("(log)" in axes.get_ylabel()) == log


def test_channels_of_the_user_are_numbered() -> None:
    for panel in draw("scatter", channels=[3, 40]).axes[1:8:2]:
        assert sorted(t.get_text() for t in panel.texts) == ["3", "40"]
    assert [t.get_text() for t in draw("outliers", channels=[3, 40]).axes[1].texts] == ["3", "40"]
    for kind in ("scatter", "outliers"):
        with pytest.raises(InputError, match="channels names channel 48"):
            draw(kind, channels=[48])


def test_the_scatter_shows_any_number_of_sites() -> None:
    figure = draw("scatter", sites="all")
    titles = [a.get_title(loc="left") for a in figure.axes[:16]]
    assert titles[::2] == titles[1::2] == ["embed", *(f"block {i}" for i in range(6)), "final norm"]
    figure.draw_without_rendering()
    rows = {round(a.get_position().y0, 2) for a in figure.axes[:16]}
    assert len(rows) == 4
    short = hs.from_states({site: np.eye(8)[None] * (i + 1) for i, site in enumerate(BLOCKS)})
    points = short.plot.scatter(sites="all")
    labelled = [a for a in points.axes[::2] if a.xaxis.get_tick_params()["labelbottom"]]
    assert labelled == [points.axes[10]]
