"""What a text's states must not depend on: the texts beside it in a batch, and those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.capture import Check
from hiddenscope.models import find_rotary, has_known_rotary, mates_change, padding_changes
from hiddenscope.profiling.audit import moves_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from hiddenscope.corpus import Window


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
        self.padded = not moves_states(padding_changes(model, "right"), self._dtype)
        self._rotary = find_rotary(model)
        # What families are known to do needs no trying out.
        self._tried = not self.padded or has_known_rotary(model)
        self._shift: float | None = None
        self._long = 0

    def groups(self, windows: Sequence[Window]) -> list[list[Window]]:
        """Sort the windows of a shard into groups within which batches may be made."""
        self._try_out(windows)
        if self._rotary is None:
            return [list(windows)]
        self._long += sum(len(w.ids) > self._rotary.length for w in windows)
        return self._rotary.groups(windows, lambda w: len(w.ids))

    def reset(self) -> None:
        """Let the next batch be the first that the model sees."""
        if self._rotary is not None:
            self._rotary.reset()

    def _try_out(self, windows: Sequence[Window]) -> None:
        """Run the shortest window alone and beside the longest."""
        by_length = sorted(windows, key=lambda w: len(w.ids))
        if self._tried or not windows or len(by_length[0].ids) == len(by_length[-1].ids):
            return
        self._tried = True
        short, long = (by_length[i].ids.tolist() for i in (0, -1))
        self._shift = mates_change(self.model, short, long, self.pad_id)
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
        if self._shift is not None:
            detail = "a longer text beside it leaves a text's states as they are"
            if not self.padded:
                detail = (
                    f"a longer text beside it changes a text's states by {self._shift:.0%}, so "
                    "batches held texts of one length"
                )
            checks.append(Check("batch mates", True, detail, "note", self._shift))
        return checks
