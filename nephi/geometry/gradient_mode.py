"""Independence of the gradient and precision modes that the calling program has set in torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor


@contextmanager
def gradients_recorded() -> Iterator[None]:
    """Record gradients at full precision inside the block, as a fit requires.

    Overrides `torch.no_grad()`, `torch.inference_mode()` and `torch.autocast()` of the caller. Also a decorator.
    """
    with torch.inference_mode(False), torch.enable_grad(), full_precision():
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in the types of the tensors inside the block, even if the caller has enabled `torch.autocast()`.

    Autocast computes products of float32 matrices in bfloat16, which rounds positions of 200 mm to 1 mm.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def recordable(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy if it was created in `torch.inference_mode()`, which autograd cannot save."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()
