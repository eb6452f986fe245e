"""What was not read, said beside a run's checks: files of folders, parts of checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiddenscope.capture import Check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN = 3


def unread_checks(folders: Mapping[str, str], identity: Mapping[str, Any]) -> list[Check]:
    """Return a check for each kind of thing that was left out.

    Parameters
    ----------
    folders : mapping of str to str
        What each folder of the corpus has that is not read, in words.
    identity : mapping
        Of the loaded model; one that was loaded by the user says nothing of its checkpoint.

    Returns
    -------
    list of Check
    """
    checks = [
        Check("folder", True, f"of the files of {folder!r}: {what}", "note")
        for folder, what in folders.items()
    ]
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


def _named(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
