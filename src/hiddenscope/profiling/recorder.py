"""The capture round any loop: training, evaluation, generation, or our own."""

from __future__ import annotations

import hashlib
import inspect as python_inspect
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hiddenscope.capture import Capture, Watch
from hiddenscope.corpus import special_ids, stratify
from hiddenscope.errors import CaptureError, InputError
from hiddenscope.models import LoadedModel, Structure, adopt, describe, inspect
from hiddenscope.profiling.assemble import assemble, describe_tokenizer
from hiddenscope.sites import Site, select_sites
from hiddenscope.stats import (
    COMPACT_BYTES,
    NO_TOKEN,
    OUTLIER,
    Batch,
    Layout,
    StreamState,
    Tokens,
)
from hiddenscope.strata import PADDING, STRATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.capture import Check
    from hiddenscope.profiles import Profile

MIB = 1 << 20
DEFAULT_SAMPLE_MIB = 8.0


def make_layout(
    sites: Sequence[str], channels: int, *, sample_mib: float, outlier: float
) -> Layout:
    """Fit the budgets of a run to the shape of its states."""
    if not 0 <= sample_mib < math.inf:
        msg = f"the sample's budget must be at least 0 MiB and finite, got {sample_mib}"
        raise InputError(msg)
    if not outlier > 0:
        msg = f"the outlier threshold must be a positive magnitude, got {outlier}"
        raise InputError(msg)
    pairs = len(STRATA) * len(sites) ** 2 * channels
    return Layout(
        sites=tuple(sites),
        channels=channels,
        outlier=outlier,
        sample_tokens=int(sample_mib * MIB / (len(sites) * channels * 4)),
        compact_cross=pairs * 8 > COMPACT_BYTES,
    )


class Recorder:
    """Measures every forward pass of a model while its context is open.

    Made by `record`. The forward pass is left as it is: gradients, random numbers and outputs
    are bitwise those without it.

    Parameters
    ----------
    loaded : LoadedModel
    sites : str or iterable of str
    sample_mib, outlier : float

    Attributes
    ----------
    state : StreamState
        What was measured so far.
    tokens : dict of str to int
        Tokens of each stratum so far.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        sites: str | Iterable[str] = "trunk",
        sample_mib: float = DEFAULT_SAMPLE_MIB,
        outlier: float = OUTLIER,
    ) -> None:
        self.loaded = loaded
        self.structure: Structure = inspect(loaded.model)
        chosen = select_sites(sites, self.structure.sites, self.structure.hf_sites)
        self.sites: tuple[Site, ...] = chosen
        names = [site.name for site in chosen]
        layout = make_layout(names, self.structure.width, sample_mib=sample_mib, outlier=outlier)
        self.state = StreamState(layout)
        self.checks: list[Check] = []
        self._special = special_ids(loaded.tokenizer) if loaded.tokenizer else frozenset()
        self._signature = python_inspect.signature(loaded.model.forward)
        self._capture = Capture(
            loaded.model, self.structure, chosen, take=self._take, begin=self._begin, end=self._end
        )
        self._watch: Watch | None = None
        self._expected: Tokens | None = None
        self._current: Tokens | None = None
        self._states: dict[str, torch.Tensor] = {}
        self.dtypes: dict[str, str] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was measured so far."""
        self.state = self.state.sibling()
        self.tokens = dict.fromkeys(STRATA, 0)
        self.padding = self.documents = 0
        self._start = time.perf_counter()

    def __enter__(self) -> Self:
        self._capture.__enter__()
        # The first forward pass is checked as it is measured, whoever runs it.
        if not self._watched:
            self._watch = Watch(self.loaded.model, self.structure)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._capture.__exit__(kind, error, trace)
        if self._watch is not None:
            self._watch.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the forward passes inside uncounted."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def expect(self, tokens: Tokens) -> None:
        """Say where the tokens of the next forward pass stand, instead of reading it off."""
        self._expected = tokens

    def profile(self) -> Profile:
        """Return the profile of everything measured so far; recording may go on.

        Raises
        ------
        InputError
            Fewer than two tokens were measured.
        """
        if sum(self.tokens.values()) < 2:
            msg = "fewer than two tokens were recorded: run the model inside the context first"
            raise InputError(msg)
        corpus = {
            "name": "recorded batches",
            "documents": self.documents,
            "tokens": self.tokens,
            "padding": self.padding,
        }
        return self.build(self.state, corpus, {})

    def build(self, state: StreamState, corpus: dict[str, Any], run: dict[str, Any]) -> Profile:
        """Make a profile of a state, with what the manifest says of the model."""
        model = describe(self.loaded) | {
            "state_dtype": self.dtypes,
            "blocks": len(self.structure.blocks),
            "width": self.structure.width,
            "causal": self.structure.causal,
            "blocks_found": self.structure.found,
            "final_norm": self.structure.output_path if self.structure.final_norm else None,
        }
        manifest = {
            "model": model,
            "tokenizer": describe_tokenizer(self.loaded.tokenizer),
            "corpus": corpus,
            "kernel": "reference",
            "wall_time_s": round(time.perf_counter() - self._start, 3),
            **run,
        }
        return assemble(
            state,
            hf=self.structure.hf,
            manifest=manifest,
            checks=[*self._watched, *self.checks],
            tokenizer=self.loaded.tokenizer,
        )

    @property
    def _watched(self) -> list[Check]:
        return self._watch.checks if self._watch is not None else []

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._states = {}
        self._current = self._expected or self._read_call(args, kwargs)
        self._expected = None

    def _take(self, name: str, states: torch.Tensor) -> None:
        tokens = self._current
        if tokens is None or states.shape[:-1].numel() != tokens.strata.size:
            shape = None if tokens is None else tokens.strata.shape
            msg = (
                f"{name} yields states of shape {tuple(states.shape)} for tokens of shape {shape}: "
                "expected one state a token"
            )
            raise CaptureError(msg)
        self.dtypes[name] = str(states.dtype).removeprefix("torch.")
        self._states[name] = tokens.gather(states)

    def _end(self, _: Any) -> None:
        tokens = self._current
        if tokens is None:
            return
        batch = Batch(self.state.layout, tokens, self._states)
        self._states, self._current = {}, None
        self.state.update(batch)
        for name, count in zip(STRATA, np.diff(tokens.bounds), strict=True):
            self.tokens[name] += int(count)
        self.padding += int((tokens.strata == PADDING).sum())

    def _read_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tokens:
        """Read ids, padding and positions off what the model was called with."""
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given = given | given.get("kwargs", {})
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        if ids is not None:
            known = _numpy(ids).astype(np.int64).reshape(-1, ids.shape[-1])
        elif embeds is not None:
            known = np.full(tuple(embeds.shape[:2]), NO_TOKEN, np.int64)
        else:
            msg = "the model was called without input_ids and inputs_embeds: nothing to record"
            raise CaptureError(msg)
        rows, length = known.shape
        mask = given.get("attention_mask")
        real = np.ones(known.shape, bool)
        past = given.get("past_key_values")
        start = int(past.get_seq_length()) if hasattr(past, "get_seq_length") else 0
        positions = np.broadcast_to(np.arange(start, start + length), known.shape)
        if mask is not None and mask.ndim == 2:
            # The mask may also cover what lies in the cache; the call's tokens are the last.
            attended = np.broadcast_to(_numpy(mask) != 0, (rows, mask.shape[1]))
            real = attended[:, -length:]
            positions = np.cumsum(attended, 1)[:, -length:] - 1
        if given.get("position_ids") is not None:
            positions = np.broadcast_to(_numpy(given["position_ids"]), known.shape)
        positions = np.where(real, positions, 0).astype(np.int64)
        strata = stratify(known, positions, self._special, causal=self.structure.causal)
        document = self.documents + np.arange(rows)
        self.documents += rows
        return Tokens(
            ids=np.where(real, known, NO_TOKEN),
            strata=np.where(real, strata, np.int8(PADDING)),
            positions=positions,
            document=document,
            window=np.zeros(rows, np.int64),
            # Of the tokens alone: the same text is the same document however it is padded.
            digest=np.array(
                [_row_digest(row[kept]) for row, kept in zip(known, real, strict=True)], np.uint64
            ),
        )


def record(
    model: PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    sites: str | Iterable[str] = "trunk",
    sample_mib: float = DEFAULT_SAMPLE_MIB,
    outlier: float = OUTLIER,
) -> Recorder:
    """Measure the forward passes of a loop of your own.

    Parameters
    ----------
    model : PreTrainedModel
        With or without a head, in training or evaluation, with or without gradients.
    tokenizer : PreTrainedTokenizerBase, optional
        Tells special tokens apart and shows tokens as text.
    sites : str or iterable of str
        ``trunk`` (default), ``hf``, ``all``, sites or patterns.
    sample_mib : float
        Budget of the sample of whole hidden states.
    outlier : float
        The magnitude from which a value counts as an outlier.

    Returns
    -------
    Recorder
        A context manager; ``profile()`` at any time, ``reset()`` to start over. Each row of a
        batch counts as a document of its own; padding is read off ``attention_mask``,
        positions off ``position_ids``, the mask or the cache.

    Raises
    ------
    ModelError, SiteError
        The model's blocks cannot be found; a site does not exist.
    """
    return Recorder(adopt(model, tokenizer), sites=sites, sample_mib=sample_mib, outlier=outlier)


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _row_digest(row: NDArray[np.int64]) -> int:
    return int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
