"""Which linear layers read which site, proved bit for bit by what they were called with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from hiddenscope.models.taps import same_bits
from hiddenscope.models.trace import LINEAR, is_linear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hiddenscope.models.heads import Surroundings
    from hiddenscope.models.structure import Stream
    from hiddenscope.models.trace import Trace

ENCODED = "encoded"
"""In place of a point: what the encoder returned, which is read by every block of the decoder."""
_OUTSIDE = "it is not called inside of a block"
_NO_SITE = "what it reads is no site"
_NO_OUTPUT = "what it reads is not bitwise the model's output"


@dataclass(frozen=True)
class LinearLayers:
    """The linear layers of a model, named as in the model with its head.

    Attributes
    ----------
    read : dict of str to dict
        Stream → site → the layers (``torch.nn.Linear`` and ``Conv1D``) that read it: the tensor
        that such a layer was called with is bitwise the site's state.
    conv1d : list of str
        Those of them that are of GPT-2's kind, whose weight is transposed.
    missing : dict of str to str
        Layers and other modules with matrices that are not in `read`, and why.
    head : str
        What was seen of the head, which need not run where states are measured; empty without one.
    """

    read: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    conv1d: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    head: str = ""


def reads_of(
    trace: Trace, states: Mapping[str, tuple[int, torch.Tensor]]
) -> dict[str, tuple[str | None, ...]]:
    """Say of each linear layer that a block called which points it read.

    Parameters
    ----------
    trace : Trace
    states : mapping of str to (int, Tensor)
        Point → when its state passed, and the state; in the order of the forward pass.

    Returns
    -------
    dict of str to tuple of str or None
        By path, for each call the last point so far whose state is bitwise what the layer was
        called with, or `ENCODED`.
    """
    given = {s.time: s.value for s in reversed(trace.seen) if s.side == "input"}
    latest_first = sorted(reversed(list(states.items())), key=lambda item: item[1][0], reverse=True)
    reads: dict[str, tuple[str | None, ...]] = {}
    for path, time in trace.called:
        state = given.get(time)
        point = next(
            (
                point
                for point, (passed, value) in latest_first
                if state is not None and passed <= time and same_bits(value, state)
            ),
            ENCODED if time in trace.decoding else None,
        )
        reads[path] = (*reads.get(path, ()), point)
    return reads | dict.fromkeys(_experts(trace, reads), (None,))


def _experts(trace: Trace, reads: Mapping[str, tuple[str | None, ...]]) -> set[str]:
    """Return the layers of modules in a list that are not all called in the same way.

    An expert may have been sent all of the probe's few tokens, but reads only some of a text's.
    """
    found: set[str] = set()
    below_it = ((part, *item) for part, m in trace.parts.items() for item in m.named_modules())
    for part, name, modules in below_it:
        if not isinstance(modules, torch.nn.ModuleList):
            continue
        start = ".".join(p for p in (part, name) if p)
        alike: dict[str, list[str]] = {}
        for i, module in enumerate(modules):
            for below, layer in module.named_modules():
                if isinstance(layer, LINEAR):
                    path = f"{start}.{i}.{below}".rstrip(".")
                    alike.setdefault(below, []).append(path)
        for paths in alike.values():
            if len({reads.get(path) for path in paths}) > 1:
                found.update(paths)
    return found & reads.keys()


def linear_layers(
    streams: Sequence[Stream], model: torch.nn.Module, around: Surroundings
) -> LinearLayers:
    """List the linear layers of a model by the sites that they read.

    Parameters
    ----------
    streams : sequence of Stream
    model : Module
        The base model.
    around : Surroundings
        The model with its head, and what was seen of it.
    """
    reads: dict[str, list[tuple[str, str | None]]] = {}
    for stream in streams:
        for i, anatomy in enumerate(stream.anatomies):
            for path, points in anatomy.reads.items():
                reads.setdefault(path, []).extend(_site(streams, stream, i, p) for p in points)
    modules = {around.prefix + path: (path, m) for path, m in model.named_modules()}
    seen = "a " if around.head_reads_output else "no "
    said = (
        f"{around.head} is not run by a measurement; called once, after a few tokens, it was given "
        f"{seen}tensor that is bitwise the model's output for each of them"
    )
    layers = LinearLayers(
        {stream.name: {} for stream in streams}, head="" if around.head is None else said
    )
    for name, (path, module) in modules.items():
        if _has_matrix(module):
            _enter(layers, name, module, reads.get(path))
    last = streams[-1]
    for name, module in around.others.items():
        if name != around.head:
            read = None
        else:
            read = [(last.name, last.output_site if around.head_reads_output else None)]
        if _has_matrix(module):
            _enter(layers, name, module, read, _NO_OUTPUT)
    return layers


def _site(
    streams: Sequence[Stream], stream: Stream, block: int, point: str | None
) -> tuple[str, str | None]:
    """Return the stream and the site of what a layer of a block reads."""
    if point == ENCODED:
        return streams[0].name, streams[0].output_site
    return stream.name, None if point is None else f"block.{block}.{point}"


def _enter(
    layers: LinearLayers,
    name: str,
    module: torch.nn.Module,
    read: list[tuple[str, str | None]] | None,
    no_site: str = _NO_SITE,
) -> None:
    if not isinstance(module, LINEAR):
        layers.missing[name] = f"{type(module).__name__} is no torch.nn.Linear"
        return
    sites = dict.fromkeys((stream, site) for stream, site in read or () if site is not None)
    if read is None or len(sites) < len(set(read)):
        layers.missing[name] = _OUTSIDE if read is None else no_site
        return
    for stream, site in sites:
        layers.read[stream].setdefault(site, []).append(name)
    if not isinstance(module, torch.nn.Linear):
        layers.conv1d.append(name)


def _has_matrix(module: torch.nn.Module) -> bool:
    """Whether a module multiplies by weights of its own; tables of embeddings are looked up."""
    if "embedding" in type(module).__name__.lower():
        return False
    if isinstance(module, LINEAR):
        return True
    own = [p for p in module.parameters(recurse=False) if p.ndim > 1 and min(p.shape[-2:]) > 1]
    # Quantised layers keep their weights in their own ways; around others there is a wrapper.
    return bool(own) or (is_linear(module) and next(module.children(), None) is None)
