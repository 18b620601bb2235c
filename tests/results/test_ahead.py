"""Test that items computed by another thread are those of the plain loop."""

import threading
import warnings
from collections.abc import Iterator

import pytest
import torch

from nephi.errors import DataWarning, collected_warnings, warn
from nephi.kernels import kernel_threads, threads
from nephi.results.ahead import computed_ahead


def numbers(count: int, used: set[str]) -> Iterator[int]:
    for number in range(count):
        used.add(threading.current_thread().name)
        assert not torch.is_grad_enabled() or threads() == 1
        yield number


@pytest.mark.parametrize("count", [1, 3])
def test_items_in_their_order(count: int) -> None:
    used: set[str] = set()
    with kernel_threads(count):
        assert list(computed_ahead(numbers(5, used))) == [0, 1, 2, 3, 4]
        assert list(computed_ahead(numbers(0, used))) == []
    assert (threading.current_thread().name in used) == (count == 1)


def test_errors_and_warnings_reach_the_caller() -> None:
    def failing() -> Iterator[int]:
        assert threads() == 2
        yield 1
        warn("half of the work")
        raise ZeroDivisionError

    with kernel_threads(2), collected_warnings() as texts, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        items = computed_ahead(failing())
        assert next(items) == 1
        with pytest.raises(ZeroDivisionError):
            next(items)
    assert texts == ["half of the work"]


def test_a_caller_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with kernel_threads(2):
        items = computed_ahead(numbers(5, set()))
        assert next(items) == 0
        items.close()
    assert threading.active_count() == before
