"""Which tokens a forward pass reads: told beforehand, or read off the call."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.errors import CaptureError
from hiddenscope.stats import NO_TOKEN, Tokens
from hiddenscope.strata import GENERATED, PADDING, PROMPT, REGULAR, stratify

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from hiddenscope.corpus import TokenBatch
    from hiddenscope.models import Stream


@dataclass
class Facts:
    """What calls showed, for the audit.

    Attributes
    ----------
    attended : int
        Tokens that the attention masks let through.
    padded : set of {'left', 'right'}
        Sides on which there was padding; a side is left out where the caller gave positions.
    rows, rows_with_bos : int
        Rows that start a text, and those of them that start with a BOS.
    """

    attended: int = 0
    padded: set[str] = field(default_factory=set)
    rows: int = 0
    rows_with_bos: int = 0


class CallReader:
    """Reads ids, padding and positions off what a stream's owner is called with.

    Parameters
    ----------
    stream : Stream
    strata : sequence of str
    special : frozenset of int
    bos : int or None
    """

    def __init__(
        self, stream: Stream, strata: Sequence[str], special: frozenset[int], bos: int | None
    ) -> None:
        self.stream, self.strata, self.special, self.bos = stream, tuple(strata), special, bos
        self.reset()
        self._signature = inspect.signature(stream.owner.forward)
        # Tokens of each row's prompt while the model generates; None outside of that.
        self._generating = False
        self._prompt: NDArray[np.int64] | None = None

    def reset(self) -> None:
        """Forget what earlier calls showed."""
        self.facts = Facts()
        self.documents = 0

    def generating(self, *, begins: bool) -> None:
        """Say that a generation begins, whose first call holds the prompts, or has ended."""
        self._generating, self._prompt = begins, None

    def tokens(self, batch: TokenBatch) -> Tokens:
        """Say where the tokens of a batch of ours stand."""
        base = np.where(batch.attention_mask != 0, batch.strata, np.int8(PADDING))
        strata = stratify(
            batch.input_ids, batch.starts, self.special, base, causal=self.stream.causal
        )
        return Tokens(
            ids=np.where(base != PADDING, batch.input_ids, NO_TOKEN),
            strata=strata,
            positions=np.broadcast_to(np.arange(base.shape[1]), base.shape),
            document=batch.document,
            window=batch.window,
            digest=batch.digest,
        )

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tokens:
        """Read where the tokens of somebody's call stand, each row a document of its own."""
        given = self.arguments(args, kwargs)
        known = _ids(given)
        rows, length = known.shape
        mask = given.get("attention_mask")
        real = np.ones(known.shape, bool)
        past: Any = given.get("past_key_values")
        start = int(past.get_seq_length()) if hasattr(past, "get_seq_length") else 0
        positions = np.broadcast_to(np.arange(start, start + length), known.shape)
        if mask is not None and mask.ndim == 2:
            # The mask may also cover what lies in the cache; the call's tokens are the last.
            attended = np.broadcast_to(_numpy(mask) != 0, (rows, mask.shape[1]))
            real = attended[:, -length:]
            positions = np.cumsum(attended, 1)[:, -length:] - 1
        if given.get("position_ids") is not None:
            positions = np.broadcast_to(_numpy(given["position_ids"]), known.shape)
        elif not start:
            self.facts.padded |= {"left"} if not real[:, 0].all() else set()
        self.facts.padded |= {"right"} if not real[:, -1].all() else set()
        positions = np.where(real, positions, 0).astype(np.int64)
        starts = real & (positions == 0)
        self._count_bos(known, starts)
        base = np.where(real, self._base(positions, real), np.int8(PADDING))
        document = self.documents + np.arange(rows)
        self.documents += rows
        return Tokens(
            ids=np.where(real, known, NO_TOKEN),
            strata=stratify(known, starts, self.special, base, causal=self.stream.causal),
            positions=positions,
            document=np.broadcast_to(document[:, None], known.shape),
            window=np.zeros(rows, np.int64),
            # Of the tokens alone: the same text is the same document however it is padded.
            digest=np.array(
                [_digest(row[kept]) for row, kept in zip(known, real, strict=True)], np.uint64
            ),
        )

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return what was passed, by name."""
        given = self._signature.bind_partial(*args, **kwargs).arguments
        nested: dict[str, Any] = given.get("kwargs", {})
        return {**given, **nested}

    def count_attended(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count the tokens that a call lets through, apart from where they are said to stand."""
        given = self.arguments(args, kwargs)
        held = given.get("input_ids", given.get("inputs_embeds"))
        if held is None:
            return
        size = held.shape[0] * held.shape[1]
        mask = given.get("attention_mask")
        if mask is not None and mask.ndim == 2:
            attended = int((mask[:, -held.shape[1] :] != 0).sum())
            size = attended * (held.shape[0] // mask.shape[0])
        self.facts.attended += size

    def _base(self, positions: NDArray[np.int64], real: NDArray[np.bool_]) -> NDArray[np.int8]:
        if not self._generating or PROMPT not in self.strata:
            return np.full(positions.shape, self.strata.index(REGULAR), np.int8)
        if self._prompt is None:
            self._prompt = real.sum(1)
        # Beams and several answers repeat the rows of a prompt.
        prompt = np.repeat(self._prompt, max(len(positions) // len(self._prompt), 1))
        before, after = (np.int8(self.strata.index(s)) for s in (PROMPT, GENERATED))
        return np.where(positions < prompt[: len(positions), None], before, after)

    def _count_bos(self, ids: NDArray[np.int64], starts: NDArray[np.bool_]) -> None:
        self.facts.rows += int(starts.any(1).sum())
        self.facts.rows_with_bos += int((starts & (ids == self.bos)).any(1).sum())


def _ids(given: dict[str, Any]) -> NDArray[np.int64]:
    ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
    if ids is not None:
        return _numpy(ids).astype(np.int64).reshape(-1, ids.shape[-1])
    if embeds is not None:
        return np.full(tuple(embeds.shape[:2]), NO_TOKEN, np.int64)
    msg = "the model was called without input_ids and inputs_embeds: nothing to record"
    raise CaptureError(msg)


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _digest(row: NDArray[np.int64]) -> int:
    return int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
