"""Image-by-image work in worker processes."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from loky import ProcessPoolExecutor

from ppl.jobs.errors import UserError
from ppl.jobs.lifetime import ignore_group_signals
from ppl.jobs.progress import Bar, progress

QUEUED = 3  # items submitted ahead of results, per process
QUEUED_CHUNKS = 1.5  # the same of threads, whose items are chunks of photos
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    threads: bool = False,
    total: int,
    name: str,
    size: Callable[[Item], int] = lambda item: 1,
    unit: str = "image",
) -> Iterator[Result]:
    """Yield `function(item)` for all items, in the order in which they finish, computed by `workers` processes.

    Items are taken in this thread as workers become free, so memory does not grow with their number and a generator
    may run a network on a GPU. Workers are new processes, not forks of one that holds threads or a GPU; they import the
    module of `function` but not the main module (so keep torch out of the former), use one CPU thread each, and end
    with this process. With `workers=0` this thread computes everything. With `threads` workers are threads of this
    process, which may share its GPU.

    `name` describes the work in the progress display, counted in `unit`: `total`, and `size(item)` per item. UserError
    if a worker process is killed.
    """
    bar = progress(name=name, unit=unit, total=total)
    if not workers:
        with bar:
            for item in items:
                yield function(item)
                bar.update(size(item))
        return
    # loky restarts a worker whose memory has grown by 300 MB, and warns of a leak; large photos need that much.
    warnings.filterwarnings("ignore", "A worker (was restarted|stopped) while some jobs were given to the executor")
    # Not joblib.Parallel, which is built on loky: it takes items in another thread, ahead of the reader of results.
    pool = (
        ThreadPoolExecutor(workers)
        if threads
        else ProcessPoolExecutor(workers, initializer=ignore_group_signals, env={"OMP_NUM_THREADS": "1"})
    )
    pending: dict[Future, int] = {}
    complete = False
    try:
        with bar:
            for item in items:
                pending[pool.submit(function, item)] = size(item)
                if len(pending) >= (QUEUED_CHUNKS if threads else QUEUED) * workers:
                    yield from _finished(pending, bar)
            while pending:
                yield from _finished(pending, bar)
        complete = True
    except BrokenProcessPool as error:
        what = "a worker process was killed, often for lack of memory"
        raise UserError(name, what, "use fewer threads") from error
    finally:
        if threads:
            pool.shutdown(cancel_futures=True)
        else:
            pool.shutdown(kill_workers=not complete)


def _finished(pending: dict[Future, int], bar: Bar) -> Iterator[Any]:
    """Wait for at least one result; yield and remove those that are complete."""
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        bar.update(pending.pop(future))
        yield future.result()
