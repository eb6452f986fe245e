"""Forward passes of our own that leave a model as it was: all that they change is restored.

Some models change while they run: a rotary table grows with the longest text, a switch is set by
the first short one. What a user's own forward passes change in a model is kept; what ours change
is undone, also after an exception.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_CONTAINERS = dict, list, set, deque
_HOOKS = "_hooks", "_hooks_with_kwargs", "_hooks_always_called"
# Writes the running statistics that it is given without saying so.
_WRITES_UNDECLARED = "batch_norm"


@contextmanager
def evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into evaluation, and every module of it back as it was afterwards.

    Parameters
    ----------
    model : Module
        Frozen submodules of a model in training stay in evaluation.
    """
    flags = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


@contextmanager
def left_alone(model: torch.nn.Module) -> Iterator[None]:
    """Run forward passes of our own, in evaluation and without gradients, and leave no trace.

    Parameters, buffers and other tensors keep their bytes, modules their attributes, hooks and
    training flags, configurations their values, and the random generators of torch, NumPy and
    Python their states. A tensor is copied only when something is about to write to it, so large
    weights cost no memory.

    Parameters
    ----------
    model : Module
    """
    devices = {p.device for p in (*model.parameters(), *model.buffers())}
    with ExitStack() as stack:
        stack.enter_context(_random_states(devices))
        attributes = _Attributes(model)
        stack.callback(attributes.restore)
        tensors = _Tensors(attributes.tensors)
        stack.callback(tensors.restore)
        stack.enter_context(torch.no_grad())
        stack.enter_context(tensors)
        model.eval()
        yield


@contextmanager
def repeatable(model: torch.nn.Module) -> Iterator[Callable[[], None]]:
    """Let each of many forward passes start from the model as it is now, and restore it at the end.

    Cheaper than `left_alone`, and without influence on the numbers: rotary tables and attributes
    other than hooks are restored, weights are not.

    Parameters
    ----------
    model : Module

    Yields
    ------
    callable
        Puts the model back.
    """
    attributes = _Attributes(model, hooks=False)
    rotary = [m for m in model.modules() if hasattr(m, "rope_type")]
    tables = [(table, table.clone()) for m in rotary for table in m.buffers(recurse=False)]

    def again() -> None:
        for table, copy in tables:
            table.copy_(copy)
        attributes.restore()

    try:
        yield again
    finally:
        again()


@contextmanager
def _random_states(devices: Iterable[torch.device]) -> Iterator[None]:
    by_kind: dict[str, list[torch.device]] = defaultdict(list)
    for device in devices:
        if device.type not in {"cpu", "meta"}:
            by_kind[device.type].append(device)
    # Models draw from the generators that are everybody's.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for kind, held in by_kind.items():
            stack.enter_context(torch.random.fork_rng(devices=held, device_type=kind))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


class _Attributes:
    """What a model's modules and configurations hold, by name; and the tensors among it.

    A module's training flag, hooks, parameters and buffers are attributes like others: entries of
    its namespace and of the dictionaries in it.
    """

    def __init__(self, model: torch.nn.Module, *, hooks: bool = True) -> None:
        self.tensors: list[torch.Tensor] = []
        self._kept: list[tuple[Any, Any]] = []
        known: set[int] = set()
        left: list[Any] = [model]
        while left:
            value = left.pop()
            if id(value) in known:
                continue
            known.add(id(value))
            if isinstance(value, torch.Tensor):
                self.tensors.append(value)
            elif isinstance(value, torch.nn.Module | PreTrainedConfig):
                held = vars(value)
                left.append(held)
                if not hooks and isinstance(value, torch.nn.Module):
                    known |= {id(entry) for name, entry in held.items() if name.endswith(_HOOKS)}
            elif isinstance(value, _CONTAINERS):
                self._kept.append((value, value.copy()))
                left += value.values() if isinstance(value, dict) else value
            elif isinstance(value, tuple):
                left += value

    def restore(self) -> None:
        for container, before in self._kept:
            if not _same_entries(container, before):
                container.clear()
                (container.update if isinstance(before, dict | set) else container.extend)(before)


def _same_entries(container: Any, before: Any) -> bool:
    if len(container) != len(before):
        return False
    if isinstance(before, set):
        return bool(container == before)
    same = all(a is b for a, b in zip(container, before, strict=True))
    return same and (not isinstance(before, dict) or all(container[k] is before[k] for k in before))


class _Tensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies a tensor when an operation is about to write to it, and puts the copy back."""

    supports_higher_order_operators = True

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A second handle on the same memory: the first may be pointed elsewhere (`x.data = y`).
        self._handles = [(x, x.data) for x in tensors if x.layout is torch.strided]
        self._unwritten: dict[int, list[torch.Tensor]] = defaultdict(list)
        for _, handle in self._handles:
            self._unwritten[_memory(handle)].append(handle)
        self._copies: list[tuple[torch.Tensor, torch.Tensor]] = []

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        # Attention by flex_attention compiles itself, and would refuse to under another mode.
        return True

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for place, name in _written(func):
            value = args[place] if place < len(args) else kwargs.get(name)
            for tensor in value if isinstance(value, list | tuple) else [value]:
                if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                    handles = self._unwritten.pop(_memory(tensor), [])
                    self._copies += [(handle, handle.clone()) for handle in handles]
        return func(*args, **kwargs)

    @torch.no_grad()
    def restore(self) -> None:
        for handle, copy in self._copies:
            handle.copy_(copy)
        for tensor, handle in self._handles:
            if _place(tensor) != _place(handle):
                tensor.data = handle


@cache
def _written(func: Any) -> list[tuple[int, str]]:
    """Return which of its arguments an operation writes to, by place and name."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return []
    undeclared = _WRITES_UNDECLARED in schema.name
    return [
        (place, argument.name)
        for place, argument in enumerate(schema.arguments)
        if undeclared or (argument.alias_info is not None and argument.alias_info.is_write)
    ]


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    return (
        _memory(tensor),
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
        tensor.device,
    )
