"""The audit of a run: checks of what the model was given, and warnings about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiddenscope.capture import Check
from hiddenscope.models import DYNAMIC, padding_shift
from hiddenscope.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.measuring.counts import Counts
    from hiddenscope.measuring.engine import Engine
    from hiddenscope.measuring.state import RunState
    from hiddenscope.models import Rotary

PADDING_SHIFT = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.2}
"""By dtype, how far padding may move states by rounding alone."""


def audit(
    engine: Engine,
    state: RunState,
    tokenizer: PreTrainedTokenizerBase | None,
    manifest: dict[str, Any],
) -> list[Check]:
    """Check what the model was given, beside what was measured.

    Parameters
    ----------
    engine : Engine
    state : RunState
    tokenizer : PreTrainedTokenizerBase or None
    manifest : dict

    Returns
    -------
    list of Check
    """
    found = []
    for name, measured in engine.streams.items():
        where = f" ({name})" if len(engine.streams) > 1 else ""
        counts = state.counts[name]
        found.append(_check_attended(counts, where))
        if counts.mixed:
            found.append(_warn_of_rotary(measured.reader.rotary, where))
    first = next(iter(engine.streams.values()))
    found += _check_padding(engine.model, state.main, causal=first.stream.causal)
    found += _check_gguf(manifest["model"])
    if tokenizer is not None:
        adds = first.reader.bos is not None
        found += _check_bos(state.main, tokenizer, manifest["corpus"], adds=adds)
    found.append(_note_tokens(state.main, manifest["corpus"]))
    return found


def moves_states(shift: float, dtype: str) -> bool:
    """Whether padding changes states by more than rounding alone does."""
    return not shift <= PADDING_SHIFT.get(dtype, 0.01)


def _check_attended(counts: Counts, where: str) -> Check:
    counted, attended = counts.total, counts.attended
    passed = counted == attended
    detail = f"the {counted:,} tokens that the attention masks let through{where} were counted"
    if not passed:
        detail = (
            f"{attended:,} tokens were let through by the masks{where}, but {counted:,} counted"
        )
    return Check("padding", passed, detail)


def _warn_of_rotary(rotary: Rotary | None, where: str) -> Check:
    """Say that a batch of the user's made states that depend on its longest row."""
    assert rotary is not None
    how = (
        "that grow with each longer text, so that states depend on the texts beside and before them"
        if rotary.kind == DYNAMIC
        else "that switch for all rows of a batch by its longest"
    )
    detail = (
        f"this model has rotary tables ({rotary.kind}) {how}{where}, and a batch went beyond "
        f"{rotary.length:,} tokens: run texts on either side of that apart, the longer ones one by "
        "one, or let hiddenscope.profile do it"
    )
    return Check("rotary tables", False, detail, "warning")


def _check_padding(model: PreTrainedModel, counts: Counts, *, causal: bool) -> list[Check]:
    """Try out what padding does, where there was any."""
    checks = []
    dtype = next(iter(counts.dtypes.values()), "float32")
    for side in sorted(counts.padded):
        if side == "right" and causal:
            continue
        shift = padding_shift(model, side)
        passed = not moves_states(shift, dtype)
        detail = f"padding on the {side} leaves the states as they are"
        if not passed:
            why = (
                "positions count from its first token, and no position_ids were passed: pad on "
                "the right or pass position_ids"
                if side == "left"
                else "the model does not mask it: use batches of one length"
            )
            detail = f"padding on the {side} changes this model's states by {shift:.0%}: {why}"
        checks.append(Check(f"{side} padding", passed, detail, value=shift))
    return checks


def _check_gguf(model: Mapping[str, Any]) -> list[Check]:
    """Report what a GGUF file says that the model or its tokenizer does not follow."""
    if model.get("source") != "gguf":
        return []
    left_out = model["left_out"]
    detail = f"all weights of {model['file']} are loaded, from {model['quantisation']}"
    if left_out:
        detail = (
            f"{', '.join(left_out)} of {model['file']} could not be loaded by transformers: the "
            "states are not those of the whole model"
        )
    checks = [Check("GGUF", not left_out, detail)]
    # Known of the file's own tokenizer; the user may have given another.
    if (known := model.get("tokenizer_known")) is not None:
        rule = f"the file's rule for splitting text, {model['tokenizer_pre']!r},"
        detail = f"{rule} is followed"
        if not known:
            detail = (
                f"{rule} may not be followed by transformers: tokens may be others than in "
                "training; pass the original one, profile(model, tokenizer=...), to be sure"
            )
        checks.append(Check("tokenizer", known, detail, "warning"))
    return checks


def _check_bos(
    counts: Counts, tokenizer: PreTrainedTokenizerBase, corpus: Mapping[str, Any], *, adds: bool
) -> list[Check]:
    """Compare what the texts start with to what the tokenizer asks for."""
    asked = getattr(tokenizer, "add_bos_token", None)
    words = "adds" if adds else "adds no"
    token = tokenizer.bos_token or tokenizer.cls_token or "BOS"
    detail = (
        f"the tokenizer {words} {token} before a text"
        if adds
        else ("the tokenizer adds no BOS before a text")
    )
    checks = []
    if asked and not adds:
        detail = f"the tokenizer is set to add {token} (add_bos_token) but adds none"
        checks.append(Check("BOS", False, detail, "warning"))
    starts = corpus.get("windows", counts.starts)
    held = corpus.get("with_bos", counts.starts_with_bos)
    mode = corpus.get("bos", "auto")
    # A window of packed documents starts anywhere; a chat's template writes its own BOS.
    free = corpus.get("pack") or corpus.get("chat")
    expected = {"auto": starts if adds and not free else None, "add": starts, "never": None}[mode]
    if free:
        expected = None
    what = "windows" if "windows" in corpus else "rows"
    detail = f"{detail}; {held:,} of {starts:,} {what} start with one"
    if mode != "auto":
        detail += f" (--bos {mode})"
    passed = expected is None or held == expected
    if not passed:
        detail += ": the model sees these texts otherwise than it was trained to"
    checks.append(Check("BOS", passed, detail, "note" if expected is None else "check"))
    return checks


def _note_tokens(counts: Counts, corpus: Mapping[str, Any]) -> Check:
    tokens = {name: n for name, n in counts.tokens.items() if n}
    parts = ", ".join(f"{n:,} {name}" for name, n in tokens.items())
    side = ", ".join(sorted(counts.padded)) or "right"
    detail = f"{counts.total:,} counted: {parts}; {counts.padding:,} padding"
    if counts.padding:
        detail += f", on the {side}"
    if "documents_cut" in corpus:
        cut, documents = corpus["documents_cut"], corpus["documents"]
        detail += f"; {cut:,} of {counted(documents, 'document')} cut into windows"
    if corpus.get("pack"):
        detail += ", packed"
    return Check("tokens", True, detail, "note")
