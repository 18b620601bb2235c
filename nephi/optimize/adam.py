"""Adam on one flat vector."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from nephi.kernels import adam_step, can_step

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Adam (Kingma and Ba 2015) with torch's default constants, over all parameters as one vector.

    Not `torch.optim.Adam`: making one imports torch's compiler, about a second and 70 MB that a fit of three seconds
    notices. Parameters and their gradients become views of two flat vectors, so that a step is a handful of operations
    however many parameters there are. A test holds the steps against torch's.
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
        """Take one step down the gradient of `loss`."""
        loss.backward()  # accumulates into the flat vector
        self.step()

    def step(self) -> None:
        """Take one step down the gradients that the parameters have, and set these to 0."""
        self._steps += 1
        first, second = BETAS
        shares = 1 - first**self._steps, 1 - second**self._steps
        if can_step(self._flat):
            state = self._flat, self._gradient, self._mean, self._square
            adam_step(*state, BETAS, shares, self.rate, EPSILON)
            return
        self._mean.lerp_(self._gradient, 1 - first)
        self._square.mul_(second).addcmul_(self._gradient, self._gradient, value=1 - second)
        spread = (self._square / shares[1]).sqrt_().add_(EPSILON)
        self._flat.addcdiv_(self._mean, spread, value=-self.rate / shares[0])
        self._gradient.zero_()
