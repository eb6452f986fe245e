"""Measuring the forward passes of somebody else's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.measuring.layouts import make_options
from hiddenscope.measuring.recorder import Recorder
from hiddenscope.models import adopt
from hiddenscope.strata import RECORDED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def record(
    model: PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    sites: str | Iterable[str] = "trunk",
    **options: float,
) -> Recorder:
    """Measure the forward passes of a loop of your own.

    Parameters
    ----------
    model : PreTrainedModel
        With or without a head, in training or evaluation, with or without gradients; also
        inside PEFT, ``torch.compile`` or ``DistributedDataParallel``.
    tokenizer : PreTrainedTokenizerBase, optional
        Tells special tokens apart and shows tokens as text.
    sites : str or iterable of str
        ``trunk`` (default), ``hf``, ``linear``, ``all``, sites or patterns.
    **options : float
        ``sample_mib``, the budget of the sample of whole hidden states; the thresholds
        ``outlier``, ``outlier_rms``, ``massive`` and ``massive_ratio``.

    Returns
    -------
    Recorder
        A context manager; ``profile()`` at any time, ``reset()`` to start over. Each row of a
        batch counts as a document of its own; padding is read off ``attention_mask``,
        positions off ``position_ids``, the mask or the cache. Inside ``model.generate`` the
        tokens are ``prompt`` and ``generated`` instead of ``regular``.

    Raises
    ------
    ModelError, SiteError, InputError
        The model's blocks cannot be found; a site does not exist; an option makes no sense.
    """
    return Recorder(
        adopt(model, tokenizer),
        sites=sites,
        options=make_options(RECORDED, options),
        outer=model,
    )
