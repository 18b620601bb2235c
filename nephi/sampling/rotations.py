"""Random rotations."""

from __future__ import annotations

import torch
from torch import Tensor


def random_rotation(dimension: int, degrees: float, generator: torch.Generator) -> Tensor:
    """Draw a rotation matrix `(D, D)`, float64, by an angle that is uniform between -`degrees` and `degrees`.

    In 3-D the axis is uniform on the sphere: with 180 degrees a quarter of the rotations are below 45 degrees, of
    uniformly distributed ones 2.5 %.
    """
    above = torch.triu_indices(dimension, dimension, 1)
    axis = torch.randn(len(above[0]), generator=generator, dtype=torch.float64)
    axis = axis / axis.norm()  # in 2-D: 1 or -1
    fraction = 2 * torch.rand(1, generator=generator, dtype=torch.float64) - 1
    skew = torch.zeros(dimension, dimension, dtype=torch.float64)
    skew[above[0], above[1]] = torch.deg2rad(degrees * fraction) * axis
    rotation: Tensor = torch.linalg.matrix_exp(skew - skew.T)
    return rotation
