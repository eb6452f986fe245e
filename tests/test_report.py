"""The report in a real browser: it draws, obeys its controls, and runs only its own scripts."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

import hiddenscope as hs
from hiddenscope import figures, report
from hiddenscope.errors import InputError
from hiddenscope.report import encode, policy
from hiddenscope.report.render import cited
from hiddenscope.words import shorten, visible
from tools import fetch_axe

if TYPE_CHECKING:
    from conftest import Run
    from playwright.sync_api import Browser, Page

    from hiddenscope.profiles import Profile

GOLDEN = Path(__file__).parent / "golden"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECTIONS = [
    *("summary", "claims", "depth", "distributions", "between"),
    *("tokens", "outliers", "reading", "manifest"),
]
LISTEN = """
window.broken = [];
addEventListener('securitypolicyviolation', (e) => {
  window.broken.push(`${e.violatedDirective} ${e.blockedURI}`);
});
"""
VALUES = """(found) => {
  const types = {f4: Float32Array, f8: Float64Array};
  if (!found?.bdata) return Array.from(found);
  const bytes = Uint8Array.from(atob(found.bdata), (c) => c.charCodeAt(0));
  return Array.from(new types[found.dtype](bytes.buffer));
}"""
CLASHES = """() => {
  // What is cut by the border of its figure, what lies over another text, and labels of an axis
  // that lie over a panel.
  const found = [];
  for (const figure of document.querySelectorAll('[data-figure]')) {
    const svg = figure.querySelector('.main-svg')?.getBoundingClientRect();
    const texts = [...figure.querySelectorAll('.plot svg text')]
      .flatMap((t) => (t.querySelector('tspan.line') ? [...t.querySelectorAll('tspan.line')] : [t]))
      .map((t) => [t.textContent, t.getBoundingClientRect()])
      .filter(([text, box]) => text.trim() && box.width && box.height);
    texts.forEach(([text, a], i) => {
      const across = Math.max(svg.left - a.left, a.right - svg.right);
      const out = Math.max(across, svg.top - a.top, a.bottom - svg.bottom);
      if (out > 1.5) found.push([figure.id, 'cut', text]);
      for (const [other, b] of texts.slice(i + 1)) {
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 2.5) found.push([figure.id, text, other]);
      }
    });
    const panels = [...figure.querySelectorAll('.nsewdrag')].map((p) => p.getBoundingClientRect());
    for (const label of figure.querySelectorAll(':is(.xtick, .ytick, [class^="g-y"]) text')) {
      const a = label.getBoundingClientRect();
      for (const b of a.width ? panels : []) {
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 3 && y > 3) found.push([figure.id, 'over a panel', label.textContent]);
      }
    }
  }
  return found;
}"""
GROUND = "getComputedStyle(document.documentElement).backgroundColor"
FILLS = "[...document.querySelectorAll('.plot svg text')].map(t => getComputedStyle(t).fill)"
TALL = {"width": 1280, "height": 20_000}
"""A window in which every figure is near its reader."""
LAPTOP = {"width": 1280, "height": 720}
SHEET = 672
"""Pixels between the margins of a sheet of A4."""
PLURALS = "tokens|values|channels|sites|blocks|checks|others|words|delimiters|documents|windows"
HOSTILE = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    '"><svg onload=window.hacked=1>',
    "' onmouseover='window.hacked=1",
    '" autofocus onfocus="window.hacked=1',
    "javascript:window.hacked=1",
    '<a href="javascript:window.hacked=1">x</a>',
    "<iframe srcdoc='<script>parent.hacked=1</script>'>",
    "<math><mi xlink:href='javascript:window.hacked=1'>",
    "<!--<script>",
    "-->",
    "<!-- --!><script>window.hacked=1</script>",
    "]]>",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "${window.hacked=1}",
    "%{x}<extra>window</extra>",
    "<b>bold</b><br><i>pseudo</i>",
    "<sub>1</sub><sup>2</sup>",
    '<span style="font-size:99px">big</span>',
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "&#60;script&#62;",
    "\\u003cscript\\u003ewindow.hacked=1",
    "\u202eevil\u202c",
    "\u2066isolated\u2069",
    "zero\u200bwidth\u200djoined\ufeff",
    "line\u2028separator\u2029",
    "tab\tnew\nline\rreturn",
    "\x00nul\x07bell\x1b[31m",
    "$\\alpha$",
    "=cmd|'/c calc'!A1",
    "<style>*{display:none}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><input name=a>",
    "<object data=//evil.example>",
    "<template><script>window.hacked=1</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.hacked=1>'>",
    "a" * 1_000_000,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("the report is tested in Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@dataclasses.dataclass
class Seen:
    """A page that is open, and what the browser said."""

    page: Page
    said: list[str]
    asked: list[str]

    def drawn(self) -> None:
        """Wait until all is drawn that is near: in a tall window, everything."""
        # What the browser has to say of sizes, colours and places it says within a frame.
        self.page.evaluate("new Promise((f) => requestAnimationFrame(() => setTimeout(f, 50)))")
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)

    def ever_drawn(self) -> list[str]:
        """Return the figures that were drawn so far."""
        figures = "[...document.querySelectorAll('[data-figure]:has(.main-svg)')]"
        found: list[str] = self.page.evaluate(f"{figures}.map(f => f.dataset.figure)")
        return found

    def resize(self, width: int) -> None:
        """Give the page another width, and wait until its figures are drawn for it."""
        self.page.set_viewport_size({"width": width, "height": TALL["height"]})
        self.drawn()

    def choose(self, **chosen: str) -> None:
        """Choose a view or a site, unless it is chosen already, and wait until it is drawn."""
        for name, value in chosen.items():
            if self.page.input_value(f"#{name}") != value:
                self.page.select_option(f"#{name}", value)
        self.drawn()

    def data(self, figure: str) -> list[list[str]]:
        """Open the table of a figure; return its texts, the names of its columns first."""
        self.page.evaluate(f"document.querySelector('#fig-{figure} details').open = true")
        self.page.wait_for_selector(f"#fig-{figure} .data td", state="attached")
        rows = f"[...document.querySelectorAll('#fig-{figure} .data tr')]"
        found: list[list[str]] = self.page.evaluate(
            f"{rows}.map(r => [...r.cells].map(c => c.textContent))"
        )
        return found

    def trace(self, figure: str, at: int, letter: str) -> np.ndarray:
        plot = f"document.querySelector('#fig-{figure} .plot')"
        found = self.page.evaluate(f"({VALUES})({plot}.data[{at}].{letter})")
        return np.array(found, np.float64)

    def check(self) -> None:
        assert self.said == []
        assert self.asked == []
        assert self.page.evaluate("window.broken") == []


Look = Callable[..., AbstractContextManager[Seen]]


@pytest.fixture(scope="module")
def look(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Look:
    folder = tmp_path_factory.mktemp("report")

    @contextmanager
    def opened(html: str, place: str = "", **context: Any) -> Iterator[Seen]:
        file = folder / f"{hashlib.sha256(html.encode()).hexdigest()}.html"
        file.write_text(html, encoding="utf-8")
        page = browser.new_context(**{"viewport": TALL} | context).new_page()
        page.set_default_timeout(10_000)
        seen = Seen(page, [], [])
        page.on("console", lambda message: seen.said.append(message.text))
        page.on("pageerror", lambda error: seen.said.append(str(error)))
        inside = (file.as_uri(), "data:", "blob:")
        page.on("request", lambda r: r.url.startswith(inside) or seen.asked.append(r.url))
        page.add_init_script(LISTEN)
        page.goto(file.as_uri() + place)
        seen.drawn()
        yield seen
        seen.check()
        page.context.close()

    return opened


@pytest.fixture(scope="module")
def shared(html: str, look: Look) -> Iterator[Seen]:
    """One page for all tests that leave it fit for the next."""
    with look(html) as seen:
        yield seen


@pytest.fixture(scope="module")
def html(demo_profile: Profile) -> str:
    return report.render(demo_profile.dataset)


def test_every_section_is_drawn(shared: Seen) -> None:
    page = shared.page
    assert [s.get_attribute("id") for s in page.query_selector_all("main > section")] == SECTIONS
    found = [f.get_attribute("data-figure") for f in page.query_selector_all("figure")]
    assert len(found) == 13
    for key in found:
        assert page.locator(f"#fig-{key} .main-svg").first.is_visible(), key
        assert not page.locator(f"#fig-{key} .missing").is_visible(), key
        assert len(page.get_attribute(f"#fig-{key} .plot", "aria-label") or "") > 40, key
        assert len(shared.data(str(key))) > 2, key
    assert len(page.query_selector_all(".claims > li")) > 15
    assert page.inner_text("h1") == "demo"


def test_a_cell_shows_its_two_sites_against_each_other(shared: Seen, demo_profile: Profile) -> None:
    page = shared.page
    page.evaluate("document.querySelector('#fig-matrix').scrollIntoView({behavior: 'instant'})")
    box = page.locator("#fig-matrix .plot .nsewdrag").bounding_box()
    assert box is not None
    n, across, down = len(demo_profile.sites), 4, 9
    x, y = ((at + 0.5) / n for at in (across, down))
    page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    page.wait_for_selector("#said:has-text('against')", state="attached")
    shared.drawn()
    wanted = [demo_profile.sites[at] for at in (across, down)]
    assert [page.input_value(f"#fig-pairs select[name={key}]") for key in "ab"] == wanted
    trace = "document.querySelector('#fig-pairs .plot').data[0]"
    across_at, up_at, counts = (
        np.array(page.evaluate(f"{trace}.{name}"), float) for name in ("x", "y", "customdata")
    )
    sample = demo_profile.sample("rest")["state"]
    assert 1000 < counts.sum() <= sample[0].size
    # What is drawn shares as much as the whole sample does.
    first, second = (np.arcsinh(sample.sel(site=s).values.ravel()) for s in wanted)
    cells = np.stack(np.meshgrid(across_at, up_at), -1).reshape(-1, 2)
    pairs = np.repeat(cells, counts.astype(int).ravel(), 0)
    # The bar of colours says what its lightest and its darkest stand for.
    ticks = [page.evaluate(f"{trace}.colorbar.ticktext.at({end})") for end in (0, -1)]
    assert ticks == ["1", f"{counts.max():.0f}"]
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.1)


def test_figures_and_tables_are_saved(shared: Seen, demo_profile: Profile) -> None:
    files = {}
    for key, kind in (("matrix", "png"), ("depth", "svg"), ("moments", "csv")):
        with shared.page.expect_download() as download:
            shared.page.click(f"#fig-{key} [data-save={kind}]")
        assert download.value.suggested_filename == f"{key}-rest.{kind}"
        files[kind] = Path(download.value.path()).read_bytes()
    pixels = matplotlib.image.imread(io.BytesIO(files["png"]), format="png")
    assert pixels.shape[0] > 600
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 50
    assert files["svg"].startswith(b"<svg")
    assert b"Quantiles of activations by site" in files["svg"]
    head, *rows = files["csv"].decode().splitlines()
    at = head.split(",").index("standard deviation")
    found = [float(row.split(",")[at]) for row in rows]
    assert np.allclose(found, demo_profile.moments()["std"], rtol=1e-6)


def test_the_slider_leaves_out_the_loudest_channels(shared: Seen, demo_profile: Profile) -> None:
    page = shared.page
    loudest = [int(c) for c in demo_profile.loudest(by="pooled").index[:2]]
    page.focus("#fig-matrix input[type=range]")

    def matrix() -> np.ndarray:
        shared.drawn()
        return np.array(page.evaluate("document.querySelector('#fig-matrix .plot').data[0].z"))

    for k in range(3):
        if k:
            page.keyboard.press("ArrowRight")
        assert np.allclose(matrix(), demo_profile.r2(without=loudest[:k]), rtol=0, atol=1e-6), k
    said = page.locator("#fig-matrix output").inner_text()
    assert said == ", ".join(map(str, loudest))
    page.select_option("#fig-matrix select", "within")
    assert np.allclose(matrix(), demo_profile.r2("within"), rtol=0, atol=1e-6)
    page.select_option("#fig-matrix select", "pooled")


def test_the_passage_shows_the_states_of_the_site(shared: Seen, demo_profile: Profile) -> None:
    shared.choose(site="block.3.resid_post")
    head, *rows = shared.data("map")
    sample = demo_profile.sample("rest")
    held = sample.isel(token=np.flatnonzero(sample["passage"].values)).sortby("position")
    channels = [int(name.removeprefix("channel ")) for name in head[2:]]
    states = held["state"].sel(site="block.3.resid_post").values[:, channels]
    assert len(rows) == len(states) > 10
    assert [int(row[1]) for row in rows] == held["position"].values.tolist()
    found = np.array([[float(c.replace("−", "-").replace(",", "")) for c in r[2:]] for r in rows])
    assert np.allclose(found, states, rtol=0.006, atol=1e-6)


def bitmaps(shared: Seen, figure: str) -> list[bytes]:
    """Return the pictures that heat maps are drawn as."""
    images = f"[...document.querySelectorAll('#fig-{figure} .plot image')]"
    found = shared.page.evaluate(
        f"{images}.map(i => i.getAttribute('href') ?? i.getAttribute('xlink:href') ?? '')"
    )
    return [base64.b64decode(address.partition(",")[2]) for address in found if address]


def test_the_view_changes_what_is_drawn(shared: Seen, demo_profile: Profile) -> None:
    before: dict[str, list[bytes]] = {}
    for view in ("rest", "first"):
        shared.choose(view=view, site="block.6.resid_post")
        expected = demo_profile.moments(view)["std"].to_numpy()
        assert np.allclose(shared.trace("moments", 0, "y"), expected, rtol=1e-6), view
        prepared: Any = figures.prepare("histogram", demo_profile.stream, view=view, bins=160)
        table = prepared.table[prepared.table["site"] == "block.6.resid_post"]
        sites = shared.page.evaluate(
            "document.querySelector('#fig-histogram .plot').data.map(t => t.meta?.site)"
        )
        drawn = shared.trace("histogram", sites.index("block.6.resid_post"), "y")
        assert np.allclose(np.nan_to_num(drawn), table[prepared.y], rtol=1e-6), view
        shown = shared.page.locator(".lead:visible").first.inner_text()
        words = demo_profile.caption(view)
        assert shown == f"{words[0].upper()}{words[1:]}."
        parts = "[...document.querySelectorAll('[data-view]:not([hidden])')]"
        assert set(shared.page.evaluate(f"{parts}.map(p => p.dataset.view)")) == {view}
        for key in ("matrix", "pairs", "map", "outliers"):
            pictures = bitmaps(shared, key)
            assert pictures, (key, view)
            for picture in pictures:
                pixels = matplotlib.image.imread(io.BytesIO(picture), format="png")
                colours = np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)
                assert len(colours) > 2, (key, view)
            assert before.get(key) != pictures, key
            before[key] = pictures
    assert shared.page.evaluate("location.hash").endswith("&view=first&site=block.6.resid_post")


def test_an_address_names_section_view_and_site(html: str, look: Look) -> None:
    with look(html, "#between&view=first&site=final_norm") as seen:
        assert seen.page.input_value("#view") == "first"
        assert seen.page.input_value("#site") == "final_norm"
        seen.page.wait_for_selector("nav a[aria-current][href='#between']")
        seen.page.evaluate("location.hash = '#nowhere&view=<b>&site=nowhere'")
        seen.drawn()
        assert seen.page.input_value("#view") == "first"


def test_figures_are_drawn_when_their_reader_comes_near(html: str, look: Look) -> None:
    with look(html, viewport=LAPTOP) as seen:
        page = seen.page
        assert seen.ever_drawn() == ["depth"]
        # What is far has its words, its controls, its table and its picture all the same.
        page.select_option("#view", "first")
        seen.drawn()
        assert "first tokens only" in page.inner_text("#fig-outliers .caption")
        assert page.locator("#fig-pairs select").count() == 2
        assert len(seen.data("outliers")) > 2
        page.evaluate("document.querySelector('#fig-outliers details').open = false")
        with page.expect_download() as download:
            page.evaluate("document.querySelector('#fig-outliers [data-save=svg]').click()")
        assert b"<path" in Path(download.value.path()).read_bytes()
        assert seen.ever_drawn() == ["depth"]
        # It keeps as much room as it will take.
        height = "document.documentElement.scrollHeight"
        before = page.evaluate(height)
        page.evaluate("document.querySelector('#fig-matrix').scrollIntoView({behavior: 'instant'})")
        page.wait_for_selector("#fig-matrix .main-svg")
        seen.drawn()
        assert {"matrix", "depth"} <= set(seen.ever_drawn())
        assert "outliers" not in seen.ever_drawn()
        assert page.evaluate(height) == before
        assert "first tokens only" in page.inner_text("#fig-matrix .caption")


def test_a_section_far_down_is_where_its_address_leads(html: str, look: Look) -> None:
    with look(html, "#outliers", viewport=LAPTOP) as seen:
        assert {"depth", "outliers"} <= set(seen.ever_drawn())
        assert "ridge" not in seen.ever_drawn()
        top = "document.querySelector('#{}').getBoundingClientRect().top"
        assert 0 <= seen.page.evaluate(top.format("outliers")) < 100
        # Nor do figures that grow above it push it away, in a browser that would let them.
        unheld = "document.documentElement.style.overflowAnchor = 'none'"
        seen.page.add_init_script(f"addEventListener('DOMContentLoaded', () => {{ {unheld} }})")
        seen.page.goto(seen.page.url.replace("#outliers", "?again#outliers"))
        seen.drawn()
        assert 0 <= seen.page.evaluate(top.format("outliers")) < 100
        # Who goes on is not called back.
        seen.page.evaluate(
            "document.querySelector('#fig-norms').scrollIntoView({behavior: 'instant'})"
        )
        seen.page.wait_for_selector("#fig-norms .main-svg")
        seen.drawn()
        assert 0 <= seen.page.evaluate(top.format("fig-norms")) < 100


def plots(page: Page) -> tuple[list[float], list[float]]:
    """Return how wide and how high figures stand on the page."""
    boxes = "[...document.querySelectorAll('.plot')].map(p => p.getBoundingClientRect())"
    found = page.evaluate(f"(b => ['width', 'height'].map(k => b.map(r => r[k])))({boxes})")
    return found[0], found[1]


def stops(page: Page) -> list[str]:
    """Return the figures that scroll sideways, and say so to those who use a keyboard."""
    frames = "[...document.querySelectorAll('.frame[tabindex=\"0\"][role=region][aria-label]')]"
    found: list[str] = page.evaluate(f"{frames}.map(f => f.closest('figure').id)")
    return found


def test_on_paper_every_figure_is_drawn_and_fits(html: str, look: Look) -> None:
    sheets = []
    for width in (360, 1280, 2560):
        window = {"width": width, "height": 720}
        with look(html, viewport=window, color_scheme="dark") as seen:
            page = seen.page
            before = plots(page), stops(page)
            pdf = page.pdf(format="A4")
            sheets.append((len(re.findall(rb"/Type\s*/Page\b", pdf)), len(pdf)))
            # Afterwards the page is again as it was.
            seen.drawn()
            assert (plots(page), stops(page)) == before
            assert page.evaluate("document.documentElement.dataset.theme") is None
            # What a printer sees between the two events, on a sheet that is higher than wide.
            page.set_viewport_size({"width": width, "height": 2 * width})
            seen.drawn()
            page.evaluate("void dispatchEvent(new Event('beforeprint'))")
            page.emulate_media(media="print")
            assert len(seen.ever_drawn()) == 13
            wide, high = plots(page)
            assert max(wide) == pytest.approx(SHEET, abs=1)
            assert min(wide) > SHEET / 3
            assert max(high) <= 681
            assert "rgb(163, 166, 171)" not in page.evaluate(FILLS)
            page.evaluate("void dispatchEvent(new Event('afterprint'))")
            seen.drawn()
    pages, sizes = np.transpose(sheets)
    assert len(set(pages)) == 1
    assert np.ptp(sizes) < 0.02 * sizes[0]


def test_without_plotly_the_numbers_are_there(
    demo_profile: Profile, browser: Browser, tmp_path: Path
) -> None:
    file = demo_profile.report(tmp_path / "cdn.html", plotlyjs="cdn")
    page = browser.new_page()
    page.route("https://*/**", lambda route: route.abort())
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    said = page.locator(".missing:visible")
    assert said.count() == 13
    assert "Plotly’s script could not be loaded" in said.first.inner_text()
    assert page.locator(".frame:visible").count() == 0
    assert set(page.locator("[data-save]:visible").all_inner_texts()) == {"CSV"}
    with page.expect_download() as download:
        page.click("#fig-outliers [data-save=csv]")
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) > 3
    page.close()


def barriers(seen: Seen) -> None:
    """Fail where axe finds a serious barrier."""
    if not seen.page.evaluate("'axe' in window"):
        seen.page.evaluate(fetch_axe.fetch().read_text(encoding="utf-8"))
    found = seen.page.evaluate("axe.run({resultTypes: ['violations']}).then(r => r.violations)")
    bad = [v for v in found if v["impact"] in {"serious", "critical"}]
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in bad] == []


def clashes(page: Any) -> list[list[str]]:
    """Return what lies over each other, once the figures have had time to be laid out."""
    for _ in range(20):
        found: list[list[str]] = page.evaluate(CLASHES)
        if not found:
            break
        page.wait_for_timeout(250)
    return found


def faintest(page: Page) -> float:
    """Return the least contrast of a word in a figure with the page, as WCAG defines it."""
    colours = [page.evaluate(GROUND), *sorted(set(page.evaluate(FILLS)))]
    values = (
        np.array([[int(c) for c in re.findall(r"\d+", colour)[:3]] for colour in colours]) / 255
    )
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722] + 0.05
    ratios = light[1:] / light[0]
    return float(np.minimum(np.maximum(ratios, 1 / ratios), 99).min())


def test_on_a_telephone_in_the_dark(html: str, look: Look) -> None:
    with look(html, viewport=TALL | {"width": 360}, color_scheme="dark") as seen:
        page = seen.page
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        dark = page.evaluate(GROUND)
        assert faintest(page) > 4.5
        barriers(seen)
        assert clashes(page) == []
        assert stops(page) == ["fig-map"]
        # What is saved is as high as on the page, and has room for its title.
        high = page.locator("#fig-matrix .plot").evaluate("plot => plot.clientHeight")
        with page.expect_download() as download:
            page.click("#fig-matrix [data-save=png]")
        saved = matplotlib.image.imread(Path(download.value.path()), format="png")
        assert saved.shape[0] == 2 * (high + 20 + 20 * 2)
        page.click("#theme")
        sums = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (dark, page.evaluate(GROUND))]
        assert sums[0] < 200
        assert sums[1] > 600
        # No word keeps the colour that it had in the dark.
        seen.drawn()
        fills = page.evaluate(FILLS)
        assert len(fills) > 100
        assert "rgb(163, 166, 171)" not in fills
        assert faintest(page) > 4.5


def test_wider_screens_are_filled_and_no_words_lie_over_each_other(shared: Seen) -> None:
    page = shared.page
    shared.choose(view="rest")
    for width, least in ((768, 0.85), (2560, 0.8)):
        shared.resize(width)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert clashes(page) == [], width
        edges = "[...document.querySelectorAll('.figures')].map(f => f.getBoundingClientRect())"
        left, right = page.evaluate(f"(r => [r[0].left, r[0].right])({edges})")
        assert (right - left) / width > least
        # Each section's figures reach the right edge of its column.
        ends = page.evaluate(
            "[...document.querySelectorAll('.figures')].map(g => Math.max(...[...g.children]"
            ".map(f => f.getBoundingClientRect().right)))"
        )
        assert min(ends) > left + 0.95 * (right - left), width
        measures = page.evaluate(
            "[...document.querySelectorAll('.lead, .claim, .finding, .caption, dd')]"
            ".map(p => p.clientWidth / parseFloat(getComputedStyle(p).fontSize))"
        )
        assert max(measures) < 80
    shared.resize(1280)


def test_nothing_bars_the_way(shared: Seen) -> None:
    # One table is enough, and each cell of one takes its time.
    shared.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = false")
    shared.data("matrix")
    barriers(shared)


@pytest.fixture
def hostile_profile(profile_file: Path) -> Profile:
    p = hs.open(profile_file)
    for group, names in (("sample", ["piece"]), ("extremes", ["piece", "before", "after"])):
        data = p.stream[group].to_dataset()
        for shift, name in enumerate(names):
            shape = data[name].shape
            texts = [HOSTILE[(i + 7 * shift) % len(HOSTILE)] for i in range(data[name].size)]
            data[name] = (data[name].dims, np.array(texts, object).reshape(shape))
        if group == "sample":
            order = np.lexsort([data["position"].values, ~data["passage"].values.astype(bool)])
            pieces = np.empty(len(order), object)
            pieces[order] = [HOSTILE[i % len(HOSTILE)] for i in range(len(order))]
            data["piece"] = ("token", pieces)
        p.stream[group].dataset = data
    manifest = p.manifest
    manifest["model"]["name"] = manifest["model"]["architecture"] = HOSTILE[1]
    manifest["corpus"]["name"] = HOSTILE[2]
    manifest["<script>window.hacked=1</script>"] = {t[:50]: t for t in HOSTILE}
    checks = [*p.checks, {"name": HOSTILE[3], "detail": HOSTILE[0], "passed": False}]
    p.dataset.attrs["manifest"] = json.dumps(manifest)
    p.dataset.attrs["checks"] = json.dumps([c | {"level": "check"} for c in checks])
    return p


def test_hostile_texts_are_shown_and_never_run(hostile_profile: Profile, look: Look) -> None:
    html = report.render(hostile_profile.dataset)
    assert len(html) < 8e6
    with look(html, "#summary&view=all") as seen:
        page = seen.page
        expected = [visible(shorten(text, encode.LONGEST)) for text in HOSTILE]
        shown = [row[0] for row in seen.data("map")[1:]]
        assert shown == [expected[i % len(HOSTILE)] for i in range(len(shown))]
        assert len(shown) >= 30
        cells = "[...document.querySelectorAll('.manifest td')].map(c => c.textContent)"
        found = page.evaluate(cells)
        for text in HOSTILE:
            assert visible(shorten(text, 1000)) in found, text[:80]
        assert page.inner_text("h1") == expected[1]
        page.locator("#fig-map .plot").hover()
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked") is None
        every = "[...document.querySelectorAll('*')]"
        attributes = f"{every}.flatMap(e => [...e.attributes].map(a => [a.name, a.value]))"
        for name, value in page.evaluate(attributes):
            assert not name.startswith("on")
            leads = name in {"href", "xlink:href", "src", "srcdoc", "action", "formaction"}
            assert not (leads and value.strip().startswith("javascript:"))
        assert page.evaluate("[...document.scripts].filter(s => !s.type).length") == 2
        foreign = "iframe, object, embed, base, form[action], meta[http-equiv=refresh], template"
        assert page.query_selector_all(foreign) == []
        links = page.evaluate("[...document.links].map(l => l.protocol)")
        assert set(links) == {"https:", "file:"}


def test_a_script_that_was_changed_does_not_run(
    html: str, browser: Browser, tmp_path: Path
) -> None:
    changed = html.replace('"use strict";', '"use strict"; window.hacked = 1;', 1)
    changed = changed.replace("</main>", "<script>window.hacked=1</script></main>")
    file = tmp_path / "changed.html"
    file.write_text(changed, encoding="utf-8")
    page = browser.new_page()
    page.add_init_script(LISTEN)
    page.goto(file.as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hacked=1>')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert len(page.evaluate("window.broken")) >= 2
    assert page.query_selector(".main-svg") is None
    page.close()


def few_states(kind: str) -> Profile:
    x = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
    if kind == "one channel":
        # One token in view with one value.
        return hs.from_states({"embed": x[:1, :2, :1]})
    if kind == "one token":
        return hs.from_states({"embed": x[:1, :2], "block.0.resid_post": x[:1, :2]})
    if kind == "one site":
        return hs.from_states({"embed": x})
    if kind == "encoder":
        return hs.from_states({"embed": x, "block.0.resid_post": 2 * x}, causal=False)
    bad = x.copy()
    bad[0, 3:9, 5] = np.nan
    with pytest.warns(hs.HiddenscopeWarning):
        return hs.from_states({"embed": x, "block.0.resid_post": bad, "final_norm": bad})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("NaN", "needs care"),
        ("one site", "Not shown:"),
        ("one token", "First tokens left out: 1 of 2 tokens."),
        ("one channel", "1 site of 1 channel"),
        ("no sample", "this profile holds no sample"),
        ("encoder", "There are no first tokens: where attention looks both ways"),
        ("schema-1", "schema 1"),
        ("schema-2", "cannot be told"),
        ("schema-3", "cannot be told"),
    ],
)
def test_what_is_missing_is_said(kind: str, words: str, profile_file: Path, look: Look) -> None:
    if kind.startswith("schema"):
        p = hs.open(GOLDEN / f"{kind}.nc")
    elif kind == "no sample":
        p = hs.open(profile_file)
        del p.stream["sample"]
    else:
        p = few_states(kind)
    with look(report.render(p.dataset)) as seen:
        assert words in seen.page.inner_text("main")
        if kind == "no sample":
            assert not seen.page.locator("#fig-pairs .tools").is_visible()
            assert "choose a cell" not in seen.page.inner_text("#fig-matrix")
        assert seen.page.query_selector(".main-svg") is not None
        shown = seen.page.text_content("main") or ""
        assert re.findall(rf"(?<![\d.,:–])\b1 (?:{PLURALS})\b", shown) == []


def test_states_that_are_nan_at_a_whole_site_or_zero_have_a_page(look: Look) -> None:
    x = np.random.default_rng(0).normal(size=(2, 120, 8)).astype(np.float32)
    blocks = {f"block.{i}.resid_post": x * (i + 1) for i in range(4)}
    with pytest.warns(hs.HiddenscopeWarning):
        lost = hs.from_states({"embed": x, **blocks, "block.2.resid_post": x * np.nan})
    zero = hs.from_states({site: 0 * x for site in ("embed", *blocks)})
    for p in (lost, zero):
        with look(report.render(p.dataset)) as seen:
            assert "R² –" not in seen.page.inner_text("main")
            assert len(p.claims()) == 22


def test_words_are_readable_in_the_dark(shared: Seen) -> None:
    page = shared.page
    page.emulate_media(color_scheme="dark")
    # The browser tells of it in its own time; then no word has the colour that it had before.
    for _ in range(40):
        shared.drawn()
        fills = page.evaluate(FILLS)
        if "rgb(90, 95, 102)" not in fills:
            break
    assert "rgb(90, 95, 102)" not in fills
    assert len(fills) > 100
    assert "rgb(68, 68, 68)" not in fills
    page.emulate_media(color_scheme="dark", media="print")
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert max(map(int, re.findall(r"\d+", ink)[:3])) < 40
    page.emulate_media(color_scheme="light", media="screen")
    page.reload()
    shared.drawn()


def test_with_the_script_from_the_network_only_that_one_may_run(demo_profile: Profile) -> None:
    html = report.render(demo_profile.dataset, "cdn")
    assert len(html.encode()) < 1.5e6
    url = re.search(r'<script src="([^"]+)" integrity="([^"]+)"', html)
    assert url is not None
    assert re.fullmatch(r"https://cdn\.plot\.ly/plotly-\d+\.\d+\.\d+\.min\.js", url[1])
    from plotly.offline import get_plotlyjs

    assert url[2] == policy.digest(get_plotlyjs())
    rules = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert rules is not None
    assert f"{url[1]};" in rules[1]
    assert "unsafe-eval" not in rules[1]
    assert "script-src 'unsafe-inline'" not in rules[1]
    with pytest.raises(InputError, match="choose inline"):
        report.render(demo_profile.dataset, "elsewhere")


def test_citations_are_links_and_nothing_else_is() -> None:
    found = cited("<b>Sun</b> 2024, arXiv:2402.17762, and javascript:arXiv:24")
    assert found == (
        '&lt;b&gt;Sun&lt;/b&gt; 2024, <a href="https://arxiv.org/abs/2402.17762" rel="noreferrer">'
        "arXiv:2402.17762</a>, and javascript:arXiv:24"
    )


def test_the_command_writes_it_without_torch(profile_file: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("report", profile_file, "-o", "a.html", "--plotlyjs", "cdn")
    assert (code, out.strip()) == (0, "a.html")
    assert Path("a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    code, _, _ = run("report", profile_file, "--plotlyjs", "elsewhere")
    assert code == 2
    program = (
        "import sys, hiddenscope.profiles as p;"
        f"p.Profile.open({str(profile_file)!r}).report('b.html', plotlyjs='cdn');"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert Path("b.html").read_bytes() == Path("a.html").read_bytes()
