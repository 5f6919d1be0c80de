"""Image-by-image work: shards over jobs, worker processes within one."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ppl.jobs.errors import UserError
from ppl.jobs.progress import Bar, progress

LINUX = hasattr(signal, "sigtimedwait")  # which tells who has sent a signal
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    total: int,
    name: str,
    size: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Result]:
    """Yields `function(item)` for all items, in the order in which they finish, computed by `workers` processes.

    Items are drawn as workers become free, so that memory does not grow with their number. Workers start fresh (no
    fork of a process that holds threads or a GPU), import no more than the module of `function` does (so leave torch
    out of it), take one CPU thread each, and end with their parent, however it ends. With `workers` 0 this process does
    it all, as it must where it holds the GPU that `function` uses. Progress is shown as that of `name`, a step in plain
    words, over `total` images, of which an item has `size(item)`.
    """
    bar = progress(name=name, unit="image", total=total)
    if not workers:
        with bar:
            for item in items:
                yield function(item)
                bar.update(size(item))
        return
    context = multiprocessing.get_context("spawn")
    with _hidden_main(), ProcessPoolExecutor(workers, context, _start_worker) as pool, bar:
        pending: dict[Future, int] = {}
        try:
            for item in items:
                pending[pool.submit(function, item)] = size(item)
                if len(pending) >= 3 * workers:
                    yield from _finished(pending, bar)
            while pending:
                yield from _finished(pending, bar)
        except BaseException as error:  # nobody waits for what is still computed
            for child in multiprocessing.active_children():
                if isinstance(child, context.Process):  # a loader's workers end with the loader
                    child.kill()
            if not isinstance(error, BrokenProcessPool):
                raise
            raise UserError(
                name, "a worker process was killed, often for want of memory", "use fewer threads"
            ) from None
        finally:
            for future in pending:
                future.cancel()


def _finished(pending: dict[Future, int], bar: Bar) -> Iterator[Any]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        bar.update(pending.pop(future))
        yield future.result()


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Keeps spawned workers from importing the main module, and with it whatever the command itself needs."""
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name, None) for name in ("__spec__", "__file__")}
    main.__dict__.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def leave_signals(_: int = 0) -> None:
    """Start of a worker process: a signal to the whole group is the parent's to answer, as it has a state to save.

    The parent's own SIGTERM ends it, as does the parent's death, also where it waits for a lock that a killed worker
    held.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if LINUX:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()  # getppid would name another one where it has died already
    threading.Thread(target=_obey, args=(parent.pid,), daemon=True).start()


def _obey(parent: int) -> None:
    while os.getppid() == parent:
        if not LINUX:
            time.sleep(1)
        elif (arrived := signal.sigtimedwait({signal.SIGTERM}, 1)) is not None and arrived.si_pid == parent:
            break
    os._exit(1)


def _start_worker() -> None:
    leave_signals()
    os.environ["OMP_NUM_THREADS"] = "1"
