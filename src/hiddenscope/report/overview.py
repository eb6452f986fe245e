"""The summary card and the manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hiddenscope import analysis
from hiddenscope.errors import InputError
from hiddenscope.profiles.overview import mark
from hiddenscope.report import encode
from hiddenscope.words import counted, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hiddenscope.report.subject import Subject


@dataclass(frozen=True)
class Check:
    """What the run checked of itself."""

    name: str
    detail: str
    css: str
    mark: str


@dataclass(frozen=True)
class Card:
    """The summary.

    Attributes
    ----------
    model, corpus : str
    facts : list of (str, str)
    checks : list of Check
        Those that failed first.
    checks_words : str
    passed : bool
        Whether no check failed and nothing is warned of.
    findings : dict of str to list of str
        What can be said of each view.
    """

    model: str
    corpus: str
    facts: list[tuple[str, str]]
    checks: list[Check]
    checks_words: str
    passed: bool
    findings: dict[str, list[str]]


CSS = {"✓": "holds", "✗": "fails", "!": "warns", "·": "notes"}
"""The page's class of each mark of a check."""


def card(subject: Subject) -> Card:
    """Collect the summary."""
    stream = subject.stream
    manifest = analysis.manifest(stream)
    model, corpus = (manifest.get(key) or {} for key in ("model", "corpus"))
    name = str(model.get("name") or "unnamed model")
    if stream.name != analysis.MAIN:
        name += f", {str(stream.name).replace('_', ' ')} stream"
    checks = _checks(json.loads(stream.root.attrs["checks"]))
    bad = [c for c in checks if c.css in {"fails", "warns"}]
    made = [c for c in checks if c.css != "notes"]
    words = (
        f"{len(bad)} of {counted(len(made), 'check')} need{'s' * (len(bad) == 1)} care"
        if bad
        else f"{'All ' * (len(made) > 1)}{counted(len(made), 'check')} passed"
    )
    return Card(
        model=encode.text(name),
        corpus=encode.text(corpus.get("name") or "unnamed text"),
        facts=[(k, encode.text_of_reason(str(v))) for k, v in _facts(subject, manifest) if v],
        checks=sorted(checks, key=lambda c: ("fails", "warns", "holds", "notes").index(c.css)),
        checks_words=words if made else "The run checked nothing of itself",
        passed=not bad,
        findings={view: list(_findings(subject, view)) for view in subject.views},
    )


def _checks(held: list[dict[str, Any]]) -> list[Check]:
    found = []
    for check in held:
        sign = mark(check)
        name, detail = encode.text(check["name"]), encode.text_of_reason(str(check["detail"]))
        found.append(Check(name, detail, CSS[sign], sign))
    return found


def _facts(subject: Subject, manifest: dict[str, Any]) -> Iterator[tuple[str, object]]:
    stream = subject.stream
    model, corpus = (manifest.get(key) or {} for key in ("model", "corpus"))
    channels = analysis.group(stream, "moments").sizes["channel"]
    tokens = analysis.tokens(stream)
    by_stratum = " · ".join(f"{n:,} {stratum}" for stratum, n in tokens.items() if n)
    parameters = model.get("parameters")
    yield "Model", model.get("architecture") or model.get("name")
    yield "Parameters", f"{number(parameters / 1e6)} million" if parameters else ""
    yield "Text", corpus.get("name")
    yield "Tokens", f"{sum(tokens.values()):,} ({by_stratum})"
    yield "Measured at", f"{counted(len(subject.sites), 'site')} of {counted(channels, 'channel')}"
    others = [s for s in analysis.stream_names(stream.root) if s != stream.name]
    yield "Other streams", ", ".join(others)
    yield "Created", str(manifest.get("created") or "")[:10]


def _findings(subject: Subject, view: str) -> Iterator[str]:
    """Say in a sentence each what can be said of a view."""
    stream, sites = subject.stream, subject.trunk
    told: tuple[Callable[[], list[str]], ...] = (
        lambda: [analysis.spread_words(stream, view, sites)],
        lambda: [analysis.norm_words(stream, view, sites)],
        lambda: [analysis.tail_words(stream, view, sites)],
        lambda: [analysis.step_words(stream, view, sites)],
        lambda: analysis.outlier_words(analysis.outliers(stream, view)),
    )
    for tell in told:
        try:
            yield from (encode.sentence(words) for words in tell() if words)
        except InputError as error:
            yield encode.sentence(str(error))


def manifest_rows(subject: Subject) -> list[tuple[str, str]]:
    """Return the manifest as rows of names and values, nested names joined by dots."""
    return list(_flat("", analysis.manifest(subject.stream)))


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value and len({str(v) for v in value.values()}) > 1:
        for key, held in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), held)
    elif isinstance(value, dict) and value:
        # The same for all, such as the dtype by site.
        same = next(iter(value.values()))
        yield encode.text(name), encode.text(f"{same} ({', '.join(map(str, value))})")
    else:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield encode.text(name), encode.text_of_reason(shown)
