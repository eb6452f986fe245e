"""What was not read, said beside a run's checks: the rest of a text, files, parts of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiddenscope import analysis
from hiddenscope.capture import Check
from hiddenscope.words import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN = 3
_FEW_PIECES = 10
"""Of fewer pieces, what one of them happens to be about counts for more than a tenth."""


def unread_checks(corpus: Mapping[str, Any], identity: Mapping[str, Any]) -> list[Check]:
    """Return a check for each kind of thing that was left out.

    Parameters
    ----------
    corpus : mapping
        What the manifest says of the text.
    identity : mapping
        Of the loaded model; one that was loaded by the user says nothing of its checkpoint.

    Returns
    -------
    list of Check
    """
    checks = [
        Check("folder", True, f"of the files of {folder!r}: {what}", "note")
        for folder, what in corpus["left_out"].items()
    ]
    if corpus["sample"] is not None:
        checks.append(Check("sample", True, _sample_words(corpus["sample"]), "note"))
    partial = corpus["partial"]
    if partial is not None:
        detail = (
            f"Ctrl-C ended the run after {partial['tokens']:,} tokens (windows: "
            f"{partial['windows']:,}, documents: {partial['documents']:,}): "
            f"{analysis.partial_words(corpus)}"
        )
        checks.append(Check("partial", False, detail, "warning", partial["share"]))
    weights, files = identity.get("unused_weights"), identity.get("unread_files")
    if weights:
        detail = (
            f"the checkpoint holds {len(weights):,} tensors that the model has no place for "
            f"({_named(weights)}): does config.json count fewer layers than there are?"
        )
        checks.append(Check("checkpoint", False, detail, "warning", float(len(weights))))
    if files:
        detail = f"the model's folder holds more weights, which were not read: {_named(files)}"
        checks.append(Check("checkpoint files", True, detail, "note"))
    return checks


def _sample_words(sample: Mapping[str, Any]) -> str:
    drawn, pieces = sample["pieces"], sample["of_pieces"]
    words = (
        f"{sample['read_tokens']:,} tokens drawn by hash (seed {sample['seed']}), in {drawn:,} of "
        f"the {pieces:,} pieces of {sample['of_documents']:,} documents, "
        f"{number(sample['of_bytes'] / 1e6)} MB of text"
    )
    if sample["read_tokens"] < sample["tokens"]:
        words += f": all of it, {sample['tokens']:,} were asked for"
    elif drawn < min(_FEW_PIECES, pieces):
        words += "; so few pieces may not speak for all of it: draw more tokens"
    return words


def _named(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
