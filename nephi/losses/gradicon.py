"""Gradient inverse consistency as a product of two small matrices."""

from __future__ import annotations

from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.diffusion import diffusion
from nephi.losses.shapes import check_jacobian


def gradicon(jacobian_outer: Tensor, jacobian_inner: Tensor) -> Tensor:
    """Return the gradient inverse consistency loss, `mean_x || J_outer(phi(x)) J_inner(x) - I ||_F^2`.

    By the chain rule the product is the Jacobian of phi_inv(phi(x)), so this is GradICON's penalty (Tian et
    al., CVPR 2023) on `d(phi_inv(phi(x)) - x) / dx` without finite differences: the diffusion energy of the
    composed map. The sum runs over the matrix entries ij; GradICON's published code averages over the
    components i, that is, divides by D, and NePhi's paper (Tian et al., ECCV 2024) over all entries.

    `jacobian_outer` is the Jacobian of phi_inv at phi(x), `jacobian_inner` that of phi at x; both `(..., N,
    D, D)`, dimensionless.

    The result is a dimensionless scalar: 0 if phi_inv inverts phi near the points, up to a translation.
    Raises `UsageError` when shapes differ or are not `(..., N, D, D)`.
    """
    check_jacobian(jacobian_inner, "jacobian_inner")
    if jacobian_outer.shape != jacobian_inner.shape:
        raise UsageError(
            f"jacobian_outer: expected the shape of jacobian_inner, {tuple(jacobian_inner.shape)}, "
            f"got {tuple(jacobian_outer.shape)}"
        )
    return diffusion(jacobian_outer @ jacobian_inner)
