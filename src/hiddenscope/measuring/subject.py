"""The model and the tokenizer of a run, from what the user names or passes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hiddenscope.errors import InputError
from hiddenscope.models import adopt, check_fits, context_length, load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.models import LoadedModel

DEFAULT_WINDOW = 2048


def subject(
    model: str | os.PathLike[str] | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    name: str | None,
    **options: Any,
) -> LoadedModel:
    """Load a model that is named, or take one that is loaded, with the tokenizer given, if any.

    Parameters
    ----------
    model, tokenizer, name
        As in `profile`.
    **options
        As in `hiddenscope.models.load`, for a model that is named.

    Raises
    ------
    InputError
        It has no tokenizer, or one of another vocabulary; options are given for a loaded model.
    """
    if name is not None and not name.strip():
        msg = "name is empty: say how the model is to be called, or leave it out"
        raise InputError(msg)
    if isinstance(model, str | os.PathLike):
        loaded = load(os.fsdecode(model), tokenizer=tokenizer, **options)
    else:
        usual = {"dtype": None, "device": "cpu", "revision": None, "device_map": None}
        given = [key for key, value in options.items() if value != usual.get(key, False)]
        if given:
            msg = f"{' and '.join(given)} are for models loaded by name: load the model so yourself"
            raise InputError(msg)
        loaded = adopt(model, tokenizer)
    if loaded.tokenizer is None:
        msg = "a loaded model needs its tokenizer: profile(model, tokenizer=...)"
        raise InputError(msg)
    if tokenizer is not None:
        check_fits(loaded.model, tokenizer)
    return loaded if name is None else replace(loaded, name=name)


def window_length(loaded: LoadedModel, window: int | None) -> int | None:
    """Return the tokens of a window, by default those of the model's context, or None.

    Raises
    ------
    InputError
        The model's context is shorter.
    """
    usable = context_length(loaded.model, loaded.tokenizer)
    if window is None:
        return min(usable, DEFAULT_WINDOW) if usable else DEFAULT_WINDOW
    if usable is not None and window > usable:
        msg = f"a window of {window:,} tokens is longer than the model's context of {usable:,}"
        raise InputError(msg)
    return window
