"""The figures that Plotly draws: what they draw, beside the tables that were prepared."""

from __future__ import annotations

import base64
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from known import SIX_BLOCKS as BLOCKS
from known import six_blocks as profile
from matplotlib.colors import SymLogNorm

import hiddenscope as hs
from hiddenscope import figures
from hiddenscope.errors import FigureError
from hiddenscope.figures import colours, scales
from hiddenscope.figures.covariance import short
from hiddenscope.figures.histogram import FEW
from hiddenscope.figures.look import Look
from hiddenscope.figures.places import places
from hiddenscope.figures.plotly.panels import SCREENS, screen
from hiddenscope.figures.plotly.values import coarse, escaped, token_text, typed
from hiddenscope.figures.r2 import hundredths
from hiddenscope.figures.ridge import height
from hiddenscope.sites import Site
from hiddenscope.words import number

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run

    from hiddenscope.figures.prepared import Prepared

SITES = ["embed", *BLOCKS, "final_norm"]
OURS = re.compile(r"</?(b|br|extra)>|<span style=\"font-size:\d+px\">|</span>")
"""The markup that figures write."""
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "<b>bold</b><br><sup>up</sup>",
    "</script><svg onload=alert(1)>",
    "&lt;b&gt; &amp; &#60;",
    "%{x} %{customdata[0]} %{fullData.name}",
    "$\\frac{1}{2}$",
    "\u202eevil\u202c\u200b\x00\n",
    "a" * 1_000_000,
]


@cache
def prepared(kind: str) -> Any:
    return figures.prepare(kind, profile().stream)


def drawn(kind: str, shown: Prepared | None = None, **look: Any) -> dict[str, Any]:
    return figures.plotly_figure(kind, shown or prepared(kind), Look(**look))


def decoded(spec: Any) -> np.ndarray:
    """Read a typed array as Plotly's JavaScript does."""
    if not isinstance(spec, dict):
        return np.asarray(spec)
    flat = np.frombuffer(base64.b64decode(spec["bdata"]), np.dtype(spec["dtype"]))
    shape = [int(n) for n in spec["shape"].split(",")] if "shape" in spec else [-1]
    return flat.reshape(shape)


def traces(figure: dict[str, Any], **meta: Any) -> list[dict[str, Any]]:
    found = [t for t in figure["data"] if meta.items() <= (t.get("meta") or {}).items()]
    assert found, meta
    return found


def same(drawn: Any, table: Any, rtol: float = 1e-6) -> None:
    """What is drawn is what the table holds, to the precision of a picture."""
    np.testing.assert_allclose(decoded(drawn), np.asarray(table, np.float64), rtol=rtol, atol=1e-7)


COARSE = 2.0**-14
"""The precision of what is rounded to fit in less room."""


def test_coarse_numbers_are_near_and_end_in_zeros() -> None:
    numbers = np.random.default_rng(0).standard_t(1, 1000).astype(np.float32)
    odd_nan = np.array(0x7F800001, np.uint32).view(np.float32)
    found = coarse(np.array([*numbers, 0, np.nan, np.inf, -np.inf, odd_nan], np.float32))
    assert not np.any(found[:-1].view(np.uint32) & 0x3FF)
    assert np.max(np.abs(found[:1000] / numbers - 1)) < COARSE
    np.testing.assert_array_equal(found[1000:], [0, np.nan, np.inf, -np.inf, np.nan])


def label(site: str) -> str:
    return Site.parse(site).label


def strings(part: Any) -> list[str]:
    """Return every text of a figure that is no typed array."""
    if isinstance(part, str):
        return [part]
    if isinstance(part, dict):
        return [x for k, v in part.items() if k != "bdata" for x in strings(v)]
    return [x for v in part for x in strings(v)] if isinstance(part, list) else []


def test_every_kind_has_a_drawing() -> None:
    for kind in figures.KINDS:
        assert importlib.util.find_spec(f"hiddenscope.figures.plotly.{kind}"), kind


@cache
def named(name: str) -> hs.Profile:
    states = {s: np.random.default_rng(1).normal(size=(1, 9, 8)) for s in SITES[:3]}
    return hs.from_states(states, name=name)


@pytest.mark.parametrize("kind", figures.KINDS)
class TestEvery:
    def test_it_is_plain_and_needs_no_webgl(self, kind: str) -> None:
        figure = drawn(kind)
        assert json.loads(json.dumps(figure, allow_nan=False)) == figure
        assert {t["type"] for t in figure["data"]} <= {"scatter", "bar", "heatmap"}
        for name, colour in figure["layout"].items():
            if name.endswith("bgcolor"):
                assert colour == "rgba(0,0,0,0)"
        assert "color" not in figure["layout"]["font"]

    def test_plotly_takes_it(self, kind: str) -> None:
        figure = getattr(profile().plot, kind)(interactive=True)
        assert isinstance(figure, go.Figure)
        assert figure.layout.title.text == drawn(kind)["layout"]["title"]["text"]
        assert len(figure.data) == len(drawn(kind)["data"])

    def test_its_words_are_those_that_were_prepared(self, kind: str) -> None:
        def said(figure: dict[str, Any]) -> tuple[str, str]:
            title = figure["layout"]["title"]["text"]
            return title.replace("<br>", " "), figure["layout"]["annotations"][0]["text"]

        title, caption = said(drawn(kind))
        assert title.startswith(f"<b>{prepared(kind).title}</b>")
        assert escaped(prepared(kind).claim) in title
        assert caption.replace("<br>", " ").startswith(escaped(prepared(kind).caption))
        assert said(drawn(kind, title="A < B", caption="C & D"))[1] == "C &amp; D"
        assert said(drawn(kind, title="A < B"))[0].startswith("<b>A &lt; B</b>")
        bare = drawn(kind, title=None, caption=None)
        assert said(bare) == ("", "")
        assert bare["layout"]["height"] < drawn(kind)["layout"]["height"]

    def test_a_size_is_that_of_the_whole_figure(self, kind: str) -> None:
        layout = drawn(kind, figsize=(9, 12))["layout"]
        assert (layout["width"], layout["height"]) == (9 * 96, 12 * 96)
        narrow = drawn(kind, figsize=(4, 20))["layout"]
        domains = [
            v["domain"] for k, v in narrow.items() if k.startswith("xaxis") and "domain" in v
        ]
        assert all(d == [0.0, 1.0] for d in domains)

    def test_on_a_narrow_screen_panels_stand_one_below_another(self, kind: str) -> None:
        figure = drawn(kind)
        assert list(figure["layout"]["meta"]) == [str(width) for width in SCREENS]
        narrow, *others = figure["layout"]["meta"].values()
        assert all(other.keys() == narrow.keys() for other in others)
        wide = figure["layout"]["meta"][str(screen(900))]
        ends = sorted(v for k, v in narrow.items() if re.fullmatch(r"yaxis\d*\.domain", k))
        assert all(v == [0, 1] for k, v in narrow.items() if re.fullmatch(r"xaxis\d*\.domain", k))
        assert all(a[1] < b[0] for a, b in pairwise(ends))
        for path, value in wide.items():
            *outer, last = path.replace("[", ".").replace("]", "").split(".")
            place: Any = figure["layout"]
            for key in outer:
                place = place[int(key)] if isinstance(place, list) else place[key]
            assert place[last] == value

    def test_where_it_cannot_be_drawn_it_says_so(self, kind: str) -> None:
        plot = getattr(profile().plot, kind)
        for options, says in (
            ({"ax": 3}, "cannot be drawn on ax="),
            ({"fig": 3}, "cannot be drawn on fig="),
            ({"figsize": (3, -1)}, "width, height"),
            ({"title": 3}, "title must be a text"),
            ({"cmap": "no such map"}, "no colour map 'no such map'"),
            ({"highlight": ["no colour"]}, "'no colour' in highlight"),
        ):
            with pytest.raises(FigureError, match=says):
                plot(interactive=True, **options)

    def test_hostile_names_are_shown_and_not_read(self, kind: str) -> None:
        for name in HOSTILE:
            shown = figures.prepare(kind, named(name[:60]).stream)
            for text in strings(drawn(kind, shown)):
                ours = re.sub(
                    r"</?(b|br|extra)>|<span style=\"font-size:\d+px\">|</span>", "", text
                )
                assert "<" not in ours, text
                if "%{" in name:
                    assert name[:10] not in text


def test_a_figure_without_an_interactive_drawing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FigureError, match="'steps' has no interactive drawing"):
        hs.series({1: profile(), 2: profile()}).plot(interactive=True)


def test_neither_library_is_imported() -> None:
    code = (
        "import sys, numpy as np, hiddenscope as hs\n"
        "from hiddenscope import figures\n"
        "x = np.random.default_rng(0).normal(size=(2, 30, 16))\n"
        "p = hs.from_states({'embed': x, 'block.0.resid_post': 2 * x + x[::-1]})\n"
        "for kind in figures.KINDS:\n"
        "    figures.plotly_figure(kind, figures.prepare(kind, p.stream))\n"
        "print(sorted({'plotly', 'matplotlib', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"[]", "['torch']"}


def test_it_is_saved_as_a_page_that_needs_no_network(run: Run, tmp_path: Path) -> None:
    profile().save(tmp_path / "profile.nc")
    for name in ("one.html", "two.html"):
        code, out, error = run("plot", "profile.nc", "depth", "-o", name)
        assert (code, out) == (0, f"{name}\n"), error
    page = (tmp_path / "one.html").read_text("utf-8")
    assert page == (tmp_path / "two.html").read_text("utf-8")
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    assert "plotly.js v" in page
    assert json.dumps(prepared("depth").title)[1:-1] in page
    for figure, path, says in (
        (profile().plot.depth(), "depth.html", "a figure of Matplotlib: end its name in .png"),
        (profile().plot.depth(interactive=True), "depth.png", "end its name in .html"),
    ):
        with pytest.raises(FigureError, match=says):
            figures.save(figure, tmp_path / path)
        assert not (tmp_path / path).exists()


class TestValues:
    @pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i2", "i4"])
    @pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
    def test_a_typed_array_is_read_back(self, dtype: str, shape: tuple[int, ...]) -> None:
        values = np.arange(6).reshape(shape)
        spec = typed(values, dtype)
        back = decoded(spec)
        assert back.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(back, values)
        assert ("shape" in spec) == (len(shape) > 1)

    @pytest.mark.parametrize("text", HOSTILE)
    def test_a_token_is_shown_as_it_is(self, text: str) -> None:
        made = token_text(text)
        assert not set("<>$") & set(made)
        assert "%{" not in made
        assert len(made) < 500
        assert made.isprintable()
        read = re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), made)
        for name, character in (("lt", "<"), ("gt", ">"), ("amp", "&")):
            read = read.replace(f"&{name};", character)
        assert read[:8] in text.replace("\u202e", "\\x202e")


def test_colours_are_shared_and_can_be_seen_on_light_and_dark() -> None:
    blocks = mpl.colors.LinearSegmentedColormap.from_list("x", colours.BLOCKS)
    for share in (0.0, 0.2, 0.5, 0.77, 1.0):
        ours = mpl.colors.to_rgb(colours.blend(colours.BLOCKS, share))
        np.testing.assert_allclose(ours, blocks(share)[:3], atol=2 / 255)
    rdbu = mpl.colormaps["RdBu_r"]
    signed = mpl.colors.LinearSegmentedColormap.from_list("x", colours.SIGNED)
    np.testing.assert_allclose(signed(np.linspace(0, 1, 9)), rdbu(np.linspace(0, 1, 9)), atol=0.01)

    def luminance(colour: str) -> float:
        rgb = np.array(mpl.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark = luminance("#15181d")
    shades = [colours.blend(colours.BLOCKS_ON_ANY, x) for x in np.linspace(0, 1, 9)]
    seen = [colours.GREY, colours.FIRST_TOKENS, *shades]
    for least, found in ((3.0, seen), (2.2, colours.HIGHLIGHT)):
        for colour in found:
            assert 1.05 / (luminance(colour) + 0.05) >= least, colour
            assert (luminance(colour) + 0.05) / (dark + 0.05) >= least, colour


def test_symmetric_logarithmic_places_are_those_of_matplotlib() -> None:
    values = np.array([-300.0, -20, -1, -0.3, 0, 0.01, 0.2, 0.5, 7, 300])
    norm = SymLogNorm(0.2, vmin=-300, vmax=300, base=10)
    ours = scales.symlog(values, 0.2)
    np.testing.assert_allclose((ours / ours[-1] + 1) / 2, norm(values), atol=1e-12)
    assert np.isnan(scales.symlog([np.nan], 0.2)).all()


def test_the_histogram() -> None:
    for options in ({}, {"x": "asinh"}, {"log": False}):
        shown = figures.prepare("histogram", profile().stream, **options)
        figure = drawn("histogram", shown)
        linear = shown.table.attrs["linear"]
        for site, part in shown.table.groupby("site"):
            edges = np.append(part["left"], part["right"].iloc[-1])
            for name, least in (("all", 1), ("many", FEW)):
                (trace,) = traces(figure, site=site, part=name)
                at = np.arcsinh(edges / linear) if shown.scale == "asinh" else edges
                same(trace["x"], at)
                assert trace["line"]["shape"] == "hv"
                values = part[shown.y].where(part["count"] >= least)
                same(decoded(trace["y"])[:-1], values)
            (trace,) = traces(figure, site=site, part="all")
            told = decoded(trace["customdata"])
            same(told[:-1, 0], part["left"])
            same(told[:-1, 1], part["right"])
            same(told[:-1, 2], part["count"])
            assert label(str(site)) in trace["hovertemplate"]
        axis = figure["layout"]["yaxis"]
        assert (axis.get("type") == "log") == shown.log
        ends = np.array([shown.table.attrs["low"], shown.table.attrs["high"]])
        at = np.arcsinh(ends / linear) if shown.scale == "asinh" else ends
        np.testing.assert_allclose(figure["layout"]["xaxis"]["range"], at)
        if shown.scale == "asinh":
            ticks = figure["layout"]["xaxis"]
            read = [float(t.replace(",", "").replace("−", "-")) for t in ticks["ticktext"]]
            np.testing.assert_allclose(np.arcsinh(np.array(read) / linear), ticks["tickvals"])


def test_the_key_names_embed_and_final_norm_and_has_a_bar_for_the_blocks() -> None:
    figure = drawn("histogram")
    named = [t["name"] for t in figure["data"] if t.get("showlegend")]
    assert named == ["embed", "final norm"]
    axis = figure["layout"]["coloraxis"]
    shade = [t["line"]["color"] for s in BLOCKS for t in traces(figure, site=s, part="many")]
    assert [c for _, c in axis["colorscale"]][::2] == shade
    assert (axis["cmin"], axis["cmax"]) == (-0.5, 5.5)
    assert axis["colorbar"]["ticktext"] == ["0", "1", "2", "3", "4", "5"]
    chosen = drawn("histogram", cmap="viridis", highlight=["red", "lime", "blue", "magenta"])
    viridis = mpl.colormaps["viridis"]
    for site, colour in (
        ("embed", "#ff0000"),
        ("final_norm", "#ff00ff"),
        (BLOCKS[0], mpl.colors.to_hex(viridis(0.0))),
        (BLOCKS[-1], mpl.colors.to_hex(viridis(1.0))),
    ):
        (trace,) = traces(chosen, site=site, part="many")
        assert trace["line"]["color"] == colour


def test_the_depth() -> None:
    shown = prepared("depth")
    figure = drawn("depth")
    where = places(shown.sites, 0.4 + 0.05 * len(shown.sites))
    for band, share in enumerate(shown.shares):
        (trace,) = traces(figure, band=share)
        x, y = decoded(trace["x"]), decoded(trace["y"])
        assert trace["fill"] == "toself"
        for i, at in enumerate(where.at):
            # The ends of a run stand a little apart from the site's place where it is alone.
            own = y[np.abs(x - at) < 0.45]
            same(own.max(), np.arcsinh(shown.high[i, band] / shown.linear))
            same(own.min(), np.arcsinh(shown.low[i, band] / shown.linear))
    (hover,) = (t for t in figure["data"] if t["type"] == "bar")
    same(hover["base"], np.arcsinh(shown.low[:, 0] / shown.linear))
    top = decoded(hover["base"]).astype(float) + decoded(hover["y"])
    same(top, np.arcsinh(shown.high[:, 0] / shown.linear))
    for site, text in zip(shown.sites, hover["customdata"], strict=True):
        assert text.startswith(f"<b>{label(site)}</b>")
        assert text.count("<br>") == len(shown.shares)
    named = [t["name"] for t in figure["data"] if t.get("showlegend")]
    assert named[0] == "all"
    assert len(named) == len(shown.shares)


def through(trace: dict[str, Any], at: np.ndarray, values: Any) -> None:
    """A line stands at each site's place, has the site's value there, and nothing between runs."""
    x, y = decoded(trace["x"]), decoded(trace["y"])
    held = ~np.isnan(x)
    same(x[held], at)
    same(y[held], values)
    assert np.isnan(x).sum() == 2


def test_the_ridge() -> None:
    for options in ({}, {"x": "asinh"}, {"x": "linear"}):
        shown = figures.prepare("ridge", profile().stream, **options)
        figure = drawn("ridge", shown)
        where = places(shown.sites, 0.25)
        linear = shown.table.attrs["linear"]
        for i, site in enumerate(shown.sites):
            part = shown.table[shown.table["site"] == site]
            peak = shown.table.attrs["sites"].loc[site, "peak"]
            base = where.at[i] + 0.5
            (density,) = traces(figure, site=site, part="density")
            (normal,) = traces(figure, site=site, part="normal")
            edges = np.append(part["left"], part["right"].iloc[-1:])
            at = np.arcsinh(edges / linear) if shown.scale == "asinh" else edges
            same(decoded(density["x"])[1:], at, COARSE)
            for trace, column in ((density, "density"), (normal, "normal")):
                tall = height(part[column].to_numpy(), peak)
                same(decoded(trace["y"])[1:-1], base - tall, COARSE)
            assert decoded(density["y"])[[0, -1]] == pytest.approx(base, rel=COARSE)
            told = decoded(density["customdata"])
            same(told[1:-1, :3], part[["left", "right", "count"]])
            same(told[1:-1, 3:], part[["density", "normal"]], COARSE)
            assert density["hovertemplate"].startswith(f"<b>{label(site)}</b>")
        (dotted,) = traces(figure, part="thousandth")
        thousandth = height(np.array([1e-3]), 1.0)
        same(decoded(dotted["y"])[::3], where.at + 0.5 - thousandth)
        written = {a.get("name"): a for a in figure["layout"]["annotations"] if "name" in a}
        for i, site in enumerate(shown.sites):
            assert written[site]["text"] == f"{shown.unit} {number(float(shown.widths[i]))}"
            assert written[site]["y"] == where.at[i]


def cells_of(trace: dict[str, Any], at: np.ndarray) -> np.ndarray:
    """Return the values of the cells in which these places lie, by row and column."""
    edges = [decoded(trace[letter]) for letter in "xy"]
    columns, rows = (np.searchsorted(e, at) - 1 for e in edges)
    return decoded(trace["customdata"])[np.ix_(rows, columns)]


def names_of(figure: dict[str, Any], trace: dict[str, Any], letter: str) -> dict[float, str]:
    """Return what is written where a cell of a map is pointed at, by its place."""
    axis = figure["layout"][trace[f"{letter}axis"].replace(letter, f"{letter}axis")]
    assert axis["overlaying"] == axis["matches"]
    assert not axis["showticklabels"]
    return dict(zip(decoded(axis["tickvals"]).tolist(), axis["ticktext"], strict=True))


@pytest.mark.parametrize("kind", ["covariance", "r2"])
def test_matrices(kind: str) -> None:
    shown = prepared(kind)
    figure = drawn(kind)
    where = places(shown.sites, 0.35)
    tables = list(shown.panels.values()) if kind == "r2" else [shown.values]
    maps = [t for t in figure["data"] if t["type"] == "heatmap"]
    axis = figure["layout"]["coloraxis"]
    for trace, table in zip(maps, tables, strict=True):
        same(cells_of(trace, where.at), table)
        whole = decoded(trace["customdata"])
        gaps = len(where.runs) - 1
        assert np.isnan(whole).sum() == (len(table) + gaps) ** 2 - table.size
        at = scales.symlog(whole, shown.linear) if kind == "covariance" else whole
        same(trace["z"], at)
        for letter in "xy":
            named = names_of(figure, trace, letter)
            assert list(named.values()) == [label(s) for s in shown.sites]
            np.testing.assert_allclose(list(named), where.at)
        texts = [text for row in trace["text"] for text in row if text]
        written = short if kind == "covariance" else hundredths
        assert texts == [written(float(v)) for v in table.ravel()]
    if kind == "covariance":
        end = float(scales.symlog(shown.reach, shown.linear))
        assert (axis["cmin"], axis["cmax"]) == (-end, end)
    else:
        assert (axis["cmin"], axis["cmax"]) == shown.range
        titles = [a["text"] for a in figure["layout"]["annotations"][1:]]
        assert titles == [f"<b>{name}</b>" for name in shown.panels]


def test_cells_without_variance_are_hatched() -> None:
    x = np.random.default_rng(0).normal(size=(2, 30, 16))
    states = {BLOCKS[0]: x, BLOCKS[1]: np.full_like(x, 2.0), BLOCKS[2]: x + x[::-1]}
    with pytest.warns(hs.HiddenscopeWarning, match="vary by less than one step"):
        p = hs.from_states(states, causal=False)
    shown = figures.prepare("r2", p.stream)
    bars = [t for t in drawn("r2", shown)["data"] if t["type"] == "bar"]
    for trace, table in zip(bars, shown.panels.values(), strict=True):
        rows, columns = np.nonzero(np.isnan(table))
        assert len(rows) == 5
        same(trace["x"], columns)
        same(trace["base"], rows - 0.5)
        assert trace["marker"]["pattern"]["shape"] == "/"


def test_the_wing() -> None:
    shown, figure = prepared("wing"), drawn("wing")
    where = places(shown.sites, 0.4)
    for i, site in enumerate(shown.sites):
        (trace,) = traces(figure, site=site)
        through(trace, where.at, shown.matrix[i])
        assert [s for s in trace["customdata"] if s] == [label(s) for s in shown.sites]
        assert trace["xaxis"] == "x"
    for column in shown.lines:
        (trace,) = traces(figure, column=column)
        through(trace, where.at, shown.lines[column])
        assert trace["xaxis"] == "x2"


def test_the_outliers() -> None:
    shown, figure = prepared("outliers"), drawn("outliers")
    where = places(shown.sites, 0.4)
    for column in ("top1", "top2", "top3", "median"):
        (trace,) = traces(figure, column=column)
        through(trace, where.at, shown.magnitudes[column])
    (trace,) = (t for t in figure["data"] if t["type"] == "heatmap")
    rows = places(shown.sites, 0.25).at
    found = np.searchsorted(decoded(trace["y"]), rows) - 1
    table = shown.relative.to_numpy()
    same(decoded(trace["customdata"])[found], np.where(table > 0, table, np.nan), COARSE)
    same(decoded(trace["z"])[found], np.log10(np.where(table > 0, table, np.nan)), COARSE)
    same(trace["x"], np.append(shown.relative.columns, shown.channels) - 0.5)
    assert list(names_of(figure, trace, "y").values()) == [label(s) for s in shown.sites]
    named = names_of(figure, trace, "x")
    assert named == {float(c): f"channel {c}" for c in range(48)}
    numbers = [a for a in figure["layout"]["annotations"] if a.get("showarrow")]
    assert [a["x"] for a in numbers] == shown.numbered
    assert [a["text"] for a in numbers] == [f"<b>{c}</b>" for c in shown.numbered]


def spoken(many: int, pieces: list[str] | None = None) -> hs.Profile:
    """Return a profile of tokens that have a text."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, many, 20)).astype(np.float32)
    x[0, 5, 3] = 400
    p = hs.from_states({"embed": x, BLOCKS[0]: 2 * x + x[:, ::-1]}, name="spoken")
    texts = pieces or [f"t{i}" for i in range(many)]
    for group in ("sample", "extremes"):
        held = p.dataset[f"residual/{group}"]
        at = held["position"]
        said = [texts[max(int(i), 0) % len(texts)] for i in at.values.ravel()]
        held["piece"] = xr.DataArray(np.array(said, object).reshape(at.shape), dims=at.dims)
    return p


@pytest.mark.parametrize("many", [40, 200])
def test_the_scatter(many: int) -> None:
    p = spoken(many)
    shown = figures.prepare("scatter", p.stream)
    assert shown.points == (many == 40)
    figure = drawn("scatter", shown)
    for panel in shown.panels:
        at = np.arcsinh if panel.scale == "asinh" else np.asarray
        for against in ("position", "channel"):
            (trace,) = traces(figure, site=panel.site, against=against)
            counts = panel.planes[against]
            same(trace["customdata"], counts.values)
            same(trace["x"], np.append(counts["left"], counts["right"][-1]))
            edges = np.append(counts["bottom"], counts["top"][-1])
            same(trace["y"], at(edges / panel.linear) if panel.scale == "asinh" else edges)
            share = counts.values / np.maximum(counts.values.sum(0), 1)
            levels = decoded(trace["z"]).astype(float)
            assert ((levels == 0) == (share == 0)).all()
            filled = share > 0
            read = 10 ** (-4 * (1 - (levels[filled] - 1) / 254))
            np.testing.assert_allclose(read, np.maximum(share[filled], 1e-4), rtol=0.03)
            rows = list(names_of(figure, trace, "y").values())
            assert rows[0].startswith(number(float(counts["bottom"][0])))
            columns = list(names_of(figure, trace, "x").values())
            if against == "position" and shown.points:
                # The view leaves out position 0.
                assert columns == ["no token", *(f"token “{piece}”" for piece in shown.pieces)]
            else:
                assert columns[0].startswith(against)
        rings = traces(figure, site=panel.site, part="extremes")
        assert len(rings) == 2 - shown.points
        same(rings[-1]["x"], panel.extremes["channel"])
        ring_y = panel.extremes["value"].to_numpy()
        same(rings[-1]["y"], at(ring_y / panel.linear) if panel.scale == "asinh" else ring_y)
        for text, (_, row) in zip(rings[-1]["customdata"], panel.extremes.iterrows(), strict=True):
            assert text.startswith(f"“{row['piece']}” at {row['position']}<br>channel ")
            assert text.endswith(number(float(row["value"])))
        if shown.points:
            for channel in panel.numbered:
                (dots,) = traces(figure, site=panel.site, channel=channel)
                same(dots["x"], shown.places)
                values = panel.state[:, channel]
                same(dots["y"], at(values / panel.linear) if panel.scale == "asinh" else values)


def test_hostile_tokens_are_shown_and_not_read() -> None:
    shown = figures.prepare("scatter", spoken(40, HOSTILE).stream)
    figure = drawn("scatter", shown)
    told = " ".join(strings(figure))
    for text in strings(figure):
        assert "<" not in OURS.sub("", text), text
        assert "%{x}" not in text or text.startswith("%{x}")
    assert "&lt;script&gt;" in told
    assert "&lt;img src=x" in told
    assert "%&#123;x}" in told
    assert "\\x202e" in told
    assert len(json.dumps(figure)) < 1_000_000


def test_the_norms() -> None:
    for log in (True, False):
        shown = figures.prepare("norms", profile().stream, log=log)
        figure = drawn("norms", shown)
        where = places(shown.sites, 0.4 + 0.05 * len(shown.sites))
        for band, share in enumerate(shown.shares):
            (trace,) = traces(figure, band=share)
            x, y = decoded(trace["x"]), decoded(trace["y"])
            for i, at in enumerate(where.at):
                own = y[np.abs(x - at) < 0.45]
                same(own.max(), shown.high[i, band])
                same(own.min(), shown.low[i, band])
        assert list(shown.apart) == ["first"]
        (trace,) = traces(figure, stratum="first")
        through(trace, where.at, shown.apart["first"])
        assert (figure["layout"]["yaxis"].get("type") == "log") == log


def test_the_positions() -> None:
    for view in ("rest", "all"):
        for x in ("linear", "log"):
            shown = figures.prepare("positions", profile().stream, view=view, x=x)
            figure = drawn("positions", shown)
            at = shown.places
            if x == "log":
                at = np.where(at < 1, -0.4, np.log10(np.maximum(at, 1)))
            for i, site in enumerate(shown.sites):
                (curve,) = traces(figure, site=site, part="curve")
                same(curve["x"], at)
                same(curve["y"], shown.norms[i])
                same(curve["customdata"], shown.places)
                (ring,) = traces(figure, site=site, part="start")
                same(decoded(ring["x"])[0], -0.4 if x == "log" else 0)
                same(decoded(ring["y"])[0], shown.start[i])
                joined = shown.norms[i, 0] if view == "rest" else shown.start[i]
                same(decoded(ring["y"])[1], joined)
                assert label(site) in ring["customdata"][0]


def test_two_views() -> None:
    for views in (("rest", "first"), ("first", "rest")):
        shown = figures.prepare("compare_views", profile().stream, *views)
        figure = drawn("compare_views", shown)
        where = places(shown.sites, 0.4)
        colour: dict[str, str] = {}
        for k, view in enumerate(views):
            for panel in shown.panels:
                (curve,) = traces(figure, view=view, site=panel.site, part="all")
                table = panel.tables[k]
                same(decoded(curve["y"])[:-1], table["density"].where(table["count"] > 0))
                edges = np.append(table["left"], table["right"].iloc[-1])
                asinh = panel.scale == "asinh"
                same(curve["x"], np.arcsinh(edges / panel.linear) if asinh else edges)
                colour[view] = curve["line"]["color"]
            norms = shown.norms[k]
            (median,) = traces(figure, view=view, part="median")
            through(median, where.at, norms["q0.5"])
            assert median["line"]["color"] == colour[view]
            (band,) = traces(figure, view=view, part="band")
            x, y = decoded(band["x"]), decoded(band["y"])
            for i, at in enumerate(where.at):
                own = y[np.abs(x - at) < 0.45]
                same(own.max(), norms["q0.99"].iloc[i])
                same(own.min(), norms["q0.01"].iloc[i])
            for channel, means in shown.means[k].items():
                (trace,) = traces(figure, view=view, channel=channel)
                asinh = shown.scale == "asinh"
                through(trace, where.at, np.arcsinh(means / shown.linear) if asinh else means)
                assert trace["xaxis"] == f"x{len(shown.panels) + 2 + k}"
        assert colour["first"] == colours.FIRST_TOKENS != colour["rest"]
