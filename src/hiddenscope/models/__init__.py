"""Models: loading them, and finding where their hidden states are."""

from hiddenscope.models.adopting import adopt
from hiddenscope.models.anatomy import POINTS, Step
from hiddenscope.models.calling import (
    bound,
    forward_arguments,
    forward_pass,
    padding_id,
    plain_ids,
    vocabulary,
)
from hiddenscope.models.context import context_length
from hiddenscope.models.loaded import LoadedModel, describe
from hiddenscope.models.loading import DEMO, DTYPES, load
from hiddenscope.models.padding import batch_shift, padding_shift
from hiddenscope.models.probe import find_structure
from hiddenscope.models.restoring import evaluation, left_alone, repeatable
from hiddenscope.models.rotary import DYNAMIC, Rotary, find_rotary, has_known_rotary
from hiddenscope.models.sparse_attention import attended_tokens
from hiddenscope.models.structure import DECODER, RESIDUAL, Stream, Structure
from hiddenscope.models.taps import Tap, apply, same_bits, value_of
from hiddenscope.models.tokenizers import check_fits, load_tokenizer

__all__ = [
    "DECODER",
    "DEMO",
    "DTYPES",
    "DYNAMIC",
    "POINTS",
    "RESIDUAL",
    "LoadedModel",
    "Rotary",
    "Step",
    "Stream",
    "Structure",
    "Tap",
    "adopt",
    "apply",
    "attended_tokens",
    "batch_shift",
    "bound",
    "check_fits",
    "context_length",
    "describe",
    "evaluation",
    "find_rotary",
    "find_structure",
    "forward_arguments",
    "forward_pass",
    "has_known_rotary",
    "left_alone",
    "load",
    "load_tokenizer",
    "padding_id",
    "padding_shift",
    "plain_ids",
    "repeatable",
    "same_bits",
    "value_of",
    "vocabulary",
]
