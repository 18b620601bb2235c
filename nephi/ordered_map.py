"""A function of many items, computed by several threads, with results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

from nephi.kernels import kernel_threads, threads

MOST_THREADS = 8  # as many items are in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` of all items, in their order, as `map` does.

    If kernels may use several threads, as many compute an item each, at most `MOST_THREADS`, while the caller uses
    earlier results; torch and kernels use one thread within an item. The function must not depend on the order of its
    calls; results are then the same for any number of threads. Warnings are collected, gradients recorded as in the
    calling thread. Items are taken from the iterable in the calling thread, a few ahead of the results.
    """
    count = min(threads(), MOST_THREADS)
    if count < 2:
        yield from map(function, items)
        return
    gradients = torch.is_grad_enabled()

    def compute(item: Item) -> Result:
        torch.set_num_threads(1)  # a setting of each thread; see `fit_threads`
        with torch.set_grad_enabled(gradients), kernel_threads(1):
            return function(item)

    pool, pending = ThreadPoolExecutor(count, "nephi"), deque[Future[Result]]()
    try:
        for item in items:
            pending.append(pool.submit(copy_context().run, compute, item))
            if len(pending) == count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
