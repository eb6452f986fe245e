"""Attention that reads only the tokens with the highest scores (DeepSeek V3.2, Doge and others).

Many tokens have exactly the same score: zero, or that of the same word elsewhere in the text.
Which of equals `torch.topk` picks depends on the length of the row, padding included, so a longer
text beside it changes a text's states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_COUNTS = ("index_topk", "keep_window_size")
"""What configurations call the number of tokens that are picked for each token."""


def attended_tokens(model: torch.nn.Module) -> int | None:
    """Return how many tokens a model's attention picks for each token; None where it reads all.

    In rows of at most that many tokens it picks them all.
    """
    config = getattr(model, "config", None)
    if config is None:
        return None
    settings = [getattr(config.get_text_config(), name, None) for name in _COUNTS]
    return min((n for n in settings if isinstance(n, int)), default=None)
