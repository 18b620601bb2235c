"""Bending energy, and second derivatives from exact first ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.shapes import check_hessian, check_points


def bending(hessian: Tensor) -> Tensor:
    """Return the bending energy (Rueckert et al., IEEE TMI 1999), `mean_x sum_ijk (d^2 phi_i / dx_j dx_k)^2`.

    `hessian` is `(..., N, D, D, D)`, `H[..., i, j, k] = d^2 phi_i / dx_j dx_k` in 1/mm. The result is a
    scalar in 1/mm^2: 0 for affine maps. Raises `UsageError` when the shape is not `(..., N, D, D, D)`.
    """
    check_hessian(hessian, "hessian")
    return hessian.square().sum((-3, -2, -1)).mean()


def hessian_by_differences(
    value_and_jacobian: Callable[[Tensor], tuple[Tensor, Tensor]], points: Tensor, step: float
) -> Tensor:
    """Return second derivatives of a map from central differences of its exact Jacobian, symmetrised.

    With `E[i, j, k] = (J_ij(x + step e_k) - J_ij(x - step e_k)) / (2 step)`, the result is
    `H[..., i, j, k] = (E[i, j, k] + E[i, k, j]) / 2`, `(..., N, D, D, D)` in 1/mm: exact for quadratic maps,
    with an error that falls with step^2 for others. The map is called once, at 2 D N points.

    `value_and_jacobian` takes points `(..., M, D)` to values `(..., M, D)` and Jacobians `(..., M, D, D)`.
    `points` are `(..., N, D)` in world millimetres; `step` is in millimetres (about 1 suits float32).

    Raises `UsageError` when points are not `(..., N, D)` or step is not positive.
    """
    check_points(points, "points")
    if not step > 0:
        raise UsageError(f"step: expected a positive distance in millimetres, got {step}")
    dimension = points.shape[-1]
    shifts = step * torch.eye(dimension, dtype=points.dtype, device=points.device)
    centres = points.unsqueeze(-2)
    stencil = torch.cat((centres + shifts, centres - shifts), dim=-2)  # (..., N, 2 D, D)
    _, jacobians = value_and_jacobian(stencil.flatten(-3, -2))
    ahead, behind = jacobians.unflatten(-3, (-1, 2, dimension)).unbind(-4)  # (..., N, k, i, j) each
    differences = ((ahead - behind) / (2 * step)).movedim(-3, -1)
    hessian: Tensor = (differences + differences.transpose(-1, -2)) / 2
    return hessian
