"""Models: loading them, and finding where their hidden states are."""

from hiddenscope.models.adopting import adopt
from hiddenscope.models.alone import evaluation, left_alone
from hiddenscope.models.anatomy import POINTS, Step
from hiddenscope.models.calling import forward_arguments, forward_pass, plain_ids, vocabulary
from hiddenscope.models.context import context_length
from hiddenscope.models.loaded import LoadedModel, describe
from hiddenscope.models.loading import DEMO, DTYPES, load
from hiddenscope.models.padding import padding_changes
from hiddenscope.models.structure import DECODER, RESIDUAL, Stream, Structure, inspect
from hiddenscope.models.taps import Tap, same_bits

__all__ = [
    "DECODER",
    "DEMO",
    "DTYPES",
    "POINTS",
    "RESIDUAL",
    "LoadedModel",
    "Step",
    "Stream",
    "Structure",
    "Tap",
    "adopt",
    "context_length",
    "describe",
    "evaluation",
    "forward_arguments",
    "forward_pass",
    "inspect",
    "left_alone",
    "load",
    "padding_changes",
    "plain_ids",
    "same_bits",
    "vocabulary",
]
