"""Which tokens a forward pass reads: told beforehand, or read off the call."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.errors import CaptureError, MaskError
from hiddenscope.measuring.counts import Counts
from hiddenscope.measuring.masks import Past, Reading, read_mask, sequence_starts
from hiddenscope.models import DYNAMIC, bound, find_rotary
from hiddenscope.strata import GENERATED, PADDING, PROMPT, REGULAR
from hiddenscope.tokens import NO_TOKEN, Tokens

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from hiddenscope.models import Stream
    from hiddenscope.strata import Strata


_LENGTHS = "lengths"
_OTHER_MASKS = (_LENGTHS, "input_mask")
"""Arguments of XLM and XLNet that stand for a mask."""


class CallReader:
    """Reads ids, padding and positions off what a stream's owner is called with.

    Parameters
    ----------
    owner : Module
        What is called.
    stream : Stream
    strata : Strata
    special : frozenset of int
    bos : int or None
    """

    def __init__(
        self,
        owner: torch.nn.Module,
        stream: Stream,
        strata: Strata,
        *,
        special: frozenset[int],
        bos: int | None,
    ) -> None:
        self.owner, self.stream, self.strata = owner, stream, strata
        self.special, self.bos = special, bos
        self.rotary = find_rotary(owner)
        self._config = getattr(owner, "config", None)
        self._signature = inspect.signature(owner.forward)
        # RecurrentGemma keeps what it has read in its own modules.
        self._holds_state = any(hasattr(m, "recurrent_states") for m in owner.modules())
        self._generating = False
        self._prompt: int | None = None

    def generating(self, *, begins: bool, prompt: int | None = None) -> None:
        """Say that a generation begins or has ended.

        Parameters
        ----------
        begins : bool
        prompt : int, optional
            Columns of the prompts; by default those of the first call.
        """
        self._generating, self._prompt = begins, prompt

    def stratified(self, tokens: Tokens) -> Tokens:
        """Put the first and the special tokens into their strata, as the stream has them."""
        return tokens.stratified(self.strata, self.special, causal=self.stream.causal)

    def read(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], rows: int
    ) -> tuple[Tokens, Counts]:
        """Read where the tokens of somebody's call stand, each row a document of its own.

        Parameters
        ----------
        args, kwargs : tuple, dict
            What the stream's owner was called with.
        rows : int
            Rows of earlier calls.
        """
        given = bound(self._signature, args, kwargs)
        known = _ids(given)
        reading, past = self._reading(given, known.shape)
        real, starts, positions = reading.real, reading.starts, reading.positions
        padded = set() if real[:, -1].all() else {"right"}
        if given.get("position_ids") is not None:
            positions = _positions(given["position_ids"], known.shape)
            starts = starts | (real & self._restarts(given, positions, past))
        elif not past.tokens and not real[:, 0].all():
            padded.add("left")
        counts = Counts(
            rows=len(known),
            attended=int(real.sum()),
            padded=frozenset(padded),
            starts=int(starts.any(1).sum()),
            starts_with_bos=int((starts & (known == self.bos)).any(1).sum()),
            mixed=self._mixes(real, positions, given, past),
        )
        document = rows + np.arange(len(known))
        tokens = Tokens(
            ids=np.where(real, known, NO_TOKEN),
            strata=np.where(real, self._base(known.shape, given, past), np.int8(PADDING)),
            starts=starts,
            positions=np.where(real, positions, 0).astype(np.int64),
            document=np.broadcast_to(document[:, None], known.shape),
            window=np.zeros(len(known), np.int64),
            # Of the tokens alone: the same text is the same document however it is padded.
            digest=np.array(
                [_digest(row[kept]) for row, kept in zip(known, real, strict=True)], np.uint64
            ),
        )
        return self.stratified(tokens), counts

    def attended(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """Count the tokens that the mask of a call lets through, whatever their positions."""
        given = bound(self._signature, args, kwargs)
        reading, _ = self._reading(given, _ids(given).shape)
        return int(reading.real.sum())

    def _reading(self, given: dict[str, Any], shape: tuple[int, ...]) -> tuple[Reading, Past]:
        causal = given.get("is_causal")
        if causal is not None and bool(causal) != self.stream.causal:
            msg = (
                f"the model was called with is_causal={causal}, but by itself it is "
                f"{'causal' if self.stream.causal else 'not causal'}: set is_causal in its "
                "configuration before hiddenscope.record"
            )
            raise MaskError(msg)
        self._check_masked(given)
        past = Past.of(given, inside=self._holds_state)
        rows, length = shape
        return read_mask(given.get("attention_mask"), (rows, length), past), past

    def _check_masked(self, given: dict[str, Any]) -> None:
        """Refuse padding that is told otherwise than by ``attention_mask``: it would be counted."""
        told = [name for name in _OTHER_MASKS if given.get(name) is not None]
        ids, pad = given.get("input_ids"), getattr(self._config, "pad_token_id", None)
        if not told and _LENGTHS in self._signature.parameters and ids is not None:
            # Without a mask XLM makes one, of the tokens that are not padding.
            padded = given.get("attention_mask") is None and bool((ids == pad).any())
            told = ["input_ids"] * padded
        if told:
            msg = f"padding is told by {told[0]} alone, which is not read: pass attention_mask"
            raise MaskError(msg)

    def _mixes(
        self,
        real: NDArray[np.bool_],
        positions: NDArray[np.int64],
        given: dict[str, Any],
        past: Past,
    ) -> bool:
        if self.rotary is None:
            return False
        length = self.rotary.length
        # Padding has positions too, and where nobody gives any, they are counted from the left.
        told = given.get("position_ids")
        reach = (past.tokens or 0) + real.shape[1] if told is None else int(told.max()) + 1
        if reach <= length or self.rotary.kind == DYNAMIC:
            return reach > length
        rows = np.where(real, positions + 1, 0).max(1)
        return bool((rows <= length).any()) or 0 < (past.tokens or 0) <= length

    def _restarts(
        self, given: dict[str, Any], positions: NDArray[np.int64], past: Past
    ) -> NDArray[np.bool_]:
        """Return where packed sequences start, if the model separates them by position ids."""
        nowhere = np.zeros(positions.shape, bool)
        if given.get("attention_mask") is not None or self._caches(given, past):
            return nowhere
        starts = sequence_starts(positions)
        if given["position_ids"].ndim == 3:
            # Three axes of positions (for images) are not checked; of four the first one is.
            if len(given["position_ids"]) == 4 and starts[:, 1:].any():
                msg = (
                    "sequences packed by position_ids of four axes cannot be told apart: pass "
                    "each in a row of its own, with an attention_mask"
                )
                raise MaskError(msg)
            return nowhere
        return starts if self.stream.packs else nowhere

    def _caches(self, given: dict[str, Any], past: Past) -> bool:
        """Whether the model has a cache, or makes one of its own; then it packs nothing."""
        owner = self.owner
        asked = given.get("use_cache")
        if asked is None:
            asked = getattr(self._config, "use_cache", False)
        checkpointed = getattr(owner, "gradient_checkpointing", False) and owner.training
        return past.cache is not None or (bool(asked) and not checkpointed)

    def _base(self, shape: tuple[int, ...], given: dict[str, Any], past: Past) -> NDArray[np.int8]:
        if not self._generating or PROMPT not in self.strata:
            return np.full(shape, self.strata.index(REGULAR), np.int8)
        rows, length = shape
        if self._prompt is None:
            self._prompt = length
        begin, mask = past.tokens, given.get("attention_mask")
        if begin is None:
            # A recurrent state does not say how much it has read; the mask's width may.
            begin = self._prompt if mask is None else mask.shape[-1] - length
        before, after = (np.int8(self.strata.index(s)) for s in (PROMPT, GENERATED))
        columns = np.arange(begin, begin + length)
        return np.broadcast_to(np.where(columns < self._prompt, before, after), (rows, length))


def _ids(given: dict[str, Any]) -> NDArray[np.int64]:
    ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
    if ids is not None:
        return _numpy(ids).astype(np.int64).reshape(-1, ids.shape[-1])
    if embeds is not None:
        return np.full(tuple(embeds.shape[:2]), NO_TOKEN, np.int64)
    msg = "the model was called without input_ids and inputs_embeds: nothing to record"
    raise CaptureError(msg)


def _positions(ids: torch.Tensor, shape: tuple[int, ...]) -> NDArray[np.int64]:
    # Where there are several axes of positions, the text's is the first.
    positions = _numpy(ids if ids.ndim < 3 else ids[0]).astype(np.int64)
    try:
        return np.broadcast_to(positions, shape)
    except ValueError:
        msg = f"position_ids of shape {tuple(ids.shape)} do not fit tokens of shape {shape}"
        raise CaptureError(msg) from None


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _digest(row: NDArray[np.int64]) -> int:
    return int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
