"""Random rigid motions of the header of an image, without resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

MAX_ANGLE = 40.0  # degrees
MAX_SHIFT = 60.0  # mm


@dataclass(frozen=True)
class Motion:
    """A rigid motion in world RAS: a rotation by `angle` degrees about the unit vector `axis`, and a shift in mm."""

    axis: tuple[float, ...]
    angle: float
    shift: tuple[float, ...]

    @classmethod
    def random(cls, seed: int) -> Motion:
        """Sample an axis uniformly on the sphere, an angle, and a shift of uniform direction and length."""
        generator = np.random.default_rng(seed)
        axis, direction = (vector / np.linalg.norm(vector) for vector in generator.standard_normal((2, 3)))
        angle, length = generator.uniform(0, [MAX_ANGLE, MAX_SHIFT])
        return cls(tuple(axis.tolist()), float(angle), tuple((length * direction).tolist()))

    def about(self, centre: torch.Tensor) -> torch.Tensor:
        """Return the homogeneous world matrix `(4, 4)`, float64, of the motion about a point `(3,)` in mm."""
        x, y, z = (math.radians(self.angle) * part for part in self.axis)
        cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3] = torch.linalg.matrix_exp(cross)
        matrix[:3, 3] = centre + torch.tensor(self.shift, dtype=torch.float64) - matrix[:3, :3] @ centre
        return matrix

    def __str__(self) -> str:
        """Angle and length of the shift."""
        return f"{self.angle:.1f} degrees, {math.hypot(*self.shift):.1f} mm"


STILL = Motion((0.0, 0.0, 1.0), 0.0, (0.0, 0.0, 0.0))
