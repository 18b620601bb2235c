"""Adam on one flat vector of all parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from nephi.kernels import adam_step, can_step

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Adam (Kingma and Ba 2015) with torch's default constants, for all parameters as one vector.

    Replaces `torch.optim.Adam`, whose construction imports torch's compiler: about a second and 70 MB, too much for a
    fit of three seconds. Parameters and their gradients become views of two flat vectors, so that a step needs the same
    few operations for any number of parameters. A test compares the steps with torch's.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float) -> None:
        self.rate = rate
        self._parameters = [p for p in parameters if p.requires_grad]
        self._flat = torch.cat([p.detach().reshape(-1) for p in self._parameters])
        self._gradient = torch.zeros_like(self._flat)
        self._mean = torch.zeros_like(self._flat)
        self._square = torch.zeros_like(self._flat)
        self._steps = 0
        start = 0
        for p in self._parameters:
            stop = start + p.numel()
            p.data = self._flat[start:stop].view_as(p)
            p.grad = self._gradient[start:stop].view_as(p)
            start = stop

    def minimise(self, loss: Tensor) -> None:
        """Compute the gradient of `loss` and take one step."""
        loss.backward()  # added to the flat vector
        self.step()

    def step(self) -> None:
        """Take one step by the gradients of the parameters, and set them to 0."""
        self._steps += 1
        first, second = BETAS
        corrections = 1 - first**self._steps, 1 - second**self._steps  # of the bias of both means
        if can_step(self._flat):
            state = self._flat, self._gradient, self._mean, self._square
            adam_step(*state, BETAS, corrections, self.rate, EPSILON)
            return
        self._mean.lerp_(self._gradient, 1 - first)
        self._square.mul_(second).addcmul_(self._gradient, self._gradient, value=1 - second)
        deviation = (self._square / corrections[1]).sqrt_().add_(EPSILON)
        self._flat.addcdiv_(self._mean, deviation, value=-self.rate / corrections[0])
        self._gradient.zero_()
