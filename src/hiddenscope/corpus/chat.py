"""Chats: a conversation as the model's template writes it, and who wrote each token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.utils.chat_template_utils import render_jinja_template

from hiddenscope.corpus.conversations import STRATUM_OF_ROLE
from hiddenscope.corpus.marks import tags, written_by
from hiddenscope.errors import InputError, SourceError
from hiddenscope.strata import CHAT, TEMPLATE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.corpus.conversations import Message
    from hiddenscope.corpus.document import Document

_TEMPLATE = CHAT.index(TEMPLATE)
_ASSISTANT = CHAT.index("assistant")
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that cannot render a chat, before anything costly is done.

    Raises
    ------
    InputError
        It has no chat template, or cannot say from which characters a token comes.
    """
    _template(tokenizer, None)


def render(
    tokenizer: PreTrainedTokenizerBase, document: Document
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Render a conversation with the tokenizer's chat template and tell who wrote each token.

    The text of a message belongs to its role where the template writes it unchanged, trimmed or
    as JSON. If the template removes parts of a message, such as ``<think>…</think>``, the words
    that are left belong to the role. This text is ``content``, ``reasoning_content`` and, in
    ``tool_calls``, the names of functions and their arguments: the whole JSON of the arguments if
    the template writes it as Python's ``json.dumps`` does, else only the strings in it.
    Everything else is ``template``: headers, a system prompt of the template's own, the tools,
    the JSON around a call, and any text that it writes a second time. A token across a border
    belongs to the role if it holds a character of the role that is not white space. Where the
    template has ``{% generation %}`` blocks, only these decide what belongs to the assistant.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        A fast one, with a chat template.
    document : Document
        With `messages`.

    Returns
    -------
    ids : ndarray[pos] of int64
    strata : ndarray[pos] of int8
        Indices into `hiddenscope.strata.CHAT`: ``template`` or a role. Special tokens are told
        by their ids, later.

    Raises
    ------
    InputError
        As `check_template`.
    SourceError
        The template refuses the conversation, or changes a message so that the roles of its
        tokens cannot be told.
    """
    template = _Template(tokenizer, document)
    text, generated = template.render(template.messages, generation=True)
    roles = np.full(len(text), _TEMPLATE, np.int8)
    for number, message in enumerate(template.messages):
        role = CHAT.index(STRATUM_OF_ROLE[message["role"]])
        if generated is None or role != _ASSISTANT:
            roles[template.written_by(number, text)] = role
    for start, stop in generated or ():
        roles[start:stop] = _ASSISTANT
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    spans = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
    return np.array(encoded["input_ids"], np.int64), _of_tokens(text, spans, roles)


class _Template:
    """A chat template, and the conversation that it is to write."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, document: Document) -> None:
        if document.messages is None:
            msg = f"{document.name} is a text, expected a conversation: read it with chat=True"
            raise SourceError(msg)
        self.name = document.name
        self.messages = [_without_null(m) for m in document.messages]
        self.tools = list(document.tools) if document.tools else None
        self.source = _template(tokenizer, self.tools)
        self._tags = tags(self.source)
        self._special = tokenizer.special_tokens_map

    def render(
        self, messages: list[Message], *, generation: bool = False
    ) -> tuple[str, list[tuple[int, int]] | None]:
        """Return the text, and the spans of the template's generation blocks, if it has any.

        ``apply_chat_template`` returns these blocks by token, and loses them where one begins
        with a space that the tokenizer does not count to the token, so it is not used here.
        """
        tracked = generation and _GENERATION.search(self.source) is not None
        try:
            texts, spans = render_jinja_template(
                conversations=[messages],
                tools=self.tools,
                chat_template=self.source,
                return_assistant_tokens_mask=tracked,
                **self._special,
            )
        except ImportError as error:
            msg = f"chat templates need jinja2: {error}"
            raise InputError(msg) from error
        except Exception as error:  # a template is a program of its own: it may raise anything
            msg = f"{self.name}: the chat template refuses the conversation: {error}"
            raise SourceError(msg) from error
        return texts[0], spans[0] if tracked else None

    def written_by(self, number: int, text: str) -> NDArray[np.bool_]:
        """Return which characters of the text the message wrote."""

        def render(message: Message) -> str | None:
            messages = [*self.messages[:number], message, *self.messages[number + 1 :]]
            try:
                return self.render(messages)[0]
            except SourceError:
                return None

        written = written_by(self.messages[number], text, render, self._tags)
        if written is None:
            msg = (
                f"{self.name}: message {number + 1} ({self.messages[number]['role']}): the roles "
                "of its tokens cannot be told, since the chat template changes what it says: "
                "leave the conversation out, or use a template that writes messages as they are"
            )
            raise SourceError(msg)
        return written


def _template(tokenizer: PreTrainedTokenizerBase, tools: list[dict[str, Any]] | None) -> str:
    if not tokenizer.is_fast:
        msg = (
            f"{type(tokenizer).__name__} is a slow tokenizer: it cannot say from which characters "
            "a token comes; for chats use a model with a fast one (tokenizer.json)"
        )
        raise InputError(msg)
    try:
        return str(tokenizer.get_chat_template(tools=tools))
    except ValueError as error:
        msg = (
            "the tokenizer has no chat template: use the instruction-tuned model, whose tokenizer "
            "has one, or set tokenizer.chat_template; or measure the text without chats"
        )
        raise InputError(msg) from error


def _without_null(message: Message) -> Message:
    # Many templates take a key whose value is null for one that is there.
    return {key: value for key, value in message.items() if value is not None}


def _of_tokens(text: str, spans: NDArray[np.int64], roles: NDArray[np.int8]) -> NDArray[np.int8]:
    """Give each token the role of its characters.

    Parameters
    ----------
    text : str
    spans : ndarray[pos, 2] of int64
        Where each token starts and stops in the text.
    roles : ndarray[character] of int8
    """
    space = np.array([character.isspace() for character in text], np.bool_)
    start, stop = _with_space_before(spans, space)
    # A sentinel past the end, so that a search that finds nothing points there.
    said = np.append(np.flatnonzero((roles != _TEMPLATE) & ~space), len(text))
    first = said[np.searchsorted(said, start)]
    padded = np.append(roles, np.int8(_TEMPLATE))
    # White space alone is of a role where nothing of the template's is in the token.
    scaffold = np.concatenate([[0], np.cumsum(roles == _TEMPLATE)])
    inside = (scaffold[stop] == scaffold[start]) & (stop > start)
    return np.where(first < stop, padded[first], np.where(inside, padded[start], _TEMPLATE)).astype(
        np.int8
    )


def _with_space_before(
    spans: NDArray[np.int64], space: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where tokens start and stop; one starts at the white space that no token holds.

    Some tokenizers leave the space of " word" out of the token's span, some drop it.
    """
    start, stop = spans[:, 0], spans[:, 1]
    before = np.concatenate([[0], np.maximum.accumulate(stop)[:-1]])[: len(start)]
    solid = np.concatenate([[0], np.cumsum(~space)])
    loose = (before < start) & (solid[before] == solid[start])
    return np.where(loose, before, start), stop
