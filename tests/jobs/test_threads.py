import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ppl.jobs.threads import MAX_THREADS, side_by_side, thread_pool, threads_for


@pytest.fixture(autouse=True)
def four_cores(set_cores: Callable[[int], None]) -> None:
    set_cores(4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    hurry = threading.Event()

    def square(number: int) -> int:
        if threads > 1 and number == 0:
            assert hurry.wait(20)  # the first item is computed beside the second
        if number == 1:
            hurry.set()
        return number**2

    assert list(side_by_side(square, iter(range(7)), threads)) == [(i, i**2) for i in range(7)]
    assert list(side_by_side(square, [], threads)) == []


def test_items_are_not_taken_long_before_they_are_computed() -> None:
    taken = []
    stream = side_by_side(lambda i: i, (taken.append(i) or i for i in range(100)), 2)
    next(stream)
    assert len(taken) <= 4
    stream.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_in_its_turn(threads: int) -> None:
    results = side_by_side(lambda i: 12 // i, [3, 2, 0, 1], threads)
    assert next(results) == (3, 4)
    assert next(results) == (2, 6)
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("enabled", [True, False])
def test_threads_compute_as_the_caller_does(enabled: bool) -> None:
    def state() -> tuple[int, bool, torch.dtype, bool]:
        denormal = (torch.tensor([1e-38]) * 1e-3).item()
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return torch.get_num_threads(), torch.is_autocast_enabled("cpu"), product.dtype, denormal == 0

    torch.set_flush_denormal(enabled)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), thread_pool(2) as pool:
            dtype = torch.bfloat16 if enabled else torch.float32
            assert pool.submit(state).result() == (2, enabled, dtype, enabled)
            assert state() == (4, enabled, dtype, enabled)
    finally:
        torch.set_flush_denormal(False)


def test_a_batch_has_at_most_a_part_for_each_core_and_each_image() -> None:
    network = nn.Conv2d(3, 1, 1)
    assert [threads_for(network, size) for size in (1, 3, 16)] == [1, 3, 4]
    torch.set_num_threads(16)
    assert threads_for(network, 16) == MAX_THREADS
    assert threads_for(network.to("meta"), 16) == 1
