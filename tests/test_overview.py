"""How a profile and its outliers show themselves: as text and in a notebook."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from known import known

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.profiles import Profile, overview

if TYPE_CHECKING:
    from hiddenscope.profiles.overview import Row

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</div></td><b>",
    "&lt;b&gt; & \"quoted\" 'single'",
    "\x1b[31mred\x1b[0m",
    "line\nbreak\u202e",
]


class Reader(HTMLParser):
    """Notes tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"br", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def renamed(name: str) -> Profile:
    tree = known().profile.dataset.copy()
    manifest = json.loads(tree.attrs["manifest"])
    manifest["model"]["name"] = manifest["corpus"]["name"] = name
    tree.attrs["manifest"] = json.dumps(manifest)
    tree.attrs["checks"] = json.dumps(
        [{"name": name, "passed": False, "detail": name, "level": "check"}]
    )
    return Profile(tree)


@pytest.mark.parametrize("name", HOSTILE)
def test_every_string_is_escaped(name: str) -> None:
    p = renamed(name)
    usual = Reader(known().profile._repr_html_())
    found = Reader(p._repr_html_())
    assert not found.open
    assert set(found.tags) <= set(usual.tags) | {"b"}
    assert found.attributes == usual.attributes
    plain = name.replace("\x1b", "\\x1b").replace("\n", "↵").replace("\u202e", "\\x202e")
    assert found.text.count(plain) >= 3
    assert "\x1b" not in str(p)
    assert plain in str(p)


def test_the_table_and_the_text_say_what_the_tables_say() -> None:
    p = known().profile
    table = p.moments()
    found = overview.rows(p)
    assert [row.cells[0] for row in found] == [s for s in p.sites if "attn" not in s]
    page, words = Reader(p._repr_html_()), str(p)
    for row in found:
        tokens = int(table.loc[row.cells[0], "tokens"])
        assert row.cells[2] == f"{tokens:,}"
        line = next(part for part in words.splitlines() if part.startswith(row.cells[0]))
        for cell in row.cells:
            assert cell in page.text
            assert cell in line
        assert line.endswith(overview.sparkline(row.counts).rstrip())
        assert sum(row.counts) == tokens * 40 or table.loc[row.cells[0], "nonfinite"]
    for part in (*analysis.outlier_words(p.outliers()), p.caption(), overview.title(p)):
        assert part in words
        assert part in page.text
    for check in p.checks:
        assert f"{overview.mark(check)} {check['name']}: {check['detail']}" in words
    assert page.tags.count("svg") == len(found)
    assert len(repr(p).splitlines()) == 1


def test_a_row_counts_the_values_of_its_site_in_equal_bins() -> None:
    rng = np.random.default_rng(5)
    states = {
        "embed": rng.normal(size=(2, 30, 16)).astype(np.float32),
        "block.0.resid_post": (40 * rng.standard_t(2, (2, 30, 16))).astype(np.float32),
        "final_norm": np.zeros((2, 30, 16), np.float32),
    }
    profile = hs.from_states(states)
    for values, row in zip(states.values(), overview.rows(profile, "all"), strict=True):
        reach = 1.01 * float(np.abs(values).max())
        if np.ptp(values):
            # The edges move to those of cells, by less than 0.4 %.
            edges = np.linspace(-reach, reach, overview.BINS + 1)
            move = 0.004 * np.abs(edges)
            low, high = ([int((values < e).sum()) for e in edges + s * move] for s in (-1, 1))
            found = np.concatenate([[0], np.cumsum(row.counts)])
            assert found[-1] == values.size
            assert np.all((low <= found) & (found <= high))
        else:
            assert row.counts == []


def test_small_histograms_have_logarithmic_heights() -> None:
    counts = [0, 1, 10, 1000, 1_000_000, 10**7]
    assert overview.heights(counts)[0] == 0
    assert overview.heights(counts)[-1] == 1
    np.testing.assert_allclose(
        overview.heights(counts)[1:], [1 / 9, 1 / 9, 1 / 3, 5 / 6, 1], rtol=1e-12
    )
    assert overview.sparkline(counts) == " ▁▁▃▇█"
    assert overview.heights([]) == []
    flat: Row = overview.rows(
        hs.from_states({"embed": np.zeros((1, 3, 4)), "final_norm": np.eye(4)[None, :3]})
    )[0]
    assert flat.counts == []


def test_marks() -> None:
    told = {
        ("check", True): "✓",
        ("check", False): "✗",
        ("warning", True): "✓",
        ("warning", False): "!",
        ("note", True): "·",
        ("note", False): "·",
    }
    for (level, passed), sign in told.items():
        assert overview.mark({"level": level, "passed": passed}) == sign


def test_outliers_show_themselves() -> None:
    states = np.random.default_rng(0).normal(size=(2, 50, 64)).astype(np.float32)
    states[..., 5] *= 30
    states[0, 3, 9] = 5e4
    p = hs.from_states({f"block.{i}.resid_post": states for i in range(4)}, name="made up")
    found = p.outliers()
    page = Reader(found._repr_html_())
    assert not page.open
    assert page.tags.count("table") == 2
    assert "channel 9 in blocks 0–3" in str(found)
    assert "1 outlier channel: 5" in str(found)
    for line in str(found).splitlines():
        assert line in page.text
    none = hs.from_states({"embed": np.random.default_rng(1).normal(size=(1, 20, 64))}).outliers()
    assert Reader(none._repr_html_()).tags.count("table") == 0
    assert "no outlier channels" in str(none)
