"""Affine maps as steps of a stored transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nephi.fields.steps.step import Step
from nephi.transforms import AffineTransform, composed_affine


@dataclass(frozen=True, eq=False)
class AffineStep(Step):
    """An affine map before or between other steps."""

    kind: ClassVar[str] = "affine"
    transform: ClassVar[type[AffineTransform]] = AffineTransform
    version: ClassVar[int] = 2

    affine: AffineTransform

    @classmethod
    def of(cls, transform: AffineTransform, inverse: AffineTransform | None = None) -> Self:
        """Return the step of an affine map; its inverse is exact."""
        return cls(transform)

    @property
    def forward(self) -> AffineTransform:
        """The affine map (world mm, RAS)."""
        return self.affine

    @property
    def unrefined_inverse(self) -> AffineTransform:
        """The exact inverse."""
        return self.affine.inverse()

    @property
    def parameters(self) -> int:
        """Number of matrix entries and translations."""
        return self.dimension * (self.dimension + 1)

    def inverse(self, tolerance: float) -> AffineTransform:
        """Return the exact inverse."""
        return self.affine.inverse()

    def conjugated(self, to_world: AffineTransform) -> AffineStep:
        """Return the affine map in another world."""
        return AffineStep(composed_affine(to_world.inverse(), self.affine, to_world))

    def after(self, other: AffineStep) -> AffineStep:
        """Return the map that applies `other` first."""
        return AffineStep(composed_affine(other.affine, self.affine))

    def is_identity(self) -> bool:
        """Return whether the map is the identity to 1e-9, in its factors and in mm."""
        identity = torch.eye(self.dimension + 1, dtype=torch.float64)
        return bool((self.affine.matrix - identity).abs().max() <= 1e-9)

    def table(self) -> dict[str, Any]:
        """Return an empty table."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return the matrix `(D + 1, D + 1)`, float64."""
        # Copied, as safetensors refuses tensors that share memory.
        return {"matrix": self.affine.matrix.clone(memory_format=torch.contiguous_format)}

    @classmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step of a file."""
        return cls(AffineTransform(tensors.pop("matrix")))
