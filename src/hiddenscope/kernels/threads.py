"""Several sites at once on a processor's threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
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
    threads = min(torch.get_num_threads(), MOST)
    if device.type != "cpu" or threads == 1:
        return [work(item) for item in items]
    return list(_pool(threads, os.getpid()).map(work, items))


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Start threads of which each computes by itself; a forked process has none of them."""
    before = torch.get_num_threads()
    ready = Barrier(threads + 1)

    def alone() -> None:
        # Torch sets up a thread when that first asks, with the number that was set last by anyone.
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(threads, "hiddenscope", alone)
    try:
        for _ in range(threads):
            pool.submit(int)
        ready.wait()
    except BaseException:
        ready.abort()
        raise
    finally:
        torch.set_num_threads(before)
    return pool
