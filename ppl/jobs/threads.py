"""Parts of a batch, or batches, side by side on the cores of a CPU, each by a thread of its own.

Operations of a network on small images are too short to be divided among cores: two of them shorten a training step by
a fifth, and not at all if another process takes a part of one core. Two steps side by side take as long as one. Torch
releases Python's lock while it computes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

MAX_THREADS = 8
"""Most threads, which bounds memory; with twice as many cores or more, each thread uses several."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads_for(network: nn.Module, batch_size: int) -> int:
    """Return into how many parts to divide a batch: one on a GPU, which a batch fills.

    Together the parts need no more memory than the batch.
    """
    device = next(network.parameters()).device
    return 1 if device.type != "cpu" else max(1, min(MAX_THREADS, batch_size, torch.get_num_threads()))


def thread_pool(count: int) -> ThreadPoolExecutor:
    """Return a pool of `count` threads that share the cores of torch.

    Autocast, and whether denormal numbers become 0, are as in the calling thread; the gradient mode is not: functions
    set it themselves. A thread that anyone starts later has as many cores as one of the pool.
    """
    state = (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), _flushes_denormals())
    return ThreadPoolExecutor(count, "batch", _start, (max(1, torch.get_num_threads() // count), *state))


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with `function(item)`, in order; items are taken while as many as there are threads are computed.

    An error of `function` is raised in the turn of its item, one of `items` at once. Work that has started ends first.
    """
    if threads == 1:
        for item in items:
            yield item, function(item)
        return
    pending: deque[tuple[Item, Future[Result]]] = deque()
    pool = thread_pool(threads)
    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > threads:  # one waits, for the thread that finishes next
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(cores: int, autocasts: bool, dtype: torch.dtype, flushes: bool) -> None:
    torch.set_num_threads(cores)
    torch.set_autocast_enabled("cpu", autocasts)
    torch.set_autocast_dtype("cpu", dtype)
    torch.set_flush_denormal(flushes)


def _flushes_denormals() -> bool:
    """Return whether this thread turns denormal numbers into 0; torch does not tell."""
    return (torch.tensor([1e-38]) * 1e-2).item() == 0
