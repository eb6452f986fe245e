"""Tokenizers from GGUF files, corrected where transformers does not rebuild them as they were.

A GGUF file names the rule by which text is split before byte pairs are merged
(``tokenizer.ggml.pre``), and leaves it to the reader to know that rule. Transformers knows some;
for any other it splits as GPT-2 does, in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import normalizers, pre_tokenizers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_BYTE_PAIRS = "gpt2"


def rebuild(tokenizer: PreTrainedTokenizerBase, metadata: Mapping[str, Any]) -> bool:
    """Make a tokenizer from a GGUF file split text as the original does.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        As transformers made it; changed in place.
    metadata : mapping
        Of the GGUF file.

    Returns
    -------
    bool
        Whether the tokenizer is now known to be correct.
    """
    known = metadata.get("tokenizer.ggml.model") == _BYTE_PAIRS
    mend = _MEND.get(str(metadata.get("tokenizer.ggml.pre"))) if known else None
    if mend is None:
        return False
    mend(tokenizer.backend_tokenizer)
    return True


def _as_it_is(_: Tokenizer) -> None:
    """GPT-2's rule is what transformers takes where it knows none."""


def _digits_apart(tokenizer: Tokenizer) -> None:
    # Each digit for itself, then GPT-2's rule: "  12" is two spaces, 1, 2 and not " ", " 12".
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def _composed(tokenizer: Tokenizer) -> None:
    # Transformers knows how Qwen splits, and forgets that it first composes letters and accents.
    tokenizer.normalizer = normalizers.NFC()


def _whole_words(tokenizer: Tokenizer) -> None:
    # Transformers knows how Llama 3 splits, and forgets that a word of the vocabulary is one
    # token even where no merges lead to it.
    tokenizer.model.ignore_merges = True


_MEND: dict[str, Callable[[Tokenizer], None]] = {
    "gpt-2": _as_it_is,
    "smollm": _digits_apart,
    "qwen2": _composed,
    "llama-bpe": _whole_words,
}
