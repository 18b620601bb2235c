"""Lightning Fabric: devices, precision, and several processes, of which none waits for another that has failed."""

from __future__ import annotations

import atexit
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch

from nephi.errors import DataError, NephiError, UsageError
from nephi.runtime import choose_device
from nephi.training.settings import OptimizationSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

REQUIRED = ("lightning_fabric", "tensorboard")


def require_extra() -> None:
    """Raise `UsageError` with the command that installs Lightning Fabric and TensorBoard if one is missing."""
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {' and '.join(missing)}, which are not installed: pip install nephi[train]")


def make_fabric(settings: OptimizationSettings, device: str, devices: int) -> Fabric:
    """Return the Fabric that places tensors on devices, sets the precision and connects the processes.

    `device` is auto, cpu or cuda[:N]; `devices` processes are started on this machine, one for each GPU. Under torchrun
    the number of processes is that of torchrun, and `devices` has to be 1.

    Raises `UsageError` for a device that does not exist, or a precision that it does not support.
    """
    from lightning_fabric import Fabric

    chosen = choose_device(device)
    if settings.precision == "16-mixed" and chosen.type == "cpu":
        raise UsageError('optimization.precision: "16-mixed" needs a GPU; choose "32" or "bf16-mixed"')
    if "TORCHELASTIC_RUN_ID" in os.environ:
        if devices != 1:
            raise UsageError(f"devices: expected 1 under torchrun, which sets the number of processes, got {devices}")
        local_processes = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // local_processes
    else:
        local_processes, nodes = devices, 1
    if chosen.type == "cuda" and local_processes > torch.cuda.device_count():
        raise UsageError(f"devices: expected at most {torch.cuda.device_count()} (GPUs), got {local_processes}")
    if chosen.index is not None and local_processes * nodes > 1:
        raise UsageError(f"device: expected cuda for several processes, each with its own GPU, got {chosen}")
    precision: Any = "32-true" if settings.precision == "32" else settings.precision
    return Fabric(
        accelerator=chosen.type,
        devices=local_processes if chosen.index is None else [chosen.index],
        num_nodes=nodes,
        strategy="ddp" if local_processes * nodes > 1 else "auto",
        precision=precision,
    )


def is_first_process() -> bool:
    """Return whether this is the only process of a training or the first of several, also before they are connected."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def disconnect_at_exit() -> None:
    """Let this process end its connections to the others when Python exits, before its libraries are torn down.

    Otherwise a thread of gloo that is still running now and then aborts a process whose training is complete. Called
    after a training that succeeded: an operation that never completes would block the exit.
    """
    atexit.unregister(_disconnect)
    atexit.register(_disconnect)


def _disconnect() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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
