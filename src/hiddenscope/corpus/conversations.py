"""Conversations: rows of JSONL with a list of messages, checked before anything reads them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from hiddenscope.errors import SourceError
from hiddenscope.strata import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    Message = dict[str, Any]

STRATUM_OF_ROLE = {
    **{role: role for role in ROLES},
    "developer": "system",
    "ipython": "tool",
    "function": "tool",
}
"""The stratum of each role that a message may have."""

_HALVES = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """Replace halves of surrogate pairs, from JSON escapes or a shell's raw bytes."""
    try:
        # Far faster than a search for what is hardly ever there.
        text.encode()
    except UnicodeEncodeError:
        return _HALVES.sub("\ufffd", text)
    return text


def conversation(
    row: Mapping[str, Any], column: str, where: str
) -> tuple[str, tuple[Message, ...], tuple[dict[str, Any], ...] | None]:
    """Check a row and return its conversation.

    Parameters
    ----------
    row : mapping
        One that has `column`; its ``tools``, if any, are those that the model may call.
    column : str
    where : str
        File and line, for the errors.

    Returns
    -------
    text : str
        The messages as canonical JSON; with the tools, where there are any.
    messages : tuple of dict
    tools : tuple of dict, optional

    Raises
    ------
    SourceError
        It is no list of messages; the error names the message.
    """
    messages, tools = row[column], row.get("tools")
    if not isinstance(messages, list):
        msg = f"{where}: column {column!r} holds {_kind(messages)}, expected a list of messages"
        raise SourceError(msg)
    if not messages:
        msg = f"{where}: column {column!r} holds no messages: leave the row out"
        raise SourceError(msg)
    for number, message in enumerate(messages, 1):
        _check(message, f"{where}: message {number}")
    if tools is not None and not _are_objects(tools):
        msg = f"{where}: 'tools' holds {_kind(tools)}, expected a list of objects or null"
        raise SourceError(msg)
    found = {"messages": messages, "tools": tools} if tools else messages
    text = whole_characters(json.dumps(found, ensure_ascii=False, sort_keys=True))
    # Read back: what is rendered has whole characters too.
    read = json.loads(text)
    if tools:
        return text, tuple(read["messages"]), tuple(read["tools"])
    return text, tuple(read), None


def _check(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        msg = f"{where} is {_kind(message)}, expected an object with 'role' and 'content'"
        raise SourceError(msg)
    role = message.get("role")
    if "role" not in message:
        msg = f"{where} has no 'role' (it has {_keys(message)}): expected 'role' and 'content'"
        raise SourceError(msg)
    if not isinstance(role, str) or role not in STRATUM_OF_ROLE:
        msg = f"{where} has the role {role!r}, expected one of {', '.join(STRATUM_OF_ROLE)}"
        raise SourceError(msg)
    calls = message.get("tool_calls")
    if calls is not None and not (_are_objects(calls) and all(map(_is_call, calls))):
        msg = (
            f"{where}: 'tool_calls' holds {_kind(calls)}, expected a list of objects such as "
            '{"function": {"name": "…", "arguments": {}}}'
        )
        raise SourceError(msg)
    _check_content(message, where)


def _is_call(call: Message) -> bool:
    function = call.get("function", call)
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _check_content(message: Message, where: str) -> None:
    content = message.get("content")
    if content is None and message["role"] == "assistant" and message.get("tool_calls"):
        return
    if "content" not in message:
        msg = (
            f"{where} ({message['role']}) has no 'content' (it has {_keys(message)}): only an "
            "assistant's message with 'tool_calls' may go without"
        )
        raise SourceError(msg)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        msg = f"{where}: 'content' holds {_kind(content)}, expected a text or a list of text parts"
        raise SourceError(msg)
    for number, part in enumerate(content, 1):
        is_text = isinstance(part, dict) and part.get("type") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            what = (
                f"an object of type {part.get('type')!r} with {_keys(part)}"
                if isinstance(part, dict)
                else _kind(part)
            )
            msg = f"{where}: part {number} of 'content' is {what}, expected "
            raise SourceError(msg + '{"type": "text", "text": "…"}')


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _keys(found: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, found)) or "no keys"


def _kind(value: Any) -> str:
    """Name what JSON holds there, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, list):
        kinds = dict.fromkeys(_kind(item) for item in value)
        return f"a list of {' and '.join(kinds)}" if value else "an empty list"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "an object")
