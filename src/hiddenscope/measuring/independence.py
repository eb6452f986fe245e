"""What a text's states must not depend on: the texts beside it in a batch, and those before it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hiddenscope.capture import Check
from hiddenscope.measuring.audit import moves_states
from hiddenscope.models import (
    attended_tokens,
    batch_shift,
    find_rotary,
    has_known_rotary,
    padding_shift,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from hiddenscope.tokens import Tokens


class Independence:
    """Decides which windows may share a batch.

    Parameters
    ----------
    model : PreTrainedModel
    pad_id : int

    Attributes
    ----------
    padded : bool
        Whether rows of several lengths may share a batch.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int) -> None:
        self.model, self.pad_id = model, pad_id
        self._dtype = str(model.dtype).removeprefix("torch.")
        # A model that mixes padding in (FNet takes no mask) is given rows of one length.
        self.padded = not moves_states(padding_shift(model, "right"), self._dtype)
        self._rotary = find_rotary(model)
        self._picked = attended_tokens(model)
        # Models whose kind of rotary tables is known need not be tried out.
        self._known = has_known_rotary(model)
        self._tried: list[tuple[int, int]] = []
        self._shift: float | None = None
        self._long = self._sparse = 0

    def groups(self, windows: Sequence[Tokens]) -> list[list[Tokens]]:
        """Sort the windows of a shard into groups within which batches may be made."""
        self._try_out(windows)
        groups = [list(windows)]
        if self._rotary is not None:
            self._long += sum(w.length > self._rotary.length for w in windows)
            groups = self._rotary.groups(windows, lambda w: w.length)
        return [part for group in groups for part in self._of_one_length(group)]

    def _of_one_length(self, windows: list[Tokens]) -> list[list[Tokens]]:
        """Sort windows of more tokens than attention picks by length; the others stay together."""
        if self._picked is None:
            return [windows]
        by_length: dict[int, list[Tokens]] = defaultdict(list)
        for window in windows:
            length = window.length
            by_length[length if length > self._picked else 0].append(window)
        self._sparse += len(windows) - len(by_length.get(0, []))
        return list(by_length.values())

    def reset(self) -> None:
        """Let the next batch be the first that the model sees."""
        if self._rotary is not None:
            self._rotary.reset()

    def _try_out(self, windows: Sequence[Tokens]) -> None:
        """Run the shortest window alone and beside the longest, unless such lengths were tried."""
        if not self.padded or self._known or not windows:
            return
        short, long = (pick(windows, key=lambda w: w.length).ids[0].tolist() for pick in (min, max))
        lengths = len(short), len(long)
        within = any(s <= lengths[0] and lengths[1] <= t for s, t in self._tried)
        if within or lengths[0] == lengths[1]:
            return
        self._tried.append(lengths)
        self._shift = batch_shift(self.model, short, long, self.pad_id)
        self.padded = not moves_states(self._shift, self._dtype)

    def checks(self) -> list[Check]:
        """Say what was found."""
        checks = []
        if self._rotary is not None and self._long:
            how = "alone" if self._rotary.kind == "dynamic" else "apart from shorter ones"
            detail = (
                f"{self._long:,} windows of more than {self._rotary.length:,} tokens, where the "
                f"rotary tables ({self._rotary.kind}) follow the longest row, were run {how}"
            )
            checks.append(Check("rotary tables", True, detail, "note"))
        if self._sparse:
            detail = (
                f"{self._sparse:,} windows of more than the {self._picked:,} tokens that attention "
                "picks, among equals by the length of the row, shared batches only with windows of "
                "the same length"
            )
            checks.append(Check("picked tokens", True, detail, "note"))
        if self._shift is not None:
            detail = "a longer text beside it leaves a text's states as they are"
            if not self.padded:
                detail = (
                    f"a longer text beside it changes a text's states by {self._shift:.0%}, so "
                    "batches held texts of one length"
                )
            checks.append(Check("batch mates", True, detail, "note", self._shift))
        return checks
