"""One context manager that hands over the states of each forward pass."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

import torch

from hiddenscope.errors import CaptureError
from hiddenscope.models import value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from hiddenscope.models import Stream, Tap

    # A site, where it is read, and what its states are multiplied by.
    Place = tuple[str, Tap, float | torch.Tensor | None]


class Capture:
    """Hooks on the sites of a stream, for as long as the context lasts.

    Nothing is changed: the states are handed over detached, the forward pass, its gradients
    and its random numbers are as they would be without hooks.

    Parameters
    ----------
    model : Module
    stream : Stream
        Of this model, or of one with the same names.
    sites : sequence of str
    take : callable
        Called once a site and forward pass as ``take(site, states)``, when the states exist;
        it must copy what it keeps, as a later module may change them in place.
    begin : callable, optional
        Called as ``begin(args, kwargs)`` with what the stream's owner was called with.
    end : callable, optional
        Called as ``end(output)`` when its forward pass is complete.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        stream: Stream,
        sites: Sequence[str],
        *,
        take: Callable[[str, torch.Tensor], None],
        begin: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None,
        end: Callable[[Any], None] | None = None,
    ) -> None:
        self.model, self.stream = model, stream
        self.sites = tuple(sites)
        self._take = take
        self._begin = begin
        self._end = end
        self._seen: list[str] | None = None
        self._length: int | None = None
        self._calls: dict[torch.nn.Module, int] = {}
        self._paths: dict[torch.nn.Module, str] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        places: dict[str, list[Place]] = defaultdict(list)
        taps = self.stream.taps
        for site in self.sites:
            tap = taps[site]
            scale = None if tap.scale is None else value_of(self.model, tap.scale)
            places[tap.path].append((site, tap, scale))
        hook = self._handles.append
        owner = self.model.get_submodule(self.stream.owner)
        try:
            hook(owner.register_forward_pre_hook(_eager(self._start), with_kwargs=True))
            for path, here in places.items():
                module = self._module(path, here[0][0])
                self._paths[module] = path
                hook(module.register_forward_pre_hook(_eager(self._input(here)), with_kwargs=True))
                hook(module.register_forward_hook(_eager(self._output(here)), with_kwargs=True))
            hook(owner.register_forward_hook(_eager(self._finish)))
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

    def _module(self, path: str, site: str) -> torch.nn.Module:
        try:
            return self.model.get_submodule(path)
        except AttributeError:
            msg = (
                f"the model has no module {path!r} any more, where {site} is read: it was changed "
                "after hiddenscope had looked at it, so call hiddenscope.record again"
            )
            raise CaptureError(msg) from None

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen = None

    def _start(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._seen = []
        self._calls.clear()
        if self.stream.crops:
            given = (kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args)
            self._length = next(x for x in given if x is not None).shape[1]
        if self._begin is not None:
            self._begin(args, kwargs)

    def _finish(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        seen, self._seen = self._seen, None
        if seen is not None and sorted(seen) != sorted(self.sites):
            missing = sorted(set(self.sites) - set(seen)) or sorted(set(seen))
            msg = (
                f"the forward pass did not yield each site once (see {', '.join(missing[:3])}): "
                f"expected {len(self.sites)} states, got {len(seen)}; a compiled or replaced "
                "module may not run hooks"
            )
            raise CaptureError(msg)
        if seen is not None:
            self._check_calls()
        if self._end is not None:
            self._end(output)

    def _check_calls(self) -> None:
        """Refuse a pass that calls modules oftener or less than the one that was looked at."""
        for module, path in self._paths.items():
            made, count = self._calls[module] + 1, self.stream.calls[path]
            if made != count:
                msg = (
                    f"{path} was called {made} times in a forward pass, where {count} was expected "
                    "and which of them is read cannot be told: call the model without what makes "
                    "it run again (as target_mapping does XLNet)"
                )
                raise CaptureError(msg)

    def _input(self, here: list[Place]) -> Callable[..., None]:
        taps = [place for place in here if place[1].side == "input"]

        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # Calls outside of a forward pass of the owner are ignored, such as a gradient
            # checkpoint that is computed again, or a call of the block alone.
            if self._seen is not None:
                self._calls[module] = self._calls.get(module, -1) + 1
                self._hand_over(module, taps, args, kwargs, None)

        return hook

    def _output(self, here: list[Place]) -> Callable[..., None]:
        taps = [place for place in here if place[1].side == "output"]

        def hook(
            module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            if self._seen is not None:
                self._hand_over(module, taps, args, kwargs, output)

        return hook

    def _hand_over(
        self,
        module: torch.nn.Module,
        taps: list[Place],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> None:
        assert self._seen is not None
        for site, tap, scale in taps:
            if self._calls[module] == tap.call:
                self._seen.append(site)
                with torch.no_grad():
                    states = tap.read(args, kwargs, output)
                    states = (states if scale is None else states * scale).detach()
                    if self._length is not None and states.ndim == 3:
                        states = states[:, : self._length]
                    with torch.autocast(states.device.type, enabled=False):
                        self._take(site, states)


def _eager(hook: Callable[..., None]) -> Callable[..., None]:
    """Keep a compiler from tracing a hook; where there is none it is not imported for that."""
    if "torch._dynamo" not in sys.modules:
        return hook
    untraced: Callable[..., None] = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]
    return untraced
