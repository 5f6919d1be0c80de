import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs.errors import UserError
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import chunks_of, in_chunks, shard_of

# Worker processes get functions of the standard library: they cannot import a test file.


@given(st.integers(0, 50), st.integers(1, 12))
def test_shards_are_a_partition_of_even_sizes(length: int, count: int) -> None:
    shards = [shard_of(range(length), f"{i}/{count}") for i in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == list(range(length))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1/0", "1", "1/2/3", "-1/2", "a/b", "1/2 ", ""])
def test_invalid_shards_are_refused(shard: str) -> None:
    with pytest.raises(UserError, match="write i/n"):
        shard_of([1, 2, 3], shard)


@given(st.integers(0, 20), st.integers(1, 9))
def test_chunks_are_the_items_in_order_and_only_the_last_is_shorter(length: int, size: int) -> None:
    chunks = in_chunks(range(length), size)
    assert [item for chunk in chunks for item in chunk] == list(range(length))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= size for chunk in chunks)
    assert list(chunks_of(iter(range(length)), size)) == [list(chunk) for chunk in chunks]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A main module without a guard: a worker that imports it starts all over."""
    path = tmp_path / "program.py"
    path.write_text(
        "import sys\n"
        "from ppl.jobs.parallel import run_all\n"
        "print('started', flush=True)\n"
        "for result in run_all(eval, sys.argv[1:], workers=2, total=len(sys.argv) - 1, name='test'):\n"
        "    print(result, flush=True)\n"
    )
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_is_computed_once(workers: int) -> None:
    results = run_all(math.factorial, iter(range(20)), workers=workers, total=20, name="test")
    assert sorted(results) == sorted(math.factorial(i) for i in range(20))


def test_without_workers_this_process_computes() -> None:
    assert set(run_all(lambda _: os.getpid(), range(3), workers=0, total=3, name="test")) == {os.getpid()}


def test_items_are_drawn_in_this_thread_as_workers_become_free() -> None:
    """A generator of items may run a network on a GPU, and may hold large arrays."""
    drawn = []
    items = (drawn.append(signal.signal(signal.SIGUSR1, signal.SIG_DFL)) or i for i in range(100))  # main thread only
    results = run_all(abs, items, workers=1, total=100, name="test")
    assert {next(results), next(results)} <= {*range(10)}
    assert len(drawn) < 10
    results.close()


@pytest.mark.parametrize(("function", "items", "error", "message"), [
    (math.sqrt, [1, -1], ValueError, "math domain|nonnegative"),
    (os._exit, [9] * 4, UserError, "test: a worker process was killed.*fewer threads"),
], ids=["exception", "killed"])  # fmt: skip
def test_an_error_of_a_worker_is_raised_and_a_killed_one_is_named(function, items: list, error: type, message) -> None:
    with pytest.raises(error, match=message):
        list(run_all(function, items, workers=1, total=len(items), name="test"))


def test_a_worker_whose_memory_grows_is_replaced_silently(program: Path) -> None:
    grow = "__import__('time').sleep(1.1) or setattr(__import__('os'), 'x', bytes(4 * 10**8)) or 1"
    done = subprocess.run([sys.executable, program, *[grow] * 6], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", *"111111"]
    assert "Warning" not in done.stderr


def test_workers_import_neither_the_main_module_nor_torch(program: Path) -> None:
    sweep = "__import__('importlib').import_module('ppl.measure.sweep').__name__"
    expressions = [f"({sweep}, 'torch' in __import__('sys').modules)", "__import__('os').environ['OMP_NUM_THREADS']"]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, program, *expressions]
    first, *results = subprocess.check_output(command, text=True, env=environment).splitlines()
    assert first == "started"
    assert sorted(results) == ["('ppl.measure.sweep', False)", "1"]


def assert_all_end(parent: subprocess.Popen, workers: list[int]) -> None:
    try:
        parent.communicate(timeout=30)  # its standard output closes with the last process that holds it
    except subprocess.TimeoutExpired:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        pytest.fail("workers outlived their parent")


def test_workers_end_with_their_parent(program: Path) -> None:
    sleep = "print(__import__('os').getpid(), flush=True) or __import__('time').sleep(600)"
    with subprocess.Popen([sys.executable, program, sleep, sleep], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "started\n"
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        assert_all_end(parent, workers)


def test_a_worker_whose_parent_dies_before_it_starts_ends() -> None:
    code = (
        "import multiprocessing, os, time\n"
        "from ppl.jobs.lifetime import ignore_group_signals\n"
        "def work():\n"
        "    time.sleep(1)\n"
        "    ignore_group_signals()\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    worker = multiprocessing.get_context('fork').Process(target=work)\n"
        "    worker.start()\n"
        "    print(worker.pid, flush=True)\n"
        "    os._exit(0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert_all_end(parent, [worker])


def test_threads_compute_every_item_in_this_process_and_an_error_of_one_is_raised() -> None:
    threads = set()

    def work(item: int) -> int:
        threads.add(threading.get_ident())
        return item * 2 if item < 30 else 1 // 0

    results = run_all(work, range(20), workers=3, threads=True, total=20, name="test")
    assert sorted(results) == list(range(0, 40, 2))
    assert threading.get_ident() not in threads
    with pytest.raises(ZeroDivisionError):
        list(run_all(work, range(25, 100), workers=3, threads=True, total=75, name="test"))
