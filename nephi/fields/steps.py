"""The deformations that a stored transform is made of, each with the grid it lives on."""

from __future__ import annotations

from dataclasses import dataclass

from nephi.fields.inverse import PolishedInverse
from nephi.fields.neural_field import FieldPair
from nephi.fields.settings import FieldSettings
from nephi.geometry import Grid
from nephi.transforms import ContinuedDisplacement, NumericalInverse, Transform, invert


@dataclass(frozen=True, eq=False)
class FieldStep:
    """A pair of neural fields over the box of `grid`, built with `settings`."""

    pair: FieldPair
    settings: FieldSettings
    grid: Grid

    @property
    def forward(self) -> Transform:
        """The deformation, away from the fixed image (world mm, RAS)."""
        return self.pair.forward_field

    @property
    def trained_inverse(self) -> Transform | None:
        """Its inverse as it was fitted or predicted, None where there is none."""
        return self.pair.inverse_field

    @property
    def parameters(self) -> int:
        """How many numbers it is made of."""
        return sum(parameter.numel() for parameter in self.pair.parameters())

    def inverse(self, tolerance: float) -> NumericalInverse:
        """Return its inverse, to `tolerance` mm in what is asked for."""
        return PolishedInverse(self.pair.forward_field, self.pair.inverse_field, tolerance)


@dataclass(frozen=True, eq=False)
class DisplacementStep:
    """A displacement for every voxel of a grid."""

    field: ContinuedDisplacement

    @property
    def grid(self) -> Grid:
        """The grid it lies on."""
        return self.field.grid

    @property
    def forward(self) -> Transform:
        """The deformation, away from the fixed image (world mm, RAS)."""
        return self.field

    @property
    def trained_inverse(self) -> None:
        """No inverse is predicted."""
        return None

    @property
    def parameters(self) -> int:
        """How many numbers it is made of."""
        return self.field.displacement.numel()

    def inverse(self, tolerance: float) -> NumericalInverse:
        """Return its inverse, to `tolerance` mm in what is asked for."""
        found = invert(self.field)
        assert isinstance(found, NumericalInverse)
        return NumericalInverse(self.field, found.guess, tolerance)


Step = FieldStep | DisplacementStep
