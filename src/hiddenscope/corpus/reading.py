"""What is asked of a corpus, and the documents that are read of it for one run."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from hiddenscope.corpus.drawing import Drawn, draw
from hiddenscope.corpus.files import check_seekable
from hiddenscope.corpus.sources import check_sources, documents, size, unread_files
from hiddenscope.corpus.stdin import STDIN, STDIN_NAME, spooled
from hiddenscope.corpus.tally import Tally
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hiddenscope.corpus.document import Document
    from hiddenscope.corpus.windows import Windower


@dataclass(frozen=True)
class Reading:
    """The documents of a run, which can be gone through once.

    Attributes
    ----------
    documents : iterator of Document
    size : int
        About how many bytes of text they have, 0 where it cannot be known.
    drawn : Drawn, optional
        The sample that they are.
    """

    documents: Iterator[Document]
    size: int
    drawn: Drawn | None = None


@dataclass(frozen=True)
class Corpus:
    """Texts and sources, and how they are read; see `documents`.

    Raises
    ------
    SourceError
        As `check_sources`.
    """

    sources: list[str]
    texts: list[str] = field(default_factory=list)
    column: str | None = None
    split: str = "document"
    chat: bool = False

    def __post_init__(self) -> None:
        check_sources(self.sources, self.texts, self.split, chat=self.chat)

    @property
    def name(self) -> str:
        """What to call it in captions."""
        count = len(self.texts)
        named = [STDIN_NAME if source == STDIN else source for source in self.sources]
        parts = [*([counted(count, "given text")] if count else []), *named]
        return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")

    def unread_files(self) -> dict[str, str]:
        """Say by folder which of its files are not read, and why; empty where all are."""
        return unread_files(self.sources, chat=self.chat)

    @contextmanager
    def read(
        self,
        windower: Windower,
        tokens: int | None = None,
        seed: int = 0,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> Iterator[Reading]:
        """Read all documents from the beginning, or a sample of them.

        Parameters
        ----------
        windower : Windower
            Tells how many tokens a piece of text has.
        tokens : int, optional
            To draw; by default everything is read.
        seed : int
            Of the sample.
        tell : callable, optional
            Told how many bytes of how many were looked through for the sample.

        Yields
        ------
        Reading
        """
        if tokens is None:
            found = self._documents()
            yield Reading(found, size(self.sources, self.texts, chat=self.chat))
            return
        with ExitStack() as stack:
            stdin = None
            if STDIN in self.sources:
                stdin = stack.enter_context(spooled())
            # They are read a second time.
            check_seekable(self.sources)
            total = size(self.sources, self.texts, chat=self.chat)

            def count(piece: Document) -> int:
                return sum(window.length for window in windower([piece], Tally()))

            pieces = self._documents(stdin, pieces=True)
            drawn = draw(pieces, count, tokens, seed, lambda done: tell(done, total))
            again = self._documents(stdin, pieces=True)
            yield Reading(drawn.select(again), drawn.size, drawn)

    def _documents(
        self, stdin: BinaryIO | None = None, *, pieces: bool = False
    ) -> Iterator[Document]:
        if stdin is not None:
            stdin.seek(0)
        return documents(
            self.sources,
            self.texts,
            column=self.column,
            split=self.split,
            chat=self.chat,
            pieces=pieces,
            stdin=stdin,
        )

    def describe(self, drawn: Drawn | None) -> dict[str, Any]:
        """Return what the manifest says of it, and of a sample of it."""
        return {
            "name": self.name,
            "sources": self.sources,
            "texts": len(self.texts),
            "column": self.column,
            "left_out": self.unread_files(),
            "split": self.split,
            "chat": self.chat,
            "sample": None if drawn is None else drawn.describe(),
        }
