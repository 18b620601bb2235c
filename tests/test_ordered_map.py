"""Test that items computed by other threads are those of the plain loop."""

import threading
import warnings
from collections.abc import Iterator

import pytest
import torch

from nephi.errors import DataWarning, collected_warnings, warn
from nephi.kernels import kernel_threads, threads
from nephi.ordered_map import map_ordered


@pytest.mark.parametrize("count", [1, 3])
def test_results_in_the_order_of_the_items(count: int) -> None:
    used, barrier = set(), threading.Barrier(count, timeout=20)

    def square(number: int) -> int:
        used.add(threading.current_thread().name)
        assert threads() == 1 and not torch.is_grad_enabled()
        if number < count:
            barrier.wait()  # as many items at the same time as threads
        return number**2

    with kernel_threads(count), torch.no_grad():
        assert list(map_ordered(square, range(10))) == [number**2 for number in range(10)]
        assert list(map_ordered(square, [])) == []
    assert len(used) == count
    assert (threading.current_thread().name in used) == (count == 1)


def test_few_items_are_in_memory() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    with kernel_threads(2):
        for result in map_ordered(abs, items()):
            assert len(taken) <= result + 2


def test_errors_and_warnings_reach_the_caller() -> None:
    def fail(number: int) -> int:
        if number:
            warn("half of the work")
            raise ZeroDivisionError
        return number

    with kernel_threads(2), collected_warnings() as texts, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        results = map_ordered(fail, [0, 1])
        assert next(results) == 0
        with pytest.raises(ZeroDivisionError):
            next(results)
    assert texts == ["half of the work"]


def test_a_caller_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with kernel_threads(2):
        results = map_ordered(abs, range(5))
        assert next(results) == 0
        results.close()
    assert threading.active_count() == before
