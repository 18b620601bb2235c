"""Displacement fields as steps of a stored transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from nephi.fields.grid_table import grid_of, grid_table
from nephi.fields.steps.step import Step
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, ContinuedDisplacement, NumericalInverse, Transform, invert


@dataclass(frozen=True, eq=False)
class DisplacementStep(Step):
    """A displacement field on a grid, continued beyond its border."""

    kind: ClassVar[str] = "displacement"
    transform: ClassVar[type[ContinuedDisplacement]] = ContinuedDisplacement
    version: ClassVar[int] = 2

    field: ContinuedDisplacement

    @classmethod
    def of(cls, transform: ContinuedDisplacement, inverse: ContinuedDisplacement | None = None) -> Self:
        """Return the step of a displacement field."""
        return cls(transform)

    @property
    def forward(self) -> ContinuedDisplacement:
        """The deformation (world mm, RAS)."""
        return self.field

    @property
    def grid(self) -> Grid:
        """The grid of the displacements."""
        return self.field.grid

    @property
    def parameters(self) -> int:
        """Number of displacement components."""
        return self.field.displacement.numel()

    def inverse(self, tolerance: float) -> Transform:
        """Return the inverse, solved until the residual is below `tolerance` mm."""
        inverse = invert(self.field)
        assert isinstance(inverse, NumericalInverse)
        return NumericalInverse(self.field, inverse.guess, tolerance)

    def conjugated(self, to_world: AffineTransform) -> DisplacementStep:
        """Return the displacement field in another world: its vectors and its grid are transformed."""
        displacement = self.field.displacement
        vectors = displacement @ to_world.matrix[:-1, :-1].T.to(displacement)
        return DisplacementStep(ContinuedDisplacement(vectors, self.grid.transformed(to_world.matrix)))

    def table(self) -> dict[str, Any]:
        """Return the grid; `field` distinguishes displacements in files of version 2, which name no kind."""
        return {"grid": grid_table(self.grid), "field": None}

    def tensors(self) -> dict[str, Tensor]:
        """Return the displacement `(*shape, D)`, mm, RAS."""
        return {"displacement": self.field.displacement.float().cpu().contiguous()}

    @classmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step of a file."""
        return cls(ContinuedDisplacement(tensors.pop("displacement"), grid_of(table["grid"])))

    def is_finite(self) -> bool:
        """Return true: `ContinuedDisplacement` validates its values."""
        return True
