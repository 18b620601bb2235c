"""Bodies without any symmetry, in two contrasts: to register rotations of any angle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Parts of a body, in units of its size: centre and half-axes of ellipsoids, later ones on top of earlier ones.
CENTRES = ((0.0, 0.0, 0.0), (0.5, 0.18, 0.1), (0.2, -0.12, 0.12), (-0.25, 0.12, -0.15))
HALF_AXES = ((0.58, 0.4, 0.46), (0.26, 0.22, 0.22), (0.17, 0.15, 0.16), (0.11, 0.14, 0.12))
LEVELS = ((0.4, 0.4, 1.0, 0.1), (0.7, 0.7, 0.2, 1.0))  # intensity of each part, for each contrast
CENTRE_JITTER, AXIS_JITTER = 0.04, 0.15  # of the size; of the half-axis
EDGE = 0.03  # of the size: distance from a border at which an intensity has changed by 3/4


@dataclass(frozen=True, eq=False)
class Bodies:
    """N different bodies of the same anatomy: a trunk, a bump on one side, and two inner marks of different sizes.

    `centres` and `half_axes` `(N, parts, D)` of ellipsoids, `size` about half the length of a body; mm, in the frame of
    a body, whose origin is the centre of its trunk. No rotation but the identity maps a body to itself.
    """

    centres: Tensor
    half_axes: Tensor
    size: float

    @classmethod
    def random(cls, count: int, dimension: int, size: float, generator: torch.Generator) -> Bodies:
        """Draw bodies whose parts vary in position and size."""
        centres, half_axes = (
            size * torch.tensor(table, dtype=torch.float32)[:, :dimension] for table in (CENTRES, HALF_AXES)
        )
        shape = (count, *centres.shape)
        shifts, factors = (2 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1 for _ in range(2))
        return cls(centres + size * CENTRE_JITTER * shifts, half_axes * (1 + AXIS_JITTER * factors), size)

    def intensities(self, points: Tensor, contrasts: Tensor) -> Tensor:
        """Return the intensities `(N, M)`, 0 to 1, at points `(N, M, D)`; `contrasts` `(N,)` are 0 or 1."""
        levels = torch.tensor(LEVELS, dtype=torch.float32)[contrasts]
        result = torch.zeros_like(points[..., 0])
        for part, level in enumerate(levels.unbind(dim=-1)):
            covered = torch.sigmoid(self._depths(points, part) / (EDGE * self.size))
            result = result + covered * (level[:, None] - result)
        return result

    def labels(self, points: Tensor) -> Tensor:
        """Return the labels `(N, M)`, int64, at points `(N, M, D)`: 0 outside, 1 the trunk and bump, 2 and 3 marks."""
        result = torch.zeros(points.shape[:-1], dtype=torch.int64)
        for part, label in enumerate((1, 1, 2, 3)):
            result[self._depths(points, part) > 0] = label
        return result

    def _depths(self, points: Tensor, part: int) -> Tensor:
        """Return the approximate depth of points in a part, mm: 0 on its border, below 0 outside."""
        half_axes = self.half_axes[:, None, part]
        radii = ((points - self.centres[:, None, part]) / half_axes).norm(dim=-1)
        return (1 - radii) * half_axes.amin(dim=-1)
