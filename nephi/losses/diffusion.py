"""Diffusion energy: how far a map is from a translation, to first order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nephi.losses.shapes import check_jacobian


def diffusion(jacobian: Tensor) -> Tensor:
    """Return the diffusion energy `mean_x ||J(x) - I||_F^2`, the squared gradient of the displacement.

    `jacobian` is `(..., N, D, D)`, `J[..., i, j] = d phi_i / d x_j`, dimensionless. The sum runs over the
    matrix entries ij, the mean over points (and batches).

    The result is a dimensionless scalar: 0 for the identity and for translations. Raises `UsageError` when
    the shape is not `(..., N, D, D)`.
    """
    check_jacobian(jacobian, "jacobian")
    dimension = jacobian.shape[-1]
    identity = torch.eye(dimension, dtype=jacobian.dtype, device=jacobian.device)
    # mse_loss subtracts, squares and averages in one operation; D^2 turns its mean over ij into the sum.
    return functional.mse_loss(jacobian, identity.expand_as(jacobian)) * dimension**2
