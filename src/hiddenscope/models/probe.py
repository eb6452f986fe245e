"""Finding a model's structure: found out by a forward pass over a few tokens, not assumed.

The blocks are those that the transformers class declares as recordable hidden states; for a
class that declares none, those of a list of modules with a usual name (`BLOCK_LISTS`), provided
that Hugging Face's ``hidden_states`` confirm every one of them. What follows the blocks, whether a
stream is causal, and which site each entry of ``hidden_states`` holds is read off the pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hiddenscope.errors import ModelError
from hiddenscope.models.blocks import BLOCK_LISTS
from hiddenscope.models.calling import forward_arguments, forward_pass, plain_ids
from hiddenscope.models.heads import look_around
from hiddenscope.models.linear import linear_layers
from hiddenscope.models.packing import keeps_apart
from hiddenscope.models.passage import Passage
from hiddenscope.models.restoring import left_alone
from hiddenscope.models.structure import DECODER, ENCODER, RESIDUAL, Stream, Structure
from hiddenscope.models.taps import Tap, same_bits, turns_into
from hiddenscope.sites import trunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

PROBE_TOKENS = 6


def find_structure(model: PreTrainedModel, outer: PreTrainedModel | None = None) -> Structure:
    """Find a model's blocks, their points, its final norm, and what its linear layers read.

    Parameters
    ----------
    model : PreTrainedModel
        A base model without a head. It is left as it was.
    outer : PreTrainedModel, optional
        The same model with its head, by whose names linear layers are called.

    Returns
    -------
    Structure

    Raises
    ------
    ModelError
        The blocks cannot be found, or are not one chain through the model.
    """
    owners: dict[str, torch.nn.Module] = {RESIDUAL: model}
    if getattr(model.config, "is_encoder_decoder", False):
        owners = {ENCODER: model.get_encoder(), DECODER: model.get_decoder()}
    paths = {module: path for path, module in model.named_modules()}
    with left_alone(model):
        kind = type(model).__name__
        call = _call(model)
        seen: list[Passage] = []
        for name, owner in owners.items():
            start = "decoder_" if name == DECODER else ""
            passage = Passage(
                name,
                owner,
                paths,
                kind,
                seen[-1] if seen else None,
                length=call.get(f"{start}input_ids", call["input_ids"]).shape[1],
                masked=f"{start}attention_mask" in call,
            )
            seen.append(passage)
        result = _run(model, call, seen)
        streams = tuple(_stream(passage, result) for passage in seen)
        around = look_around(outer, model, call, result, seen[-1].last)
        return Structure(streams, linear_layers(streams, model, around))


def _call(model: PreTrainedModel) -> dict[str, Any]:
    """Return arguments: rows that differ in the last token, of the text or of the decoder."""
    plain = plain_ids(model, PROBE_TOKENS + 1)
    rows = torch.tensor([plain[:-1], [*plain[:-2], plain[-1]], plain[:-1]], device=model.device)
    call = forward_arguments(model, rows, torch.ones_like(rows))
    if "decoder_input_ids" in call:
        # Shorter than the text, so that a state of the one is never taken for the other's.
        decoder = call["decoder_input_ids"][[0, 0, 0], :-1].clone()
        decoder[2, -1] = plain[-1]
        call["decoder_input_ids"] = decoder
        call["decoder_attention_mask"] = torch.ones_like(decoder)
    return call


def _run(model: PreTrainedModel, call: dict[str, Any], seen: Sequence[Passage]) -> Any:
    """Run the model, each passage watching its stream."""
    try:
        for passage in seen:
            passage.hook()
        with forward_pass(type(model).__name__, f"{PROBE_TOKENS} tokens"):
            return model(**call, output_hidden_states=True, return_dict=True)
    finally:
        for passage in seen:
            passage.unhook()


def _stream(seen: Passage, result: Any) -> Stream:
    """Put together what was seen of a stream."""
    if not seen.blocks or seen.last is None:
        where = f"its class declares {seen.found.partition('(')[2].rstrip(')')}, but calls none"
        if not seen.declared:
            where = (
                "its class does not declare them (_can_record_outputs), and no list of modules "
                f"called {', '.join(BLOCK_LISTS)} holds any that its forward pass calls"
            )
        msg = (
            f"cannot find the blocks of {seen.model}: {where}, so nothing is measured rather "
            "than something guessed"
        )
        raise ModelError(msg)
    for i, (out, into) in enumerate(zip(seen.outputs, seen.inputs[1:], strict=False)):
        if not same_bits(out, into):
            msg = (
                f"the blocks of {seen.model} ({seen.found}) are not one chain: block {i + 1} "
                f"does not read what block {i} wrote, so its residual stream cannot be told"
            )
            raise ModelError(msg)
    last = seen.outputs[-1]
    end = next(((m, n) for m, n in seen.after if turns_into(m, last, seen.last)), None)
    if end is None and not same_bits(seen.last, last):
        msg = (
            f"cannot tell how {seen.model} makes its output from its last block: no module "
            "turns the one into the other"
        )
        raise ModelError(msg)
    names = {RESIDUAL: "hidden_states"}
    key = names.get(seen.name, f"{seen.name}_hidden_states")
    held = tuple(getattr(result, key, None) or ())
    if strange := [i for i, x in enumerate(held) if not isinstance(x, torch.Tensor)]:
        msg = (
            f"entry {strange[0]} of the {key} of {seen.model} is a "
            f"{type(held[strange[0]]).__name__} and no tensor, so its sites cannot be told"
        )
        raise ModelError(msg)
    # A projection to another width is the output, but no site.
    hf = _hf_indices(seen, held, has_norm=end is not None and seen.last.shape == last.shape)
    if not seen.declared and len(hf) != max(len(held), 1):
        msg = (
            f"cannot find the blocks of {seen.model}: its class does not declare them, and "
            f"the {len(seen.blocks)} found {seen.found} are not those of its {key}, so "
            "nothing is measured rather than something guessed"
        )
        raise ModelError(msg)
    causal = _is_causal(seen)
    output = None
    if end is not None:
        path, width = seen.paths[end[0]], int(seen.last.shape[-1])
        output = Tap(path=path, side="output", call=end[1], width=width)
    points = (tap for anatomy in seen.anatomies for tap in anatomy.taps.values())
    tapped = {t.path for t in (*seen.blocks, *seen.entries, *points, output) if t is not None}
    return Stream(
        name=seen.name,
        owner=seen.paths[seen.owner],
        blocks=tuple(seen.blocks),
        entries=tuple(seen.entries),
        anatomies=tuple(seen.anatomies),
        output=output,
        width=int(seen.outputs[-1].shape[-1]),
        causal=causal,
        packs=causal and seen.name == RESIDUAL and keeps_apart(seen.owner),
        hf=hf,
        hf_tuple=key,
        found=seen.found,
        calls={path: count for path, count in seen.calls.items() if path in tapped},
        crops=seen.crops,
    )


def _is_causal(seen: Passage) -> bool:
    # The rows differ only in the last token: in a causal model nothing before it changes,
    # neither in the output nor (in case the output is NaN) in any block.
    other = 2 if seen.name == DECODER else 1
    assert seen.last is not None
    return all(
        torch.allclose(x[0, :-1], x[other, :-1], rtol=1e-3, atol=1e-5, equal_nan=True)
        for x in (x.float() for x in (*seen.outputs, seen.last))
    )


def _hf_indices(seen: Passage, held: tuple[torch.Tensor, ...], *, has_norm: bool) -> dict[str, int]:
    sites = trunk(len(seen.blocks), final_norm=has_norm)
    assert seen.last is not None
    states = [seen.inputs[0], *seen.outputs, *([seen.last] if has_norm else [])]
    mapping: dict[str, int] = {}
    for index, entry in enumerate(held):
        # The last entry may be the last block or the final norm. If both are equal (a norm
        # that changes nothing), it counts as the output, as it does in transformers.
        tied = index == len(held) - 1
        state = seen.of_tokens(entry)
        matches = [s.name for s, x in zip(sites, states, strict=True) if same_bits(x, state)]
        matches = [m for m in matches if m not in mapping]
        if matches:
            mapping[matches[-1] if tied else matches[0]] = index
    return mapping
