"""What a profile says of how it was made: model, tokenizer, streams."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from hiddenscope.corpus import adds_bos
from hiddenscope.models import describe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.measuring.state import RunState
    from hiddenscope.models import LoadedModel, Stream, Structure


def describe_model(loaded: LoadedModel, first: Stream, state: RunState) -> dict[str, Any]:
    """Describe a model as it was measured; its first stream stands for it.

    Parameters
    ----------
    loaded : LoadedModel
    first : Stream
    state : RunState
    """
    return describe(loaded) | {
        "state_dtype": {s: d for c in state.counts.values() for s, d in c.dtypes.items()},
        "blocks": len(first.blocks),
        "width": first.width,
        "causal": first.causal,
        "blocks_found": first.found,
        "final_norm": first.final_norm.path if first.final_norm else None,
    }


def describe_streams(structure: Structure, state: RunState) -> dict[str, dict[str, Any]]:
    """Describe what was measured, by the names that a profile gives its streams."""
    return {
        group: {
            "of": name,
            "tokens": state.counts[name].tokens,
            "padding": state.counts[name].padding,
            "causal": structure[name].causal,
            "state_dtype": state.counts[name].dtypes,
            "refused": structure[name].refusals(),
        }
        for name, held in state.streams.items()
        for group in held
    }


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any] | None:
    """Return the manifest's description of a tokenizer."""
    if tokenizer is None:
        return None
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "sha256": _digest(tokenizer),
        "adds_bos": adds_bos(tokenizer),
        "bos": tokenizer.bos_token,
    }


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.is_fast:
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        # The truncation and padding of the last call are not properties of the tokenizer.
        for state in ("truncation", "padding"):
            content.pop(state, None)
    else:
        content = sorted(tokenizer.get_vocab().items())
    # Half a surrogate pair, in a vocabulary of bytes, is escaped.
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
