"""One context manager that hands over the states of each forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch

from hiddenscope.errors import CaptureError
from hiddenscope.models import Structure, block_input, hidden_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from transformers import PreTrainedModel

    from hiddenscope.sites import Site

    Call = tuple[tuple[Any, ...], dict[str, Any]]


class Capture:
    """Hooks on the sites of a model, for as long as the context lasts.

    Nothing is changed: the states are handed over detached, the forward pass, its gradients
    and its random numbers are as they would be without hooks.

    Parameters
    ----------
    model : PreTrainedModel
        The base model.
    structure : Structure
    sites : tuple of Site
    take : callable
        Called once a site and forward pass as ``take(site, states)``, when the states exist;
        it must copy what it keeps, as a later module may change them in place.
    begin : callable, optional
        Called as ``begin(args, kwargs)`` with what the model was called with.
    end : callable, optional
        Called as ``end(output)`` when the forward pass is complete.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        structure: Structure,
        sites: tuple[Site, ...],
        *,
        take: Callable[[str, torch.Tensor], None],
        begin: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None,
        end: Callable[[Any], None] | None = None,
    ) -> None:
        self.model = model
        self.structure = structure
        self.sites = sites
        self._take = take
        self._begin = begin
        self._end = end
        self._seen: list[str] | None = None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        names = {site.name for site in self.sites}
        structure = self.structure
        hook = self._handles.append
        try:
            hook(self.model.register_forward_pre_hook(self._start, with_kwargs=True))
            if "embed" in names:
                hook(structure.blocks[0].register_forward_pre_hook(self._embed, with_kwargs=True))
            for i, block in enumerate(structure.blocks):
                if (name := f"block.{i}.resid_post") in names:
                    hook(block.register_forward_hook(self._output(name, structure.output_index[i])))
            if "final_norm" in names and structure.final_norm is not None:
                hook(structure.final_norm.register_forward_hook(self._output("final_norm", 0)))
            hook(self.model.register_forward_hook(self._finish))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen = None

    def _start(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._seen = []
        if self._begin is not None:
            self._begin(args, kwargs)

    def _finish(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        seen, self._seen = self._seen, None
        expected = [site.name for site in self.sites]
        if seen is not None and sorted(seen) != sorted(expected):
            missing = sorted(set(expected) - set(seen)) or sorted(set(seen))
            msg = (
                f"the forward pass did not yield each site once (see {', '.join(missing[:3])}): "
                f"expected {len(expected)} states, got {len(seen)}; a compiled or replaced "
                "module may not run hooks"
            )
            raise CaptureError(msg)
        if self._end is not None:
            self._end(output)

    def _hand_over(self, name: str, states: torch.Tensor) -> None:
        # Outside of a forward pass of the model, a block runs on someone else's behalf: a
        # gradient checkpoint that is computed again, or a call of the block alone.
        if self._seen is None:
            return
        self._seen.append(name)
        with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
            self._take(name, states.detach())

    def _embed(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._hand_over("embed", block_input(args, kwargs))

    def _output(
        self, name: str, index: int
    ) -> Callable[[torch.nn.Module, tuple[Any, ...], Any], None]:
        def hook(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._hand_over(name, hidden_state(output, index))

        return hook
