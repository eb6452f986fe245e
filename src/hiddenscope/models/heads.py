"""The model round a base model: what modules are called there, and what its head reads."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

from hiddenscope.models.guard import quiet
from hiddenscope.models.taps import same_bits, tensors_in

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Surroundings:
    """What stands round a base model.

    Attributes
    ----------
    prefix : str
        What its modules' names begin with, such as ``model.``.
    others : dict of str to Module
        Modules that are not part of it.
    head : str or None
        The one of them that makes logits.
    head_reads_output : bool
        Whether that was called with bitwise the base model's output.
    """

    prefix: str
    others: dict[str, torch.nn.Module]
    head: str | None
    head_reads_output: bool


def with_head(base: PreTrainedModel) -> PreTrainedModel | None:
    """Build the model with a head that a checkpoint was saved from round its base model.

    Only to be asked: what stands round the base model has no weights.

    Parameters
    ----------
    base : PreTrainedModel
        As it was loaded; a configuration that names no class stands for a causal language model.

    Returns
    -------
    PreTrainedModel or None
        None where there is none, or none that can be built.
    """
    named = base.config.architectures
    kind: Any = (
        getattr(transformers, named[0], None)
        if named
        else MODEL_FOR_CAUSAL_LM_MAPPING.get(type(base.config), None)
    )
    if (
        not isinstance(kind, type)
        or isinstance(base, kind)
        or not issubclass(kind, PreTrainedModel)
    ):
        return None
    try:
        with quiet(), torch.device("meta"):
            outer = kind(copy.deepcopy(base.config))
    except Exception:
        # Whatever is wrong with a head, the base model can be measured.
        return None
    if type(outer.base_model) is not type(base):
        return None
    setattr(outer, outer.base_model_prefix, base)
    return outer


def look_around(
    outer: PreTrainedModel | None,
    base: PreTrainedModel,
    call: Mapping[str, Any],
    result: Any,
    last: torch.Tensor | None,
) -> Surroundings:
    """Find a base model in the one with its head, and what the head reads.

    Parameters
    ----------
    outer : PreTrainedModel or None
    base : PreTrainedModel
    call : mapping
        What the base model was called with.
    result : ModelOutput
        What it returned.
    last : Tensor[batch, pos, channel] or None
        Its output in that.
    """
    if outer is None or outer is base:
        return Surroundings("", {}, None, False)
    inside = set(base.modules())
    prefix = next(f"{path}." for path, m in outer.named_modules() if m is base)
    others = {path: m for path, m in outer.named_modules() if m not in inside}
    head = outer.get_output_embeddings()
    name = next((path for path, m in others.items() if m is head), None)
    given = None if name is None else _input_of(others[name], outer, base, call, result)
    reads = given is not None and last is not None and same_bits(given, last)
    return Surroundings(prefix, others, name, reads)


class _Reached(Exception):  # noqa: N818 - it is no error
    """The head is called: nothing behind that is wanted."""


def _input_of(
    head: torch.nn.Module,
    outer: PreTrainedModel,
    base: PreTrainedModel,
    call: Mapping[str, Any],
    result: Any,
) -> torch.Tensor | None:
    """Return what a head is called with after a base model that has run already."""
    given: list[torch.Tensor] = []

    def stop(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.extend(tensors_in(args, kwargs).values())
        raise _Reached

    own = vars(base).get("forward")
    handle = head.register_forward_pre_hook(stop, with_kwargs=True)
    base.forward = lambda *_, **__: result
    try:
        # Not as a call of the module, which may be compiled.
        outer.forward(**call, return_dict=True)
    except _Reached:
        pass
    except Exception:
        # Some heads want more than text; then it is not known what they read.
        return None
    finally:
        handle.remove()
        del base.forward
        if own is not None:
            base.forward = own
    return given[0] if given else None
