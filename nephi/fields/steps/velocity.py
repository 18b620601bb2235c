"""Stationary velocity fields as steps of a stored transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from nephi.fields.grid_table import grid_of, grid_table
from nephi.fields.steps.step import Step, pop_tensor
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, StationaryVelocity


@dataclass(frozen=True, eq=False)
class VelocityStep(Step):
    """The flow of a velocity field on a grid; the flow of the opposite velocity is its inverse."""

    kind: ClassVar[str] = "velocity"
    transform: ClassVar[type[StationaryVelocity]] = StationaryVelocity

    flow: StationaryVelocity

    @classmethod
    def of(cls, transform: StationaryVelocity, inverse: StationaryVelocity | None = None) -> Self:
        """Return the step of a flow."""
        return cls(transform)

    @property
    def forward(self) -> StationaryVelocity:
        """The deformation (world mm, RAS)."""
        return self.flow

    @property
    def grid(self) -> Grid:
        """The grid of the velocities."""
        return self.flow.grid

    @property
    def unrefined_inverse(self) -> StationaryVelocity:
        """The flow of the opposite velocity: the inverse up to the error of the integration."""
        return self.flow.inverse()

    def conjugated(self, to_world: AffineTransform) -> VelocityStep:
        """Return the flow in another world: as steps of Runge-Kutta commute with affine maps, exactly this one."""
        vectors = self.flow.velocity @ to_world.matrix[:-1, :-1].T.to(self.flow.velocity)
        return VelocityStep(StationaryVelocity(vectors, self.grid.transformed(to_world.matrix)))

    def table(self) -> dict[str, Any]:
        """Return the grid."""
        return {"grid": grid_table(self.grid)}

    def tensors(self) -> dict[str, Tensor]:
        """Return the velocity `(*shape, D)`, mm, RAS."""
        return {"velocity": self.flow.velocity.float().cpu().contiguous()}

    @classmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step of a file."""
        grid = grid_of(table["grid"])
        return cls(StationaryVelocity(pop_tensor(tensors, "velocity", (*grid.shape, grid.dimension)), grid))
