"""The packages of the extra `train`, loaded when a training begins."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch

from nephi.errors import UsageError
from nephi.runtime import choose_device
from nephi.training.settings import OptimizationSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NEEDED = ("lightning_fabric", "tensorboard")


def require_extra() -> None:
    """Raise `UsageError` saying what to install when Lightning Fabric or TensorBoard is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {' and '.join(missing)}, which are not installed: pip install nephi[train]")


def make_fabric(loop: OptimizationSettings, device: str, devices: int) -> Fabric:
    """Return what carries device, precision and processes.

    `device` is auto, cpu or cuda[:N]; `devices` processes are started on this machine, one for each GPU. Under torchrun
    there are as many processes as it has started, and `devices` has to be 1.

    Raises `UsageError` for a device that is not there, or a precision it does not have.
    """
    from lightning_fabric import Fabric

    chosen = choose_device(device)
    if loop.precision == "16-mixed" and chosen.type == "cpu":
        raise UsageError('optimization.precision: "16-mixed" needs a GPU; choose "32" or "bf16-mixed"')
    if "TORCHELASTIC_RUN_ID" in os.environ:
        if devices != 1:
            raise UsageError(f"devices: torchrun says how many processes there are; expected 1, got {devices}")
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // here
    else:
        here, nodes = devices, 1
    if chosen.type == "cuda" and here > torch.cuda.device_count():
        raise UsageError(f"devices: found {torch.cuda.device_count()} GPUs, expected {here}")
    if chosen.index is not None and here * nodes > 1:
        raise UsageError(f"device: expected cuda for several processes, each with a GPU of its own, got {chosen}")
    precision: Any = "32-true" if loop.precision == "32" else loop.precision
    return Fabric(
        accelerator=chosen.type,
        devices=here if chosen.index is None else [chosen.index],
        num_nodes=nodes,
        strategy="ddp" if here * nodes > 1 else "auto",
        precision=precision,
    )
