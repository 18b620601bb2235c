"""Networks composed one after the other, of which the first ones can be used or trained alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import PairNetwork


class ComposedSteps(PairNetwork):
    """The networks `steps` of a composition; the first `used` of them predict, the others count as the identity."""

    def __init__(self, grid: Grid, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.grid = grid
        self.steps = nn.ModuleList(steps)
        self.used = len(steps)
        self._trainable = [[p for p in step.parameters() if p.requires_grad] for step in steps]

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first `count` steps, all of them for 0, and train those after the first `frozen`.

        Raises `UsageError` for more steps than there are, and if none would be trained.
        """
        if not 0 <= count <= len(self.steps):
            raise UsageError(f"network_steps: expected 0 to {len(self.steps)}, the steps of the model, got {count}")
        used = count or len(self.steps)
        if not 0 <= frozen < used:
            raise UsageError(f"frozen_steps: expected 0 to {used - 1}, fewer than the steps in use, got {frozen}")
        self.used = used
        for parameter in (each for parameters in self._trainable for each in parameters):
            parameter.requires_grad_(False)
        for parameter in (each for parameters in self._trainable[frozen:used] for each in parameters):
            parameter.requires_grad_(True)
