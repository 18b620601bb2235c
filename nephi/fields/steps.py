"""The deformations of which a stored transform is composed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nephi.fields.inverse import PolishedInverse
from nephi.fields.neural_field import FieldPair
from nephi.fields.settings import FieldSettings
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, ContinuedDisplacement, NumericalInverse, Transform, invert


@dataclass(frozen=True, eq=False)
class FieldStep:
    """A pair of neural fields over the box of a grid."""

    kind: ClassVar[str] = "fields"

    pair: FieldPair

    @property
    def settings(self) -> FieldSettings:
        """The architecture of the fields."""
        return self.pair.settings

    @property
    def grid(self) -> Grid:
        """The grid over which the fields are built."""
        return self.pair.grid

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.pair.forward_field.dimension

    @property
    def forward(self) -> Transform:
        """The deformation (world mm, RAS)."""
        return self.pair.forward_field

    @property
    def unrefined_inverse(self) -> Transform | None:
        """The inverse as it was fitted or predicted; None without one."""
        return self.pair.inverse_field

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.pair.parameters())

    def inverse(self, tolerance: float) -> Transform:
        """Return the inverse, solved until the residual is below `tolerance` mm."""
        return PolishedInverse(self.pair.forward_field, self.pair.inverse_field, tolerance)


@dataclass(frozen=True, eq=False)
class DisplacementStep:
    """A displacement field on a grid, continued beyond its border."""

    kind: ClassVar[str] = "displacement"

    field: ContinuedDisplacement

    @property
    def grid(self) -> Grid:
        """The grid of the displacements."""
        return self.field.grid

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.field.dimension

    @property
    def forward(self) -> Transform:
        """The deformation (world mm, RAS)."""
        return self.field

    @property
    def unrefined_inverse(self) -> None:
        """None: a predicted inverse displacement is one of `StoredTransform.inverse_steps`."""
        return None

    @property
    def parameters(self) -> int:
        """Number of displacement components."""
        return self.field.displacement.numel()

    def inverse(self, tolerance: float) -> Transform:
        """Return the inverse, solved until the residual is below `tolerance` mm."""
        inverse = invert(self.field)
        assert isinstance(inverse, NumericalInverse)
        return NumericalInverse(self.field, inverse.guess, tolerance)


@dataclass(frozen=True, eq=False)
class AffineStep:
    """An affine map before or between other steps."""

    kind: ClassVar[str] = "affine"

    affine: AffineTransform

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.affine.dimension

    @property
    def forward(self) -> Transform:
        """The affine map (world mm, RAS)."""
        return self.affine

    @property
    def unrefined_inverse(self) -> Transform:
        """The exact inverse."""
        return self.affine.inverse()

    @property
    def parameters(self) -> int:
        """Number of matrix entries and translations."""
        return self.dimension * (self.dimension + 1)

    def inverse(self, tolerance: float) -> Transform:
        """Return the exact inverse."""
        return self.affine.inverse()


Step = FieldStep | DisplacementStep | AffineStep
