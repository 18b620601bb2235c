"""Computation of the next item while the caller processes the current one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

from nephi.kernels import threads

Item = TypeVar("Item")


def computed_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield `items`; if kernels may use several threads, another thread computes each while the caller has the last.

    No gradients are recorded there. One item more is in memory. Results are those of the plain loop: items are computed
    in their order, and warnings are collected as usual.
    """
    if threads() < 2:
        yield from items
        return
    iterator, context, end = iter(items), copy_context(), object()

    def compute() -> Item | object:
        torch.set_num_threads(1)  # a setting of each thread; see `fit_threads`
        with torch.no_grad():
            return next(iterator, end)

    with ThreadPoolExecutor(1, "nephi") as pool:
        future = pool.submit(context.run, compute)
        while (item := future.result()) is not end:
            future = pool.submit(context.run, compute)
            yield item  # type: ignore[misc]
