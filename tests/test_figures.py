"""Figures: what they draw, how they lie on the page, and what they refuse."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
from conftest import TEXT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import hiddenscope as hs
from hiddenscope import figures
from hiddenscope.errors import FigureError, OutputError, SiteError, ViewError
from hiddenscope.figures.style import styled

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from hiddenscope.profiles import Profile

MM = 25.4


def made_up(n_blocks: int, *, channels: int = 24, nan: bool = False, norm: bool = True) -> Profile:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 40, channels)).astype(np.float32)
    states = {"embed": x.copy()}
    for i in range(n_blocks):
        x = x + rng.normal(size=x.shape).astype(np.float32) / (i + 1)
        x[..., 5] += 1
        states[f"block.{i}.resid_post"] = x.copy()
    if norm:
        states["final_norm"] = x / x.std()
    if nan:
        states["block.1.resid_post"][0, 3, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hs.HiddenscopeWarning)
        return hs.from_states(states, name="made up")


@pytest.fixture(scope="module")
def profiles(demo_profile: Profile) -> dict[str, Profile]:
    return {
        "demo": demo_profile,
        "short": hs.profile("demo", text=TEXT[:90]),
        "one site": hs.profile("demo", text=TEXT, sites="block.3.resid_post"),
        "deep": made_up(80),
        "no final norm": made_up(3, norm=False),
        "NaN": made_up(3, nan=True),
        "bf16": hs.profile("demo", text=TEXT, dtype="bfloat16"),
    }


def texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def assert_laid_out(figure: Figure) -> None:
    """Nothing is smaller than 5 pt, nothing is cut, no two texts overlap."""
    figure.dpi = 300
    canvas = FigureCanvasAgg(figure)
    with styled():
        canvas.draw()
    renderer = canvas.get_renderer()
    width = figure.get_figwidth() * MM
    assert min(abs(width - 80), abs(width - 175)) < 1e-6, width
    page = figure.bbox
    left_over = _left_over(figure)
    boxes = []
    for text in texts(figure):
        box = text.get_window_extent(renderer)
        if box.width == 0 or text in left_over:
            continue
        assert text.get_fontsize() >= 5, text
        assert box.x0 >= page.x0 - 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y1 <= page.y1 + 1, text
        boxes.append((text, box))
    for i, (one, a) in enumerate(boxes):
        for other, b in boxes[i + 1 :]:
            if one.get_rotation() or other.get_rotation():
                continue
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            overlap = wide > 1.5 and high > 0.35 * min(a.height, b.height)
            assert not overlap, (one, other)


def _left_over(figure: Figure) -> set[Text]:
    """Labels of ticks beyond the view, which Matplotlib keeps and does not draw."""
    kept, drawn = set(), set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for found, ticks in (
                (kept, axis.majorTicks + axis.minorTicks),
                (drawn, axis._update_ticks()),
            ):
                found.update(label for tick in ticks for label in (tick.label1, tick.label2))
    return kept - drawn


# One site has no pairs.
IMPOSSIBLE = {("one site", "wing")}
CASES = [
    *((case, "rest") for case in ("demo", "short", "one site", "deep", "no final norm", "bf16")),
    *(("demo", view) for view in ("all", "first")),
    ("short", "all"),
    ("NaN", "all"),
]


@pytest.mark.parametrize("kind", figures.KINDS)
@pytest.mark.parametrize(("case", "view"), CASES)
def test_every_figure_is_laid_out_for_every_profile(
    profiles: dict[str, Profile], case: str, kind: str, view: str
) -> None:
    draw = getattr(profiles[case].plot, kind)
    if (case, kind) in IMPOSSIBLE:
        with pytest.raises(FigureError):
            draw(view=view)
        return
    figure = draw(view=view)
    assert_laid_out(figure)
    said = " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")
    name = profiles[case].manifest["model"]["name"]
    assert name in said
    assert "tokens" in said


def test_the_histogram_draws_the_tables_counts(demo_profile: Profile) -> None:
    (axes, *_) = demo_profile.plot.histogram(bins=60).axes
    table = demo_profile.histogram(bins=60)
    drawn = {p.get_gid(): p.get_data() for p in axes.patches if p.get_gid()}
    for site, row in zip(demo_profile.sites, table.values, strict=True):
        share, edges, _ = drawn[f"all:{site}"]
        np.testing.assert_array_equal(np.nan_to_num(share), row / row.sum())
        np.testing.assert_array_equal(edges[:-1], table["left"])
    assert axes.get_yscale() == "log"
    assert axes.get_xscale() == "linear"


@pytest.mark.parametrize("kind", ["covariance", "r2"])
def test_the_matrices_draw_the_tables(demo_profile: Profile, kind: str) -> None:
    figure = getattr(demo_profile.plot, kind)()
    table = getattr(demo_profile, kind)().values
    meshes = figure.axes[0].collections
    held = np.concatenate([np.ma.compressed(m.get_array()) for m in meshes])
    np.testing.assert_array_equal(np.sort(held), np.sort(table, axis=None))


def test_the_matrix_writes_its_values_where_there_is_room(profiles: dict[str, Profile]) -> None:
    few = made_up(6)
    figure = few.plot.r2()
    said = {t.get_text() for t in texts(figure)}
    value = float(few.r2()[0, 3])
    assert f"{value:.2f}".removeprefix("0") in {s.removeprefix("0") for s in said}
    deep = profiles["deep"].plot.r2()
    assert len(texts(deep)) < 120


def test_the_scatter_shows_the_tokens_text_and_says_when_the_first_is_left_out(
    profiles: dict[str, Profile],
) -> None:
    p = profiles["short"]
    said = " ".join(t.get_text() for t in texts(p.plot.scatter()))
    for piece in p.sample()["piece"].values[:5]:
        assert piece.strip() in said
    assert "left out" in said
    assert "left out" not in " ".join(t.get_text() for t in texts(p.plot.scatter(view="all")))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_gives_the_same_bytes(
    demo_profile: Profile, tmp_path: Path, suffix: str
) -> None:
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        figures.save(demo_profile.plot.depth(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == ".svg":
        assert "<text" in paths[0].read_text("utf-8")


def test_a_figure_that_cannot_be_written_leaves_the_earlier_one(
    demo_profile: Profile, tmp_path: Path
) -> None:
    path = tmp_path / "depth.png"
    path.mkdir()
    with pytest.raises(OutputError, match="cannot write the figure"):
        figures.save(demo_profile.plot.depth(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["depth.png"]


def test_drawing_leaves_the_users_settings_alone(demo_profile: Profile) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    demo_profile.plot.ridge(x="raw")
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
    demo_profile: Profile, kind: str, options: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        figures.draw(kind, demo_profile.dataset, **options)


def test_a_figure_draws_from_the_tree_alone(demo_profile: Profile) -> None:
    assert isinstance(demo_profile.dataset, xr.DataTree)
    for kind in figures.KINDS:
        assert figures.describe(kind)
        assert "view" in figures.options(kind)
