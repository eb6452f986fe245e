"""Windows: what the model sees at once, and to which stratum each token belongs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.strata import FIRST, REGULAR, SPECIAL, STRATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.corpus.sources import Document

CODES = {name: code for code, name in enumerate(STRATA)}


@dataclass(frozen=True)
class Window:
    """A sequence of its own; its positions start at 0.

    Attributes
    ----------
    document : int
        Index of the document in the corpus.
    digest : int
        The document's.
    window : int
        Index of the window in the document.
    ids : ndarray[pos] of int64
    strata : ndarray[pos] of int8
    """

    document: int
    digest: int
    window: int
    ids: NDArray[np.int64]
    strata: NDArray[np.int8]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids that the tokenizer flags special, without one that serves only as UNK."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    flagged = set(tokenizer.all_special_ids) | added
    unknown = tokenizer.unk_token_id
    if unknown is not None:
        roles = ("bos", "eos", "sep", "pad", "cls", "mask")
        if unknown not in {getattr(tokenizer, f"{role}_token_id", None) for role in roles}:
            flagged.discard(unknown)
    return frozenset(flagged)


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts its BOS (or CLS) token before a text."""
    ids = tokenizer("a")["input_ids"]
    starts = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
    return bool(ids) and ids[0] in starts


def stratify(
    ids: NDArray[np.int64], positions: NDArray[np.int64], special: frozenset[int], *, causal: bool
) -> NDArray[np.int8]:
    """Assign each token its stratum.

    Parameters
    ----------
    ids, positions : ndarray of int64
        Of one shape; no padding.
    special : frozenset of int
    causal : bool
        In a causal stream position 0 is ``first``, special token or not.

    Returns
    -------
    ndarray of int8, of the same shape
    """
    strata = np.full(ids.shape, CODES[REGULAR], np.int8)
    strata[np.isin(ids, list(special))] = CODES[SPECIAL]
    if causal:
        strata[positions == 0] = CODES[FIRST]
    return strata


class Windower:
    """Cuts documents into windows with a tokenizer.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    length : int or None
        Tokens of a window, special tokens included; None for no limit.
    causal : bool

    Attributes
    ----------
    documents, cut, windows : int
        Documents begun, documents longer than a window, windows taken.
    digest : hashlib object
        SHA-256 over the digests of the documents begun.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, length: int | None, *, causal: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.length = length
        self.causal = causal
        self.special = special_ids(tokenizer)
        self.documents = self.cut = self.windows = 0
        self.digest = hashlib.sha256()
        self._number = 0

    def __call__(self, documents: Iterable[Document]) -> Iterator[Window]:
        """Tokenize documents, in order, into windows.

        What is counted is what is taken: whoever stops early has not seen the rest.
        """
        for document in documents:
            if not document.part:
                self.documents += 1
                self._number = 0
                whole = document.digest if document.whole is None else document.whole
                self.digest.update(whole.to_bytes(8, "little"))
            for ids in (np.array(ids, np.int64) for ids in self._tokenize(document.text) if ids):
                self.windows += 1
                self.cut += self._number == 1
                strata = stratify(ids, np.arange(len(ids)), self.special, causal=self.causal)
                yield Window(self.documents - 1, document.digest, self._number, ids, strata)
                self._number += 1

    def _tokenize(self, text: str) -> list[list[int]]:
        if self.length is None:
            return [self._call(text)]
        if not self.tokenizer.is_fast:
            return self._cut_ids(text, self.length)
        side = self.tokenizer.truncation_side
        # Windows run from the start of a document, whatever the tokenizer would cut away.
        self.tokenizer.truncation_side = "right"
        try:
            encoded = self._call(
                text,
                truncation=True,
                max_length=self.length,
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


def limit_tokens(windows: Iterable[Window], tokens: int | None) -> Iterator[Window]:
    """Stop after a number of tokens; the last window is cut."""
    if tokens is None:
        yield from windows
        return
    left = tokens
    if left <= 0:
        return
    for window in windows:
        kept = window.ids[:left]
        left -= len(kept)
        yield (
            window
            if len(kept) == len(window.ids)
            else Window(
                window.document, window.digest, window.window, kept, window.strata[: len(kept)]
            )
        )
        if left <= 0:
            return
