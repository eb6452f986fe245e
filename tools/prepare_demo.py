"""Train the demo model's tokenizer and write the token streams that `train_demo.py` reads.

Usage: python tools/prepare_demo.py BOOKS OUT

BOOKS holds one Markdown file a book (the collection mlschmitt/classic-books-markdown). OUT gets
``tokenizer/``, ``train.npy`` and ``valid.npy`` (uint16, each book after one BOS).
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2TokenizerFast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

VOCABULARY = 4096
CONTEXT = 256
SEED = 0
BOS = "<|endoftext|>"
BOOKS_FOR_TOKENIZER = 80
TRAIN_TOKENS, VALID_TOKENS = 36_000_000, 1_000_000
HELD_OUT = {"Alice's Adventures in Wonderland.md", "The Time Machine.md", "Walden.md"}


def read_book(path: Path) -> str:
    """Return a book's text without its header and its Markdown signs."""
    text = path.read_text(encoding="utf-8", errors="ignore").split("-------", 1)[-1]
    text = re.sub(r"[*_#>`\\]+", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def split_books(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the books to train on, shuffled, and those held out."""
    paths = sorted(p for p in folder.rglob("*.md") if p.name != "README.md")
    random.Random(SEED).shuffle(paths)
    train = [p for p in paths if p.name not in HELD_OUT]
    return train, [p for p in paths if p.name in HELD_OUT]


def train_tokenizer(books: Sequence[Path]) -> Tokenizer:
    """Train a byte-level BPE whose first id is the BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((read_book(p) for p in books), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, books: Sequence[Path], limit: int) -> NDArray[np.uint16]:
    """Tokenize whole books, a BOS before each, until there are more than `limit` tokens."""
    bos = tokenizer.token_to_id(BOS)
    pieces: list[list[int]] = []
    total = 0
    for path in books:
        pieces.append([bos, *tokenizer.encode(read_book(path)).ids])
        total += len(pieces[-1])
        if total > limit:
            break
    print(f"{len(pieces)} books, {total / 1e6:.1f} million tokens")
    return np.concatenate([np.array(p, np.uint16) for p in pieces])


def main() -> None:
    """Prepare the data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("books", type=Path, help="folder of Markdown files")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    train, valid = split_books(arguments.books)
    if not train or not valid:
        parser.error(f"{arguments.books} needs books to train on and the held-out {HELD_OUT}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(train[:BOOKS_FOR_TOKENIZER])
    fast = GPT2TokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=BOS,
        model_max_length=CONTEXT,
    )
    fast.save_pretrained(arguments.out / "tokenizer")
    np.save(arguments.out / "valid.npy", encode(tokenizer, valid, VALID_TOKENS))
    np.save(arguments.out / "train.npy", encode(tokenizer, train, TRAIN_TOKENS))


if __name__ == "__main__":
    main()
