"""What was read of a corpus, in numbers that add up over its shards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hiddenscope.corpus.document import Document


@dataclass
class Tally:
    """Documents and windows of a part of a corpus.

    Attributes
    ----------
    documents, cut, windows, with_bos : int
        Documents begun, those of them that lie in several windows, windows, and those of them
        that start with the tokenizer's BOS or CLS.
    digest : int
        Of 256 bits: the exclusive or of a SHA-256 of the place and text of each document, or of
        each part of a long one.
    """

    documents: int = 0
    cut: int = 0
    windows: int = 0
    with_bos: int = 0
    digest: int = 0

    def begin(self, document: Document) -> None:
        """Count a document; a later part of one is none of its own."""
        self.documents += document.begins
        # One that is longer than a part does not fit into a window either.
        self.cut += document.begins and document.part
        place = [document.index, document.digest, *[document.start] * (document.start > 0)]
        content = b"".join(number.to_bytes(8, "little") for number in place)
        self.digest ^= int.from_bytes(hashlib.sha256(content).digest(), "little")

    def describe(self) -> dict[str, int | str]:
        """Return the counts, as the manifest names them."""
        return {
            "sha256": f"{self.digest:064x}",
            "documents": self.documents,
            "documents_cut": self.cut,
            "windows": self.windows,
            "with_bos": self.with_bos,
        }

    def merge(self, other: Tally) -> Tally:
        """Join the tallies of different documents; neither is changed."""
        return Tally(
            self.documents + other.documents,
            self.cut + other.cut,
            self.windows + other.windows,
            self.with_bos + other.with_bos,
            self.digest ^ other.digest,
        )
