"""Validation of the shapes that losses take."""

from __future__ import annotations

from torch import Tensor

from nephi.errors import UsageError


def check_patches(fixed: Tensor, moving: Tensor, weights: Tensor | None, least_samples: int = 1) -> None:
    """Validate that `fixed` and `moving` are both `(P, K)`, and `weights`, if any, `(P,)`.

    P is at least one patch, K at least `least_samples` samples a patch. Raises `UsageError` when a shape
    differs or the samples are not of one floating-point type.
    """
    if fixed.ndim != 2 or fixed.shape[0] < 1 or fixed.shape[1] < least_samples:
        raise UsageError(
            f"fixed: expected shape (P, K), P >= 1 patches of K >= {least_samples} samples, got {tuple(fixed.shape)}"
        )
    if moving.shape != fixed.shape:
        raise UsageError(f"moving: expected the shape of fixed, {tuple(fixed.shape)}, got {tuple(moving.shape)}")
    if moving.dtype != fixed.dtype or not fixed.is_floating_point():
        raise UsageError(f"fixed and moving: expected one floating-point type, got {fixed.dtype} and {moving.dtype}")
    if weights is not None and weights.shape != fixed.shape[:1]:
        raise UsageError(f"weights: expected shape ({fixed.shape[0]},), one weight a patch, got {tuple(weights.shape)}")


def check_points(points: Tensor, name: str) -> None:
    """Raise `UsageError` unless `points` is `(..., N, D)` with N >= 1 points and D = 2 or 3."""
    if points.ndim < 2 or points.shape[-1] not in (2, 3) or points.numel() == 0:
        raise UsageError(f"{name}: expected shape (..., N, D), N >= 1, D = 2 or 3, got {tuple(points.shape)}")


def check_jacobian(jacobian: Tensor, name: str) -> None:
    """Raise `UsageError` unless `jacobian` is `(..., D, D)` with D = 2 or 3, and not empty."""
    shape = tuple(jacobian.shape)
    if len(shape) < 2 or shape[-1] not in (2, 3) or shape[-2] != shape[-1] or jacobian.numel() == 0:
        raise UsageError(f"{name}: expected shape (..., N, D, D), N >= 1, D = 2 or 3, got {shape}")


def check_hessian(hessian: Tensor, name: str) -> None:
    """Raise `UsageError` unless `hessian` is `(..., D, D, D)` with D = 2 or 3, and not empty."""
    shape = tuple(hessian.shape)
    if len(shape) < 3 or shape[-1] not in (2, 3) or len(set(shape[-3:])) != 1 or hessian.numel() == 0:
        raise UsageError(f"{name}: expected shape (..., N, D, D, D), N >= 1, D = 2 or 3, got {shape}")
