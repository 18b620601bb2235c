"""Errors of one process, raised in all: none waits for another that has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nephi.errors import DataError, NephiError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def raise_in_all(fabric: Fabric, error: NephiError | None) -> None:
    """Raise `error` if there is one, and `DataError` in the other processes if any process has one."""
    if error is None and fabric.world_size == 1:
        return
    failed = any_process(fabric, error is not None)
    if error is not None:
        raise error
    if failed:
        raise DataError("stopped, as another rank failed; see its error")


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Return whether `flag` is true in any process."""
    value = torch.tensor(float(flag), dtype=torch.float32, device=fabric.device)
    mean = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(mean, torch.Tensor)
    return bool(mean > 0)
