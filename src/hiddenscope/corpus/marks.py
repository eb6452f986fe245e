"""Marks: which characters of a rendered conversation a message wrote.

A chat template is a program: it trims, merges, reorders and drops what it is given, so a search
for a message's text in what was rendered may find it in the wrong place, or twice. Instead the
conversation is rendered once more with every character of the message replaced by a mark that
stands nowhere else. If the two renderings differ only by marks, the marks show which characters
the message wrote; if the template had treated the marked message differently, other characters
would differ as well.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hiddenscope.corpus.conversations import Message

    Change = Callable[[str], str]
    Marking = Callable[[str, str], str]

_REASONING = ("reasoning_content", "reasoning", "thinking")
# Planes 15 and 16 are private: no letters that a template would change, no white space.
_FIRST_MARK = 0xF0000
# What a template may look for in a message, such as <think>, [/INST] or <|channel|>.
_TAGS = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
_BETWEEN_WORDS = re.compile(r'(?:\s|\\u[0-9a-fA-F]{4}|\\[\\"/bfnrt]|[\\"])*')


def tags(template: str) -> frozenset[str]:
    """Return the tags that stand in a template's source."""
    return frozenset(_TAGS.findall(template))


def written_by(
    message: Message, text: str, render: Callable[[Message], str | None], tags: frozenset[str]
) -> NDArray[np.bool_] | None:
    """Return which characters of a rendered conversation a message wrote.

    The message is marked as much as the template allows: all of it; all but the white space
    round it, which is trimmed; its words alone, without what the template looks for or escapes.

    Parameters
    ----------
    message : dict
    text : str
        The conversation, rendered as it is.
    render : callable
        Renders it with another message in this one's place; None where it cannot be rendered.
    tags : frozenset of str
        What the template may look for in a message.

    Returns
    -------
    ndarray[character] of bool, optional
        None where it cannot be told: the template changes what the message says.
    """
    plain = _points(text)
    base = max(_FIRST_MARK, int(plain.max(initial=0)) + 1)
    for marking in (_all, _trimmed, _words(tags)):
        try:
            marked, texts = _marked(message, marking, base)
        except ValueError:  # the text uses up the code points: none is left for a mark
            return None
        found = render(marked)
        if found is None or len(found) != len(text):
            continue
        points = _points(found)
        if bool(((points == plain) | (points >= base)).all()):
            written = np.zeros(len(text), np.bool_)
            for each in (*texts, *_arguments(marked)):
                for start, stop in _spans(found, points, each, base):
                    written[start:stop] = True
            return written
    return None


def _all(text: str, mark: str) -> str:
    return mark * len(text)


def _trimmed(text: str, mark: str) -> str:
    core = text.strip()
    before = len(text) - len(text.lstrip())
    return text[:before] + mark * len(core) + text[before + len(core) :]


def _words(tags: frozenset[str]) -> Marking:
    kept = "|".join([*map(re.escape, sorted(tags, key=len, reverse=True)), r'[\s"\\\x00-\x1f]'])
    pattern = re.compile(f"({kept})|.", re.DOTALL)
    return lambda text, mark: pattern.sub(lambda found: found[1] or mark, text)


def _marked(message: Message, marking: Marking, base: int) -> tuple[Message, list[str]]:
    """Return the message with a mark of its own for each of its texts, and these texts."""
    texts: list[str] = []

    def change(text: str) -> str:
        texts.append(marking(text, chr(base + len(texts))))
        return texts[-1]

    made = dict(message)
    for key in ("content", *_REASONING):
        value = message.get(key)
        if isinstance(value, str):
            made[key] = change(value)
        elif isinstance(value, list) and key == "content":
            made[key] = [part | {"text": change(part["text"])} for part in value]
    if "tool_calls" in message:
        made["tool_calls"] = [_marked_call(call, change) for call in message["tool_calls"]]
    return made, texts


def _marked_call(call: dict[str, Any], change: Change) -> dict[str, Any]:
    made = dict(call)
    if isinstance(call.get("function"), dict):
        made["function"] = _marked_call(call["function"], change)
    if isinstance(call.get("name"), str):
        made["name"] = change(call["name"])
    if "arguments" in call:
        made["arguments"] = _deep(call["arguments"], change)
    return made


def _deep(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_deep(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): _deep(item, change) for key, item in value.items()}
    return value


def _spans(
    found: str, points: NDArray[np.uint32], marked: str, base: int
) -> Iterator[tuple[int, int]]:
    """Yield where a marked text stands: as it is, trimmed or as JSON; else its words.

    A template may write a text more than once, such as a function's name above a tool's answer:
    only the first occurrence is the message's.
    """
    mark = max(map(ord, marked), default=0)
    if mark < base:  # nothing but white space or tags
        return
    for form in (marked.strip(), json.dumps(marked, ensure_ascii=False)[1:-1]):
        start = found.find(form)
        if start >= 0:
            yield start, start + len(form)
            return
    places = np.flatnonzero(points == mark)[: marked.count(chr(mark))]
    breaks = np.flatnonzero(np.diff(places) > 1)
    runs = np.split(places, breaks + 1)
    yield from ((int(run[0]), int(run[-1]) + 1) for run in runs if len(run))
    for start, stop in zip(places[breaks] + 1, places[breaks + 1], strict=True):
        if _BETWEEN_WORDS.fullmatch(found, start, stop):
            yield int(start), int(stop)


def _arguments(message: Message) -> Iterator[str]:
    """Yield the arguments of the calls as JSON."""
    for call in message.get("tool_calls", ()):
        arguments = call.get("function", call).get("arguments")
        if isinstance(arguments, dict):
            yield json.dumps(arguments, ensure_ascii=False)


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
