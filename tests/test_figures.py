"""Figures: what they draw, how they lie on the page, and what they refuse."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import TEXT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from tiny import DEMO
from transformers import AutoTokenizer

import hiddenscope as hs
from hiddenscope import analysis, figures
from hiddenscope.analysis import density
from hiddenscope.errors import FigureError, OutputError, SiteError, ViewError
from hiddenscope.figures import depth
from hiddenscope.figures.look import Look
from hiddenscope.figures.matplotlib import depth as drawn_depth
from hiddenscope.figures.matplotlib.style import styled
from hiddenscope.figures.matplotlib.theme import HIGHLIGHT

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from hiddenscope.profiles import Profile

MM = 25.4


def made_up(
    n_blocks: int,
    *,
    channels: int = 24,
    nan: bool = False,
    norm: bool = True,
    ids: np.ndarray | None = None,
    bf16: bool = False,
) -> Profile:
    rng = np.random.default_rng(0)
    shape = (3, 40) if ids is None else ids.shape
    x = rng.normal(size=(*shape, channels)).astype(np.float32)
    states = {"embed": x.copy()}
    for i in range(n_blocks):
        x = x + rng.normal(size=x.shape).astype(np.float32) / (i + 1)
        x[..., 5] += 1
        states[f"block.{i}.resid_post"] = x.copy()
    if norm:
        states["final_norm"] = x / x.std()
    if nan:
        states["block.1.resid_post"][0, 3, 2] = np.nan
    given = {s: torch.from_numpy(v).bfloat16() for s, v in states.items()} if bf16 else states
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        return hs.from_states(
            given, input_ids=ids, tokenizer=None if ids is None else _tokenizer(), name="made up"
        )


@functools.cache
def _tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(DEMO)


def ids_of(text: str, rows: int, length: int) -> np.ndarray:
    return np.resize(_tokenizer()(text)["input_ids"], (rows, length))


@pytest.fixture(scope="module")
def spoken() -> Profile:
    """Eight blocks on tokens that have a text, with values beyond the range of a histogram."""
    return made_up(8, channels=96, ids=ids_of(TEXT, 4, 64))


def real_looking() -> Profile:
    """States as of a real model: sites of very different width, massive activations."""
    rng = np.random.default_rng(5)
    blocks = {}
    for i in range(12):
        x = rng.normal(size=(8, 120, 48)).astype(np.float32) * 2.0 ** (i - 2)
        x[:, 0, 7] = 3e4 if 4 <= i < 10 else 200
        x[3, 1, 9] = -2e4 if 4 <= i < 10 else 100
        blocks[f"block.{i}.resid_post"] = x
    embed = rng.normal(size=(8, 120, 48)).astype(np.float32) * 0.05
    return hs.from_states({"embed": embed, **blocks}, name="real", sample_mib=0.2)


@pytest.fixture(scope="module")
def real() -> Profile:
    return real_looking()


@pytest.fixture(scope="module")
def profiles(spoken: Profile, real: Profile) -> dict[str, Profile]:
    return {
        "spoken": spoken,
        "short": made_up(8, channels=64, ids=ids_of(TEXT, 1, 26)),
        "one site": hs.from_states(
            {"block.3.resid_post": np.random.default_rng(3).normal(size=(2, 40, 24))}
        ),
        # So many sites that the rows of a ridge are as low as they may be.
        "deep": made_up(66, channels=16),
        "no final norm": made_up(3, norm=False),
        "NaN": made_up(3, nan=True),
        "bf16": made_up(4, bf16=True),
        "real": real,
    }


class Drawings:
    """Figures of these profiles, each drawn once for all the tests that look at it."""

    def __init__(self, profiles: dict[str, Profile]) -> None:
        self.profiles = profiles
        self._held: dict[tuple[str, str, str], Figure] = {}

    def __call__(self, case: str, kind: str, view: str = "rest") -> Figure:
        key = (case, kind, view)
        if key not in self._held:
            self._held[key] = getattr(self.profiles[case].plot, kind)(view=view)
        return self._held[key]


@pytest.fixture(scope="module")
def drawings(profiles: dict[str, Profile]) -> Drawings:
    return Drawings(profiles)


def texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def assert_laid_out(figure: Figure) -> None:
    """The width is that of one or two columns, and the words have their room."""
    width = figure.get_figwidth() * MM
    assert min(abs(width - 80), abs(width - 175)) < 1e-6, width
    assert_words_have_room(figure)


def assert_words_have_room(figure: Figure) -> None:
    """Nothing is smaller than 5 pt, nothing is cut, no two texts overlap."""
    figure.dpi = 300
    canvas = FigureCanvasAgg(figure)
    with styled():
        # Lays out and measures at 300 dpi as a drawing does; no pixel is painted.
        figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    page = figure.bbox
    left_over = _left_over(figure)
    level, boxes = [], []
    for text in texts(figure):
        box = text.get_window_extent(renderer)
        if box.width == 0 or text in left_over:
            continue
        assert text.get_fontsize() >= 5, text
        assert box.x0 >= page.x0 - 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y1 <= page.y1 + 1, text
        if not text.get_rotation():
            level.append(text)
            boxes.append(box.extents)
    x0, y0, x1, y1 = np.array(boxes).T
    wide = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    high = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    lower = np.minimum((y1 - y0)[:, None], y1 - y0)
    overlap = np.argwhere(np.triu((wide > 1.5) & (high > 0.35 * lower), 1))
    assert not len(overlap), [(level[i], level[j]) for i, j in overlap]


def _left_over(figure: Figure) -> set[Text]:
    """Labels of ticks beyond the view, which Matplotlib keeps and does not draw."""
    kept, shown = set(), set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for found, ticks in (
                (kept, axis.majorTicks + axis.minorTicks),
                (shown, axis._update_ticks()),
            ):
                found.update(label for tick in ticks for label in (tick.label1, tick.label2))
    return kept - shown


@pytest.mark.parametrize("case", ["spoken", "real"])
def test_words_have_room_in_figures_of_other_sizes(case: str, profiles: dict[str, Profile]) -> None:
    plot = profiles[case].plot
    for kind, size in (("r2", (6, 3)), ("wing", (5, 4)), ("outliers", (5, 4)), ("wing", (9, 3))):
        assert_words_have_room(getattr(plot, kind)(figsize=size))
    whole = Figure(figsize=(10, 4), layout="constrained")
    left, right = whole.subfigures(1, 2)
    plot.wing(fig=left)
    plot.outliers(fig=right)
    assert_words_have_room(whole)


def test_a_title_set_afterwards_takes_the_place_of_the_figures_own(profiles: dict) -> None:
    figure = profiles["real"].plot.depth()
    (own,) = (t for t in texts(figure) if t.get_text() == figure.get_suptitle())
    before = own.get_position(), own.get_fontsize(), own.get_weight()
    assert figure.suptitle("Mine") is own
    assert (own.get_position(), own.get_fontsize(), own.get_weight()) == before
    assert_words_have_room(figure)
    figure.suptitle("Longer than the page is wide, " * 3)
    assert own.get_fontsize() < before[1]
    assert own.get_window_extent().x1 <= figure.bbox.x1
    figure.suptitle("Mine", fontsize=11, x=0.2)
    assert (own.get_position()[0], own.get_fontsize()) == (0.2, 11)


# One site has no pairs.
IMPOSSIBLE = {("one site", "wing")}
# What is drawn in the same words at the same places as in another case is left out.
DISTRIBUTIONS = ("histogram", "ridge", "depth")
LAYOUTS = {
    ("spoken", "rest"): figures.KINDS,
    ("spoken", "first"): ("scatter", "outliers", *DISTRIBUTIONS),
    ("short", "rest"): ("scatter", "outliers", *DISTRIBUTIONS),
    ("short", "all"): ("scatter",),
    ("one site", "rest"): figures.KINDS,
    ("deep", "rest"): figures.KINDS,
    ("no final norm", "rest"): figures.KINDS,
    ("NaN", "all"): figures.KINDS,
    ("bf16", "rest"): DISTRIBUTIONS,
    ("real", "rest"): figures.KINDS,
    ("real", "first"): ("covariance", "scatter", "outliers", *DISTRIBUTIONS),
    ("real", "all"): ("scatter", "outliers", *DISTRIBUTIONS),
}


@pytest.mark.parametrize(
    ("case", "view", "kind"), [(*case, kind) for case, kinds in LAYOUTS.items() for kind in kinds]
)
def test_every_figure_is_laid_out_for_every_profile(
    drawings: Drawings, case: str, kind: str, view: str
) -> None:
    if (case, kind) in IMPOSSIBLE:
        with pytest.raises(FigureError):
            drawings(case, kind, view)
        return
    figure = drawings(case, kind, view)
    assert_laid_out(figure)
    said = " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")
    name = drawings.profiles[case].manifest["model"]["name"]
    assert name in said
    assert "tokens" in said


@pytest.mark.parametrize(
    ("x", "bins", "y"),
    [("linear", 6, "share"), ("linear", 60, "density"), ("asinh", 60, "density")],
)
def test_the_histogram_draws_the_tables_counts(spoken: Profile, x: str, bins: int, y: str) -> None:
    (axes, *_) = spoken.plot.histogram(bins=bins, x=x).axes
    table = density.densities(spoken.stream, x, bins)
    table["share"] = table["count"] / table["site"].map(table.attrs["sites"]["total"])
    artists = {p.get_gid(): p.get_data() for p in axes.patches if p.get_gid()}
    for site in spoken.sites:
        part = table[table["site"] == site]
        values, edges, _ = artists[f"all:{site}"]
        np.testing.assert_array_equal(np.nan_to_num(values), part[y])
        np.testing.assert_array_equal(edges[:-1], part["left"])
        strong, _, _ = artists[f"many:{site}"]
        np.testing.assert_array_equal(np.isfinite(strong), part["count"] >= 10)
    assert axes.get_yscale() == "log"
    assert axes.get_xscale() == x
    assert axes.get_xlim() == (table.attrs["low"], table.attrs["high"])
    said = " ".join(t.get_text() for t in axes.texts)
    below, above = (int(table.attrs["sites"][k].sum()) for k in ("below", "above"))
    assert below
    assert above
    assert f"{below:,} values beyond" in said
    assert f"{above:,} values beyond" in said


def test_a_few_values_do_not_squeeze_the_others(drawings: Drawings, real: Profile) -> None:
    axes = drawings("real", "histogram").axes[0]
    assert axes.get_xscale() == "asinh"
    assert max(np.abs(axes.get_xlim())) < 6000
    ridge = drawings("real", "ridge")
    assert max(np.abs(ridge.axes[0].get_xlim())) < 100
    said = " ".join(t.get_text() for t in texts(ridge)).replace("\n", " ")
    assert "of the variance of block" in said
    assert "s of the site" in said
    scatter = real.plot.scatter(sites="block.5.resid_post")
    assert [a.get_yscale() for a in scatter.axes[:2]] == ["asinh", "asinh"]
    # The covariance of few sites has room for signs.
    three = real.plot.covariance(sites="embed,block.0.resid_post,block.1.resid_post")
    table = real.covariance().values[:3, :3]
    written = [t.get_text() for t in three.axes[0].texts]
    assert [t.startswith("−") for t in written] == (table < -0.005).ravel().tolist()


def test_the_scatter_draws_every_outermost_value(real: Profile) -> None:
    site = "block.5.resid_post"
    for view in ("rest", "first"):
        top, bottom = real.plot.scatter(sites=site, view=view).axes[:2]
        table = real.extremes(view, site).head(64)
        for axes, column in ((bottom, "channel"), (top, "position")):
            rings = [c for c in axes.collections if c.get_gid() == "extremes"]
            if not rings:
                assert (view, column) == ("first", "position")
                continue
            expected = table[[column, "value"]].to_numpy(np.float64)
            np.testing.assert_allclose(np.asarray(rings[0].get_offsets()), expected)
    outer = real.channels(site)
    bottom = real.plot.scatter(sites=site).axes[1]
    lines = {p.get_gid(): p.get_data() for p in bottom.patches if p.get_gid()}
    np.testing.assert_array_equal(lines["outer:max"].values, outer["max"])
    np.testing.assert_array_equal(lines["outer:min"].values, outer["min"])
    top = real.plot.scatter(sites=site).axes[0]
    lines = {p.get_gid(): p.get_data() for p in top.patches if p.get_gid()}
    table = real.positions().sel(site=site)
    np.testing.assert_array_equal(lines["band:1"].values, table["mean"] + table["std"])
    np.testing.assert_array_equal(lines["band:-1"].values, table["mean"] - table["std"])


def test_a_channel_keeps_its_colour_in_every_figure(drawings: Drawings, real: Profile) -> None:
    loud = analysis.outstanding_channels(real.stream)
    colours = dict(zip(loud, HIGHLIGHT, strict=False))
    assert list(colours)[:2] == [7, 9]
    found = []
    for figure in (
        drawings("real", "outliers"),
        drawings("real", "scatter"),
        drawings("real", "scatter", "first"),
    ):
        for text in texts(figure):
            if text.get_text() == "9" and text.get_weight() == "bold":
                found.append(text.get_color())
    assert len(found) >= 2
    assert set(found) == {colours[9]}


def test_the_last_block_has_a_tick_and_light_tails_are_not_called_heavy(
    drawings: Drawings,
) -> None:
    deep = drawings.profiles["deep"]
    last = str(max(int(s.split(".")[1]) for s in deep.sites if "." in s))
    bar = drawings("deep", "depth").axes[0].collections[0].get_paths()[0].vertices[:, 0]
    # So many sites would make the bars of `embed` and `final_norm` thin lines.
    np.testing.assert_allclose((bar.min(), bar.max()), (-0.35 * 0.035 * 68, 0.35 * 0.035 * 68))
    # Rows as low as they may be, of which every second has room for its words.
    ridge = drawings("deep", "ridge")
    lines = sum(t.get_fontsize() * (t.get_text().count("\n") + 1) for t in ridge.texts)
    lines *= 1.3 / 72 * MM
    assert ridge.get_figheight() * MM - lines - 5 == pytest.approx(2.3 * 68.5 + 12)
    widths = [t.get_position()[1] for t in ridge.axes[0].texts]
    assert widths == [0, *np.arange(1.25, 67, 2), 67.5]
    for kind in ("depth", "wing", "outliers"):
        figure = drawings("deep", kind)
        assert last in {t.get_text() for t in figure.axes[0].get_xticklabels()}
    x = np.random.default_rng(0).uniform(-1, 1, size=(1, 200, 8)).astype(np.float32)
    light = hs.from_states({"embed": x, "block.0.resid_post": 2 * x})
    said = " ".join(t.get_text() for t in texts(light.plot.ridge())).replace("\n", " ")
    assert "no site has clearly heavier tails than a normal" in said


def test_matrices_zoom_in_where_all_values_are_near_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 300, 8)).astype(np.float32)
    sites = {f"block.{i}.resid_post": x + 0.05 * i * rng.normal(size=x.shape) for i in range(4)}
    near = hs.from_states(sites, causal=False)
    lowest = float(near.r2().min())
    assert lowest > 0.9
    for kind in ("r2", "wing"):
        figure = getattr(near.plot, kind)()
        axes = figure.axes[0]
        low = axes.collections[0].norm.vmin if kind == "r2" else axes.get_ylim()[0]
        assert 0.8 < low <= lowest


@pytest.mark.parametrize("view", ["rest", "first"])
def test_the_outliers_draw_magnitudes_of_the_view_beside_the_median_of_the_site(
    drawings: Drawings, real: Profile, view: str
) -> None:
    figure = drawings("real", "outliers", view)
    lines: dict[str, list[float]] = {}
    for line in figure.axes[0].lines:
        lines.setdefault(str(line.get_gid()), []).extend(line.get_ydata())
    table = analysis.magnitudes(real.stream, view)
    for column in table:
        np.testing.assert_array_equal(lines[f"line:{column}"], table[column])
    every = real.quantiles([0.25, 0.75], view="all").values
    np.testing.assert_allclose(table["median"], (every[:, 1] - every[:, 0]) / 2, rtol=0.1)
    largest = real.extremes(view).groupby("site")["value"].apply(lambda v: v.abs().max())
    np.testing.assert_array_equal(table["top1"], largest[table.index])
    bar = figure.axes[-1]
    assert bar.get_ylim()[0] <= min(bar.get_yticks())
    assert max(bar.get_yticks()) <= bar.get_ylim()[1]


def test_the_map_numbers_the_channels_that_its_title_names(
    drawings: Drawings, real: Profile
) -> None:
    found = real.outliers()
    named = {*found.channels.index, *found.massive_channels.index}
    assert named
    numbers = {
        t.get_text() for t in texts(drawings("real", "outliers")) if t.get_weight() == "bold"
    }
    assert {str(c) for c in named} <= numbers


def test_the_wing_thins_its_curves_where_there_are_many(drawings: Drawings) -> None:
    deep = drawings.profiles["deep"]
    figure = drawings("deep", "wing")
    curves = {str(line.get_gid()) for line in figure.axes[0].lines}
    assert {"wing:embed", "wing:final_norm", "wing:block.0.resid_post"} <= curves
    assert len(curves) <= 18
    table = deep.r2().values
    site = deep.sites.index("block.0.resid_post")
    drawn_values = [
        y
        for line in figure.axes[0].lines
        if line.get_gid() == "wing:block.0.resid_post"
        for y in line.get_ydata()
    ]
    np.testing.assert_array_equal(drawn_values, table[site])


def test_states_that_do_not_vary_have_no_distribution() -> None:
    with pytest.warns(hs.HiddenscopeWarning):
        zeros = hs.from_states({"block.0.resid_post": np.full((1, 8, 64), 2.0, np.float32)})
    for kind in ("histogram", "ridge"):
        with pytest.raises(FigureError, match="do not vary"):
            getattr(zeros.plot, kind)(view="all")


def test_bands_that_few_values_cannot_fill_are_left_out() -> None:
    x = np.random.default_rng(0).normal(size=(1, 5, 160)).astype(np.float32)
    p = hs.from_states({"embed": x, "block.0.resid_post": x})
    figure = p.plot.depth()
    gids = {c.get_gid() for c in figure.axes[0].collections}
    assert gids == {"band:all", "band:99 %", "band:90 %", "band:50 %"}
    said = " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")
    assert "640 values per site: too few for 99.9 %" in said
    few = hs.from_states({"embed": x[:, :2, :1], "block.0.resid_post": x[:, :2, :1]})
    prepared = figures.prepare("depth", few.stream)
    assert prepared.shares == (1.0,)
    assert "bands hold all of a site's values · 1 value per site: too few for" in prepared.caption
    value = f"{float(x[0, 1, 0]):.3g}".replace("-", "−")
    assert prepared.claim == f"farthest from zero: {value} at embed"


@pytest.mark.parametrize("kind", ["covariance", "r2"])
def test_the_matrices_draw_the_tables(drawings: Drawings, spoken: Profile, kind: str) -> None:
    figure = drawings("spoken", kind)
    table = getattr(spoken, kind)().values
    meshes = figure.axes[0].collections
    held = np.concatenate([np.ma.compressed(m.get_array()) for m in meshes])
    np.testing.assert_array_equal(np.sort(held), np.sort(table, axis=None))


def test_the_matrix_writes_its_values_where_there_is_room(drawings: Drawings) -> None:
    few = made_up(6)
    figure = few.plot.r2()
    said = {t.get_text() for t in texts(figure)}
    value = float(few.r2()[0, 3])
    assert f"{value:.2f}".removeprefix("0") in {s.removeprefix("0") for s in said}
    deep = drawings("deep", "r2")
    assert len(texts(deep)) < 120


def test_the_scatter_shows_the_tokens_text_and_says_when_the_first_is_left_out(
    drawings: Drawings,
) -> None:
    p = drawings.profiles["short"]
    said = " ".join(t.get_text() for t in texts(drawings("short", "scatter")))
    for piece in p.sample()["piece"].values[:5]:
        assert piece.strip() in said
    assert "left out" in said
    assert "left out" not in " ".join(
        t.get_text() for t in texts(drawings("short", "scatter", "all"))
    )


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_gives_the_same_bytes(
    profiles: dict[str, Profile], tmp_path: Path, suffix: str
) -> None:
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        figures.save(profiles["one site"].plot.depth(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == ".svg":
        assert "<text" in paths[0].read_text("utf-8")


def test_a_figure_that_cannot_be_written_leaves_the_earlier_one(
    spoken: Profile, tmp_path: Path
) -> None:
    path = tmp_path / "depth.png"
    path.mkdir()
    with pytest.raises(OutputError, match="cannot write the figure"):
        figures.save(spoken.plot.depth(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["depth.png"]


def test_drawing_leaves_the_users_settings_alone(spoken: Profile) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    spoken.plot.ridge(x="asinh")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("kind", "options", "error", "says"),
    [
        ("nonsense", {}, FigureError, "no figure"),
        ("depth", {"bins": 3}, FigureError, "no option 'bins'"),
        ("histogram", {"bins": 0}, hs.HiddenscopeError, "bins"),
        ("ridge", {"x": "miles"}, hs.HiddenscopeError, "miles"),
        ("depth", {"sites": "block.99.*"}, SiteError, "no site matches"),
        ("wing", {"view": "nobody"}, ViewError, "unknown view"),
        ("depth", {"view": "special"}, FigureError, "special"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    spoken: Profile, kind: str, options: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        figures.draw(kind, spoken.dataset, **options)


def test_preparing_needs_no_library_that_draws(spoken: Profile, tmp_path: Path) -> None:
    path = spoken.save(tmp_path / "p.nc")
    code = f"""
import sys
from hiddenscope import figures
from hiddenscope.profiles import Profile
tree = Profile.open({str(path)!r}).dataset
for kind in figures.KINDS:
    prepared = figures.prepare(kind, tree)
    assert type(prepared).__module__ == "hiddenscope.figures." + kind
    assert prepared.title and prepared.claim and prepared.caption
print(sorted({{"matplotlib", "torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_drawing_shows_what_was_prepared(spoken: Profile) -> None:
    prepared = figures.prepare("depth", spoken.dataset, view="all")
    assert isinstance(prepared, depth.Depth)
    with styled():
        figure = drawn_depth.draw(
            dataclasses.replace(prepared, title="Another title", high=2 * prepared.high), Look()
        ).figure
    said = " ".join(t.get_text() for t in texts(figure))
    assert "Another title" in said
    bands = [c.get_paths()[0].vertices for c in figure.axes[0].collections]
    top = max(vertices[:, 1].max() for vertices in bands)
    assert top == pytest.approx(2 * prepared.high.max(), rel=1e-6)


def test_a_figure_draws_from_the_tree_alone(spoken: Profile) -> None:
    assert isinstance(spoken.dataset, xr.DataTree)
    for kind in figures.KINDS:
        assert figures.describe(kind)
        assert "view" in figures.options(kind)
