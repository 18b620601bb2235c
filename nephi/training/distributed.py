"""Errors of one process, told to all: none is left waiting for another that has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nephi.errors import DataError, NephiError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def raise_together(fabric: Fabric, problem: NephiError | None) -> None:
    """Raise `problem` where there is one, and `DataError` in the other processes, if any process has one."""
    if problem is None and fabric.world_size == 1:
        return
    flag = torch.tensor(float(problem is not None), dtype=torch.float32, device=fabric.device)
    found = fabric.all_reduce(flag, reduce_op="mean")
    if problem is not None:
        raise problem
    if isinstance(found, torch.Tensor) and bool(found > 0):
        raise DataError("stopped, since another process found something wrong")
