"""What is captured, held against a forward pass without hooks."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.capture.check import Check
from hiddenscope.capture.hooks import Capture
from hiddenscope.models import left_alone, same_bits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hiddenscope.models import Stream, Structure

MAX_ROWS = 2
MAX_TOKENS = 256


def verify(model: torch.nn.Module, structure: Structure, call: Mapping[str, Any]) -> list[Check]:
    """Run a small part of the first batch with and without hooks and compare.

    The model is left as it was.

    Parameters
    ----------
    model : PreTrainedModel
    structure : Structure
    call : mapping of str to Tensor[batch, pos] or other
        Arguments of the forward pass; only the first rows and positions are used.

    Returns
    -------
    list of Check
    """
    small = {
        key: x[:MAX_ROWS, : MAX_TOKENS // MAX_ROWS] if isinstance(x, torch.Tensor) else x
        for key, x in call.items()
    }
    states: dict[str, dict[str, torch.Tensor]] = {s.name: {} for s in structure.streams}
    with left_alone(model):
        plain = model(**small, output_hidden_states=True, return_dict=True)
    with left_alone(model), ExitStack() as stack:
        for stream in structure.streams:
            held = states[stream.name]
            take = _keeper(held)
            stack.enter_context(Capture(model, stream, [s.name for s in stream.trunk], take=take))
        hooked = model(**small, return_dict=True)
    return [
        *(_check_hf(stream, states[stream.name], plain) for stream in structure.streams),
        _check_unchanged(hooked.last_hidden_state, plain.last_hidden_state),
    ]


def _keeper(held: dict[str, torch.Tensor]) -> Any:
    return lambda name, x: held.update({name: x.clone()})


def _check_hf(stream: Stream, states: Mapping[str, torch.Tensor], result: Any) -> Check:
    plain = tuple(getattr(result, stream.hf_tuple, None) or ())
    if not plain:
        detail = f"the model returns no {stream.hf_tuple} to compare with"
        return Check(stream.hf_tuple, False, detail)
    by_index = {index: name for name, index in stream.hf.items()}
    # What has another width than the residual stream is the model's output and no site.
    held = {i: x for i, x in enumerate(plain) if x.shape[-1] == stream.width}
    if stream.crops:
        # Some models cut their output back to the tokens, and not what they return beside it.
        held = {i: x[:, : states["embed"].shape[1]] for i, x in held.items()}
    wrong = [
        i
        for i, x in held.items()
        if by_index.get(i) not in states or not same_bits(states[by_index[i]], x)
    ]
    if wrong:
        detail = f"entry {wrong[0]} of Hugging Face's {stream.hf_tuple} is not what was captured"
        return Check(stream.hf_tuple, False, detail)
    last = "the output of the last block"
    if stream.output is not None and len(plain) - 1 not in by_index:
        last = f"the output of {stream.output.path}"
    elif by_index.get(len(plain) - 1) == "final_norm":
        last = "normalised: the output of the final norm"
    what = f"all {len(plain)} entries of Hugging Face's {stream.hf_tuple} are"
    if len(held) < len(plain):
        what = f"the {len(held)} entries of {stream.hf_tuple} of the stream's width are"
    detail = f"{what} bitwise what was captured; its last entry is {last}"
    return Check(stream.hf_tuple, True, detail)


def _check_unchanged(hooked: torch.Tensor, plain: torch.Tensor) -> Check:
    passed = same_bits(hooked, plain)
    detail = "the output with our hooks is bitwise the output without"
    return Check("hooks", passed, detail if passed else f"does not hold: {detail}")
