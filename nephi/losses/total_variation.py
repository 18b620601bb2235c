"""Total variation of a displacement field, which lets organs slide along each other."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.losses.shapes import check_jacobian

VARIATION_EPSILON = 0.05
"""Below about this gradient of the displacement, total variation grows quadratically, so that it has a derivative."""


def total_variation(jacobian: Tensor) -> Tensor:
    """Return the smoothed isotropic total variation `mean_x sqrt(||J(x) - I||_F^2 + e^2) - e` of the displacement.

    `jacobian` is `(..., N, D, D)`, `J[..., i, j] = d phi_i / d x_j`, dimensionless; e is `VARIATION_EPSILON`. A jump of
    the displacement costs as much as a gradual change by the same amount, where the diffusion energy, which is
    quadratic, forbids jumps. Total variation: Rudin, Osher, Fatemi 1992; of displacements: Vishnevskiy et al.,
    "Isotropic total variation regularization of displacements in parametric image registration", 2017.

    The result is a dimensionless scalar: 0 for the identity and for translations. Raises `UsageError` when
    the shape is not `(..., N, D, D)`.
    """
    check_jacobian(jacobian, "jacobian")
    identity = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
    squared = (jacobian - identity).square().sum(dim=(-1, -2))
    # The root of 1 + q minus 1, without the cancellation of two nearly equal roots.
    ratio = squared / VARIATION_EPSILON**2
    return VARIATION_EPSILON * (ratio / (1 + (1 + ratio).sqrt())).mean()
