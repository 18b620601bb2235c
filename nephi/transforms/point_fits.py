"""Maps that best match corresponding points, in closed form, for batches of weighted point sets."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.errors import UsageError
from nephi.geometry import identity_like
from nephi.transforms.affine import AffineMaps

RIDGE = 1e-10  # of the points' mean square distance from their centroid: decides only what points leave undetermined
ROUNDING = 1e-24  # of the squared distance from the origin: closer points are coincident
LARGEST_STRETCH = 1e4  # norm of a fitted matrix and of its inverse
GAP = 1e-6  # of the largest singular value: below it the derivative of a rotation fades out


class Moments(NamedTuple):
    """Weighted means and covariances of two point sets, float64, weights of each pair divided by their sum.

    `fixed_mean`, `moving_mean` `(B, D)` mm; `fixed`, `moving` and `cross` (moving times fixed) `(B, D, D)` mm^2.
    """

    fixed_mean: Tensor
    moving_mean: Tensor
    fixed: Tensor
    moving: Tensor
    cross: Tensor


def rigid_fit(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> AffineMaps:
    """Fit rotations and translations: least weighted squares of `R x_k + t - y_k` (Kabsch 1976, Umeyama 1991).

    `fixed` and `moving` are corresponding points `(B, K, D)`, mm, `weights` `(B, K)`, 0 or more, of any scale. R never
    is a reflection. Exchanging the point sets gives the inverse. What the points leave undetermined, such as the turn
    about a line on which all lie, stays as in the identity; pairs whose weights are all zero get the identity.
    Gradients are finite always: a rotation that is undetermined has none.

    Raises `UsageError` for tensors of other shapes.
    """
    moments = _moments(fixed, moving, weights)
    return _about_means(nearest_rotation(moments.cross), moments)


def similarity_fit(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> AffineMaps:
    """Fit rotations, one scale factor and translations (Horn 1987, the symmetric scale); otherwise as `rigid_fit`.

    The scale is the ratio of the point sets' root mean square distances from their means, so that exchanging the sets
    gives the inverse; 1 where one of them is, in comparison, a single point.
    """
    moments = _moments(fixed, moving, weights)
    spreads = torch.stack([_trace(moments.fixed), _trace(moments.moving)])
    determined = spreads.amin(dim=0) > spreads.amax(dim=0) / LARGEST_STRETCH**2
    fixed_spread, moving_spread = torch.where(determined, spreads, 1.0)
    scale = (moving_spread / fixed_spread).sqrt()
    return _about_means(scale[:, None, None] * nearest_rotation(moments.cross), moments)


def affine_fit(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> AffineMaps:
    """Fit affine maps: least weighted squares of `A x_k + t - y_k`.

    Arguments are those of `rigid_fit`. Directions in which the fixed points do not extend (coplanar points in 3-D)
    follow the rotation of `rigid_fit`; so does the whole map where only one of the sets has no extent in a direction,
    so that the map or its inverse would stretch by more than `LARGEST_STRETCH`. Exchanging the point sets does not give
    the inverse, unless an affine map matches all points: see `halfway_affine_fit`.
    """
    moments = _moments(fixed, moving, weights)
    rotation = nearest_rotation(moments.cross)
    ridge = _ridge(_trace(moments.fixed))
    numerator, denominator = moments.cross + ridge * rotation, moments.fixed + ridge * identity_like(moments.fixed)
    return _about_means(_moderate(_quotient(numerator, denominator), rotation), moments)


def halfway_affine_fit(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> AffineMaps:
    """Fit affine maps through points half-way between both sets, so that exchanging the sets gives the inverse.

    `fit(Z -> Y) o fit(Z -> X)^-1` of least squares, as in KeyMorph, with `Z = (X + R^-1 Y) / 2`, R the rotation of
    `rigid_fit`: without R the half-way points of a turn by 180 degrees would all coincide. Arguments and degenerate
    cases are those of `affine_fit`.
    """
    moments = _moments(fixed, moving, weights)
    rotation = nearest_rotation(moments.cross)
    ridge = _ridge((_trace(moments.fixed) + _trace(moments.moving)) / 2)
    # Moments of Y with 2 Z, and of X with 2 Z; that of Z with itself cancels.
    moving_part = moments.cross + moments.moving @ rotation + ridge * rotation
    fixed_part = moments.fixed + moments.cross.transpose(-1, -2) @ rotation + ridge * identity_like(moments.fixed)
    return _about_means(_moderate(_quotient(moving_part, fixed_part), rotation), moments)


def nearest_rotation(matrices: Tensor) -> Tensor:
    """Return the rotations R `(B, D, D)` that maximise `tr(R^T M)` for matrices M, D = 2 or 3; differentiable once.

    The derivative needs no derivative of singular vectors: with the symmetric `P = R^T M`, a change dM turns R by
    `R [omega]` with `omega = (tr(P) I - P)^-1 s`, s the vector of the skew part of `R^T dM`. Where R is undetermined
    (`tr(P) I - P` singular), R is the rotation closest to the identity and its derivative there is zero. A matrix that
    is not finite gives NaN.
    """
    rotation: Tensor = _NearestRotation.apply(matrices)  # type: ignore[no-untyped-call]
    return rotation


class _NearestRotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> Tensor:
        eye = identity_like(matrices)
        finite = matrices.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
        # The ridge prefers the identity among rotations that are equally good otherwise.
        scale = matrices.norm(dim=(-2, -1), keepdim=True)
        regular = torch.where(finite, matrices + torch.where(scale > 0, RIDGE * scale, 1.0) * eye, eye)
        left, values, right = torch.linalg.svd(regular)
        signs = torch.ones_like(values)
        signs[:, -1] = torch.linalg.det(left @ right).sign()
        rotation = (left * signs[:, None]) @ right
        ctx.save_for_backward(rotation, right, values * signs)
        return torch.where(finite, rotation, torch.nan)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        rotation, right, values = ctx.saved_tensors
        # In the axes of P = right^T diag(values) right the inverse of tr(P) I - P is diagonal.
        sums, axes = values.sum(dim=-1, keepdim=True), torch.ones_like(right[:, :1, :1])
        if values.shape[-1] == 3:
            sums, axes = sums - values, right
        floor = GAP * values[:, :1]
        torque = (axes @ _skew_vector(rotation.transpose(-1, -2) @ gradient).unsqueeze(-1)).squeeze(-1)
        turn = (axes.transpose(-1, -2) @ (torque * sums / (sums.square() + floor.square())).unsqueeze(-1)).squeeze(-1)
        return rotation @ _skew_matrix(turn)


def _skew_vector(matrices: Tensor) -> Tensor:
    """Return the entries `(B, D (D - 1) / 2)` of the vector of `M - M^T`."""
    if matrices.shape[-1] == 2:
        return matrices[:, 1, :1] - matrices[:, 0, 1:]
    skew = matrices - matrices.transpose(-1, -2)
    return torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=-1)


def _skew_matrix(vectors: Tensor) -> Tensor:
    """Return the skew matrices of vectors `(B, 1)` in 2-D, `(B, 3)` in 3-D (the matrix of the cross product)."""
    zero = torch.zeros_like(vectors[:, 0])
    if vectors.shape[-1] == 1:
        rows = [[zero, -vectors[:, 0]], [vectors[:, 0], zero]]
    else:
        x, y, z = vectors.unbind(-1)
        rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _moments(fixed: Tensor, moving: Tensor, weights: Tensor | None) -> Moments:
    require_point_sets(fixed, moving, weights)
    fixed, moving = fixed.double(), moving.double()
    weights = relative_weights(fixed, weights).unsqueeze(-1)
    fixed_mean, fixed = _mean_and_deviations(fixed, weights)
    moving_mean, moving = _mean_and_deviations(moving, weights)
    weighted_fixed, weighted_moving = ((weights * points).transpose(-1, -2) for points in (fixed, moving))
    return Moments(fixed_mean, moving_mean, weighted_fixed @ fixed, weighted_moving @ moving, weighted_moving @ fixed)


def _mean_and_deviations(points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means `(B, D)` and the deviations from them; deviations that are rounding errors become 0."""
    mean = (weights * points).sum(dim=1, keepdim=True)
    deviations = points - mean
    distances, size = (
        (weights * vectors.detach()).square().sum(dim=(1, 2), keepdim=True) for vectors in (deviations, points)
    )
    return mean.squeeze(1), torch.where(distances <= ROUNDING * size, 0.0, deviations)


def require_point_sets(fixed: Tensor, moving: Tensor, weights: Tensor | None) -> None:
    """Raise `UsageError` unless the points are `(B, K, D)`, K at least 1, and the weights `(B, K)`."""
    if fixed.ndim != 3 or fixed.shape != moving.shape or fixed.shape[-1] not in (2, 3) or not fixed.shape[1]:
        raise UsageError(
            "fixed, moving: expected corresponding points (B, K, D), D = 2 or 3, K at least 1, got "
            f"{tuple(fixed.shape)} and {tuple(moving.shape)}"
        )
    if weights is not None and weights.shape != fixed.shape[:-1]:
        raise UsageError(f"weights: expected one of each point, {tuple(fixed.shape[:-1])}, got {tuple(weights.shape)}")


def relative_weights(points: Tensor, weights: Tensor | None) -> Tensor:
    """Return weights `(B, K)` in the type of `points` that add up to 1; all zero for a pair that has no other."""
    if weights is None:
        return torch.full_like(points[..., 0], 1 / points.shape[1])
    weights = weights.to(points)
    total = weights.sum(dim=1, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)


def _about_means(linear: Tensor, moments: Moments) -> AffineMaps:
    """Return the maps `linear (x - mean of fixed) + mean of moving`."""
    return AffineMaps(linear, moments.moving_mean - (linear @ moments.fixed_mean.unsqueeze(-1)).squeeze(-1))


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return `numerator @ denominator^-1`."""
    quotient: Tensor = torch.linalg.solve_ex(denominator, numerator, left=False)[0]  # NaN stays NaN, without an error
    return quotient


def _moderate(linear: Tensor, rotation: Tensor) -> Tensor:
    """Return the matrices of a fit, or the rotation where they or their inverses are larger than `LARGEST_STRETCH`."""
    inverse, singular = torch.linalg.inv_ex(linear.detach())
    norms = torch.stack([linear.detach(), inverse]).norm(dim=(-2, -1)).amax(dim=0)
    moderate = (singular == 0) & (norms <= LARGEST_STRETCH)  # a matrix of NaN has a rotation of NaN
    return torch.where(moderate[:, None, None], linear, rotation)


def _ridge(spread: Tensor) -> Tensor:
    """Return the multiple `(B, 1, 1)` of a rotation to which undetermined directions are drawn."""
    return torch.where(spread > 0, RIDGE * spread, 1.0)[:, None, None]


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
