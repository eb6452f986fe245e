"""A profile at a glance: what it is of, a row per site, its checks, outliers named."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import log10
from typing import TYPE_CHECKING, Any

from hiddenscope import analysis
from hiddenscope.analysis.display import safe
from hiddenscope.words import counted, number, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenscope.profiles.profile import Profile

COLUMNS = ("site", "HF", "tokens", "std", "min", "max", "excess kurtosis")
BARS = " ▁▂▃▄▅▆▇█"
BINS = 16
DECADES = 6
"""A small histogram spans its fullest bin and this many decades below it."""
MARKS = {"check": ("✓", "✗"), "warning": ("✓", "!"), "note": ("·", "·")}
"""By level, for what has passed and for what has not."""
_STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "padding:1px 8px;text-align:right;border:0"


@dataclass(frozen=True)
class Row:
    """One site.

    Attributes
    ----------
    cells : tuple of str
        In the order of `COLUMNS`.
    counts : list of int
        Values in equal bins from −max to +max; empty where the values do not vary.
    """

    cells: tuple[str, ...]
    counts: list[int]


def rows(profile: Profile, view: str = "rest", sites: str | list[str] | None = None) -> list[Row]:
    """Return a row for each site, of the trunk by default."""
    stream = profile.stream
    names = analysis.trunk_sites(stream) if sites is None else analysis.choose_sites(stream, sites)
    made = []
    drawn = analysis.outlines(stream, BINS, view, names)
    for (site, row), counts in zip(
        analysis.moments(stream, view).loc[names].iterrows(), drawn, strict=True
    ):
        tokens = int(row["tokens"])
        cells = (
            str(site),
            "–" if row["hf_index"] < 0 else f"{int(row['hf_index'])}",
            f"{tokens:,}" if tokens < 10_000_000 else f"{tokens / 1e6:,.1f}M",
            *(number(float(row[c])) for c in ("std", "min", "max", "excess_kurtosis")),
        )
        made.append(Row(cells, counts))
    return made


def heights(counts: Sequence[int]) -> list[float]:
    """Turn counts into heights from 0 to 1, logarithmic over `DECADES`; 0 only for none."""
    top = max(counts, default=0)
    return [max(1 + log10(n / top) / DECADES, 1 / len(BARS)) if n else 0.0 for n in counts]


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts in characters."""
    return "".join(
        BARS[0] if not h else BARS[max(1, round(h * (len(BARS) - 1)))] for h in heights(counts)
    )


def mark(check: dict[str, Any]) -> str:
    """Return the sign of a check: passed, failed, or only told."""
    return MARKS.get(check["level"], MARKS["check"])[not check["passed"]]


def title(profile: Profile) -> str:
    """Say what was measured on what."""
    manifest = profile.manifest
    name, corpus = manifest["model"].get("name", "?"), manifest["corpus"].get("name", "?")
    stream = str(profile.stream.name)
    return f"{name} on {corpus}" + (f", {stream} stream" if stream != analysis.MAIN else "")


def text(profile: Profile, view: str = "rest") -> str:
    """Show a profile as text."""
    held = rows(profile, view)
    table: list[tuple[str, ...]] = [(*COLUMNS, "log density, −max … +max")]
    table += [(*row.cells, sparkline(row.counts)) for row in held]
    wide = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
    lines = [title(profile), profile.caption(view), ""]
    for site, *cells, drawn in table:
        right = [cell.rjust(w) for cell, w in zip(cells, wide[1:], strict=True)]
        lines.append("  ".join([site.ljust(wide[0]), *right, drawn]).rstrip())
    lines += ["", *analysis.outlier_words(profile.outliers(view)), ""]
    lines += [f"{mark(c)} {c['name']}: {c['detail']}" for c in profile.checks]
    return "\n".join(visible(line) for line in lines)


def html(profile: Profile, view: str = "rest") -> str:
    """Show a profile as HTML; every string is escaped."""
    left = _CELL.replace("right", "left")
    head = "".join(
        f'<th style="{left if c == "site" else _CELL}">{escape(c)}</th>'
        for c in (*COLUMNS, "log density")
    )
    body = "".join(_html_row(row) for row in rows(profile, view))
    checks = "".join(
        f"<div>{escape(mark(c))} <b>{safe(c['name'])}</b>: {safe(c['detail'])}</div>"
        for c in profile.checks
    )
    outliers = "".join(
        f"<div>{safe(words)}</div>" for words in analysis.outlier_words(profile.outliers(view))
    )
    return (
        f"<div><b>{safe(title(profile))}</b><br>{safe(profile.caption(view))}"
        f'<table style="{_STYLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{outliers}<details><summary>{safe(checks_words(profile))}</summary>{checks}</details>"
        "</div>"
    )


def checks_words(profile: Profile) -> str:
    """Say whether the checks passed."""
    made = [c["passed"] for c in profile.checks if c["level"] == "check"]
    failed, checks = made.count(False), counted(len(made), "check")
    return f"{failed} of {checks} failed" if failed else f"{checks} passed"


def _html_row(row: Row) -> str:
    site, *cells = (escape(visible(cell)) for cell in row.cells)
    numbers = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells)
    bars = "".join(
        f'<rect x="{5 * i}" y="{16 * (1 - h):.1f}" width="4" height="{16 * h:.1f}"/>'
        for i, h in enumerate(heights(row.counts))
        if h
    )
    drawn = (
        f'<svg width="{5 * BINS}" height="16" fill="currentColor" role="img" '
        f'aria-label="histogram of {site}">{bars}</svg>'
    )
    left = _CELL.replace("right", "left")
    return f'<tr><td style="{left}">{site}</td>{numbers}<td style="{left}">{drawn}</td></tr>'
