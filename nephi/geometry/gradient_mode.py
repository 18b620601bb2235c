"""Independence of the modes that the calling program has set torch to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor


@contextmanager
def gradients_recorded() -> Iterator[None]:
    """Record operations for gradients, at full precision, inside the block, as a fit needs it.

    Whatever the caller has set: `torch.no_grad()`, `torch.inference_mode()`, `torch.autocast()`. Serves as a decorator,
    too.
    """
    with torch.inference_mode(False), torch.enable_grad(), full_precision():
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in the types of the tensors inside the block, also where the caller has `torch.autocast()` on.

    Products of float32 matrices are bfloat16 there: positions of 200 mm, in voxels or mm, are known to 1 mm then.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def recordable(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy of one that was made under `torch.inference_mode()`: autograd cannot save those."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()
