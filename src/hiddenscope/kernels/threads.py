"""Several sites at once on a processor's threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST = 4
"""Threads; of more each waits for the others, as Python runs one of them at a time."""

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Sequence[T], device: torch.device) -> list[R]:
    """Do some work for each item, side by side where it runs on a processor.

    Every thread works by itself: the steps of a kernel are short, and sharing one out among
    threads can take longer than the step. So no result depends on how many threads there are.

    Parameters
    ----------
    work : callable
        It must not change what another item's work reads.
    items : sequence
    device : torch.device
        Where it computes; elsewhere than on a processor the items come one after the other.

    Returns
    -------
    list
        What `work` returned, in the order of the items.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        return [work(item) for item in items]
    torch.set_num_threads(1)
    try:
        # New threads, as those of an earlier pool would not survive a fork of the process.
        with ThreadPoolExecutor(min(threads, MOST)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)
