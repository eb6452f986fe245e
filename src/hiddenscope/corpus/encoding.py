"""Token ids of a document, with the BOS that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from hiddenscope.corpus.chat import check_template, render
from hiddenscope.errors import InputError
from hiddenscope.strata import CHAT, PLAIN, REGULAR, TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hiddenscope.corpus.document import Document

    Piece: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int8]]

BOS_MODES = ("auto", "add", "never")


def check_tokenizer(tokenizer: Any) -> None:
    """Refuse what is no tokenizer of transformers, such as its name.

    Raises
    ------
    InputError
        The message says how to come by one.
    """
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    advice = "one that transformers.AutoTokenizer.from_pretrained(name) returns"
    if isinstance(getattr(tokenizer, "tokenizer", None), PreTrainedTokenizerBase):
        advice = "the processor's own, processor.tokenizer"
    elif isinstance(tokenizer, Tokenizer):
        advice = "transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)"
    named = f"the name {tokenizer!r}" if isinstance(tokenizer, str) else type(tokenizer).__name__
    msg = f"tokenizer must be a tokenizer of transformers, got {named}: pass {advice}"
    raise InputError(msg)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids that the tokenizer flags special, without one that serves only as UNK."""
    check_tokenizer(tokenizer)
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    flagged = set(tokenizer.all_special_ids) | added
    unknown = tokenizer.unk_token_id
    # Some call a token of another name UNK, such as <|endoftext|>, as no text needs a real one.
    if unknown is not None and "unk" in tokenizer.unk_token.lower():
        roles = ("bos", "eos", "sep", "pad", "cls", "mask")
        if unknown not in {getattr(tokenizer, f"{role}_token_id", None) for role in roles}:
            flagged.discard(unknown)
    return frozenset(flagged)


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts its BOS (or CLS) token before a text."""
    check_tokenizer(tokenizer)
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[0] in opening_ids(tokenizer)


def opening_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids of the tokenizer's BOS and CLS, as far as it has them."""
    return frozenset({tokenizer.bos_token_id, tokenizer.cls_token_id} - {None})


class Encoder:
    """Turns documents into token ids with their base strata.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    bos : {'auto', 'add', 'never'}
        ``auto``: as the tokenizer (or the chat template) does; ``add``: a BOS is added where there
        is none; ``never``: a BOS that the tokenizer (or the chat template) puts first is removed.
    chat : bool
        Documents are conversations.

    Raises
    ------
    InputError
        `bos` is none of these, or cannot be done; chats cannot be rendered.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, bos: str, *, chat: bool) -> None:
        self.tokenizer = tokenizer
        self.chat = chat
        self.strata = CHAT if chat else PLAIN
        self.neutral = self.strata.index(TEMPLATE if chat else REGULAR)
        if bos not in BOS_MODES:
            msg = f"unknown bos {bos!r}: choose one of {', '.join(BOS_MODES)}"
            raise InputError(msg)
        if chat:
            check_template(tokenizer)
        # A chat template opens conversations as it likes, the tokenizer every window alike.
        opened = not chat and adds_bos(tokenizer)
        if bos == "add":
            _check_bos(tokenizer, opened=opened)
        first = tokenizer("a")["input_ids"][:1]
        self._bos_to_add = tokenizer.bos_token_id if bos == "add" and not opened else None
        takes = bos == "never" and (chat or first == [tokenizer.bos_token_id])
        self._bos_to_remove = tokenizer.bos_token_id if takes else None

    def whole(self, document: Document) -> Piece:
        """Return a document's tokens, with a BOS before them or not, uncut."""
        return next(self.pieces(document, None), self._piece([]))

    def pieces(self, document: Document, length: int | None) -> Iterator[Piece]:
        """Cut a document into pieces of at most `length` tokens; none is empty.

        A text is cut so that every piece carries the special tokens that the tokenizer adds; a
        conversation just as it was rendered. Tokens beyond the document's limit are left out.
        """
        left = document.limit
        for ids, strata in self._unlimited(document, length):
            yield ids[:left], strata[:left]
            if left is not None:
                left -= len(ids)
                if left <= 0:
                    return

    def _unlimited(self, document: Document, length: int | None) -> Iterator[Piece]:
        if self.chat:
            yield from self._cut(*self._without_bos(render(self.tokenizer, document)), length)
            return
        if length is not None:
            length += (self._bos_to_remove is not None) - (self._bos_to_add is not None)
        for tokens in self._tokenize(document.text, length):
            ids, strata = self._without_bos(self._piece(tokens))
            if len(ids):
                yield self._with_bos(ids, strata)

    def closed(self, piece: Piece) -> Piece:
        """Return a piece with the tokenizer's EOS, if any, appended unless it is already there."""
        ids, strata = piece
        eos = self.tokenizer.eos_token_id
        if eos is None or (len(ids) and ids[-1] == eos):
            return piece
        return np.append(ids, eos), np.append(strata, np.int8(self.neutral))

    def _piece(self, ids: list[int]) -> Piece:
        return np.array(ids, np.int64), np.full(len(ids), self.neutral, np.int8)

    def _with_bos(self, ids: NDArray[np.int64], strata: NDArray[np.int8]) -> Piece:
        if self._bos_to_add is None or ids[0] == self._bos_to_add:
            return ids, strata
        return np.insert(ids, 0, self._bos_to_add), np.insert(strata, 0, self.neutral)

    def _without_bos(self, piece: Piece) -> Piece:
        ids, strata = piece
        leads = self._bos_to_remove is not None and len(ids) and ids[0] == self._bos_to_remove
        return (ids[1:], strata[1:]) if leads else piece

    def _cut(
        self, ids: NDArray[np.int64], strata: NDArray[np.int8], length: int | None
    ) -> Iterator[Piece]:
        start = 0
        while start < len(ids):
            added = self._bos_to_add is not None and ids[start] != self._bos_to_add
            stop = len(ids) if length is None else start + length - added
            yield self._with_bos(ids[start:stop], strata[start:stop])
            start = stop

    def _tokenize(self, text: str, length: int | None) -> list[list[int]]:
        if length is None:
            return [self._call(text)]
        if not self.tokenizer.is_fast:
            return self._cut_ids(text, length)
        side = self.tokenizer.truncation_side
        # Windows run from the start of a document, whatever the tokenizer would cut away.
        self.tokenizer.truncation_side = "right"
        try:
            encoded = self._call(
                text,
                truncation=True,
                max_length=length,
                stride=0,
                return_overflowing_tokens=True,
            )
        finally:
            self.tokenizer.truncation_side = side
        return list(encoded)

    def _call(self, text: str, **options: Any) -> Any:
        return self.tokenizer(
            text, return_attention_mask=False, return_token_type_ids=False, verbose=False, **options
        )["input_ids"]

    def _cut_ids(self, text: str, length: int) -> list[list[int]]:
        """Cut as a fast tokenizer's overflow does: every window carries the special tokens."""
        plain = self._call(text, add_special_tokens=False)
        build = self.tokenizer.build_inputs_with_special_tokens
        room = length - len(build([]))
        return [build(plain[i : i + room]) for i in range(0, max(len(plain), 1), room)]


def _check_bos(tokenizer: PreTrainedTokenizerBase, *, opened: bool) -> None:
    """Refuse to add a BOS where there is none, or where [CLS] stands in its place."""
    bos = tokenizer.bos_token_id
    if opened and tokenizer("a")["input_ids"][0] != bos:
        msg = (
            f"the tokenizer starts every window with {tokenizer.cls_token} already, there is no "
            "BOS to add: leave bos at 'auto'"
        )
        raise InputError(msg)
    if bos is None:
        msg = "the tokenizer has no bos_token, there is no BOS to add: leave bos at 'auto'"
        raise InputError(msg)
