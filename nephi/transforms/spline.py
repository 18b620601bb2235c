"""Thin-plate splines through keypoints: an affine map and one kernel for each keypoint."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import recordable
from nephi.transforms.maps import Maps
from nephi.transforms.point_fits import affine_fit, relative_weights
from nephi.transforms.transform import Transform, any_real_points

SOFTENING = 1e-12  # added to squared distances, in units of `length`^2: bounds the second derivative at a keypoint
RIDGE = 1e-10  # added to the smoothing: coincident keypoints are averaged
BLOCK = 2**21  # distances between points and keypoints at once


class SplineMaps(Maps):
    """`phi_b(x) = A_b x + t_b + sum_k c_bk U(|x - x_bk| / length)` with `U(r) = r^2 log r`, in 2-D and in 3-D.

    Keypoints `x`: `centres` `(B, K, D)`; `coefficients` c `(B, K, D)`; `matrices` A `(B, D, D)`; `translations` t
    `(B, D)`; `length`; all lengths in mm. The Jacobian is `A + sum_k c_k grad U^T`,
    `grad U = (2 log r + 1) (x - x_k) / length^2`. Points are evaluated in blocks, in float64: the coefficients of close
    keypoints are large and cancel.
    """

    def __init__(
        self, centres: Tensor, coefficients: Tensor, matrices: Tensor, translations: Tensor, length: float
    ) -> None:
        self.centres = centres
        self.coefficients = coefficients
        self.matrices = matrices
        self.translations = translations
        self.length = length

    def __len__(self) -> int:
        return len(self.centres)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return torch.cat([self._evaluate(block, False)[0] for block in self._blocks(points)], dim=1)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and the Jacobians `(B, N, D, D)`."""
        values, jacobians = zip(*[self._evaluate(block, True) for block in self._blocks(points)], strict=True)
        return torch.cat(values, dim=1), torch.cat(jacobians, dim=1)

    def rows(self, pairs: slice) -> SplineMaps:
        """Return the splines of some of the pairs."""
        centres, coefficients = self.centres[pairs], self.coefficients[pairs]
        return SplineMaps(centres, coefficients, self.matrices[pairs], self.translations[pairs], self.length)

    def one(self, pair: int) -> Spline:
        """Return the spline of one pair."""
        tensors = (self.centres, self.coefficients, self.matrices, self.translations)
        centres, coefficients, matrix, translation = (tensor[pair].detach().cpu() for tensor in tensors)
        return Spline(centres, coefficients, matrix, translation, self.length)

    def _blocks(self, points: Tensor) -> tuple[Tensor, ...]:
        return points.split(max(1, BLOCK // max(1, self.centres.shape[0] * self.centres.shape[1])), dim=1)

    def _evaluate(self, points: Tensor, with_jacobian: bool) -> tuple[Tensor, Tensor]:
        """Return values and Jacobians; instead of the latter an empty tensor unless `with_jacobian`."""
        kind, points = points.dtype, points.double()
        centres, coefficients, matrices, translations = (
            tensor.to(points) for tensor in (self.centres, self.coefficients, self.matrices, self.translations)
        )
        axes = zip(points.unbind(-1), centres.unbind(-1), strict=True)
        offsets = [(along[..., None] - centre[:, None]) / self.length for along, centre in axes]  # (B, N, K) each
        squares = sum((offset.square() for offset in offsets[1:]), offsets[0].square()) + SOFTENING
        logs = squares.log()
        affine = points @ matrices.transpose(-1, -2) + translations.unsqueeze(1)
        values = affine + (0.5 * squares * logs) @ coefficients
        if not with_jacobian:
            return values.to(kind), values[:0]
        slopes = (logs + 1) / self.length
        columns = [(slopes * offset) @ coefficients for offset in offsets]
        return values.to(kind), (matrices.unsqueeze(1) + torch.stack(columns, dim=-1)).to(kind)


class Spline(Transform):
    """The thin-plate spline of one pair, as `SplineMaps` with `centres` and `coefficients` `(K, D)`, kept in float64.

    Raises `DataError` for tensors whose shapes do not fit together, for values that are not finite, and unless
    `length` is above 0.
    """

    def __init__(
        self, centres: Tensor, coefficients: Tensor, matrix: Tensor, translation: Tensor, length: float
    ) -> None:
        d = centres.shape[-1]
        shapes = [tuple(tensor.shape) for tensor in (centres, coefficients, matrix, translation)]
        if d not in (2, 3) or shapes != [(len(centres), d), (len(centres), d), (d, d), (d,)]:
            raise DataError(f"expected a spline of shapes (K, D), (K, D), (D, D), (D,), got {shapes}")
        # Contiguous, so that a spline read from a file gives the same values to the last bit.
        tensors = [recordable(t.double().contiguous()) for t in (centres, coefficients, matrix, translation)]
        if not all(bool(tensor.isfinite().all()) for tensor in tensors) or not 0 < length < float("inf"):
            raise DataError(f"expected a spline of finite values and a length above 0, got length {length:g}")
        self.centres, self.coefficients, self.matrix, self.translation = tensors
        self.length = length
        self._maps = SplineMaps(
            self.centres[None], self.coefficients[None], self.matrix[None], self.translation[None], length
        )

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return len(self.matrix)

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm."""
        return self._maps(points.reshape(1, -1, self.dimension)).reshape(points.shape)

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and Jacobians `(..., D, D)`."""
        values, jacobians = self._maps.value_and_jacobian(points.reshape(1, -1, self.dimension))
        return values.reshape(points.shape), jacobians.reshape(*points.shape, self.dimension)


def spline_fit(
    fixed: Tensor,
    moving: Tensor,
    smoothing: Tensor | float,
    length: float,
    weights: Tensor | None = None,
    softening: float = SOFTENING,
) -> SplineMaps:
    """Fit thin-plate splines to corresponding points: `(B, K, D)`, mm, and weights `(B, K)`, 0 or more, of any scale.

    Solves `[[U + lambda diag(1 / w), P], [P^T, 0]] [c; a] = [Y; 0]`, P = (1, X), as in KeyMorph, for weights scaled to
    a mean of 1, so that equal weights are the unweighted spline. `smoothing` is lambda, 0 or more, one number or one
    for each pair `(B,)`: 0 interpolates the points of weight above 0, large values give `affine_fit`. It belongs to
    coordinates in units of `length` mm; scaling all coordinates by c leaves the spline unchanged if lambda is scaled by
    c^2. The published values belong to half the edge of the box. What the points leave undetermined is as in
    `affine_fit`, coincident points are averaged; gradients are finite always. `softening` is added to the squared
    distances between keypoints, in units of `length`^2; KeyMorph adds 1e-6.

    Raises `UsageError` for tensors of other shapes, a `length` of 0 or less, or a smoothing below 0.
    """
    affine = affine_fit(fixed, moving, weights)
    smoothing = torch.as_tensor(smoothing, dtype=torch.float64).to(fixed.device)
    if not length > 0 or not bool((smoothing >= 0).all()):
        raise UsageError(f"smoothing, length: expected 0 or more and above 0, got {smoothing.tolist()} and {length:g}")
    centres, origin = fixed.double(), fixed.double().mean(dim=1, keepdim=True)
    weights = centres.shape[1] * relative_weights(centres, weights)
    residuals = moving.double() - affine(centres)
    coefficients, slopes, offset = _solve(
        (centres - origin) / length, residuals, weights, smoothing.reshape(-1, 1), softening
    )
    slopes = slopes.transpose(-1, -2) / length
    translations = affine.translations + offset - (origin @ slopes.transpose(-1, -2)).squeeze(1)
    return SplineMaps(centres, coefficients, affine.matrices + slopes, translations, length)


def _solve(
    points: Tensor, values: Tensor, weights: Tensor, smoothing: Tensor, softening: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return coefficients `(B, K, D)`, linear part `(B, D, D)` (row i for axis i) and constant `(B, D)` of a spline."""
    count, d = points.shape[1:]
    columns = weights[:, None]  # unknowns are c / w: points of weight 0 drop out without a division or a root
    squares = (points[:, :, None] - points[:, None]).square().sum(dim=-1) + softening
    kernels = 0.5 * squares * squares.log() * columns + torch.diag_embed((smoothing + RIDGE).expand(len(points), count))
    polynomial = torch.cat([torch.ones_like(points[..., :1]), points], dim=-1)
    # A tiny penalty keeps an affine part at 0 that the points leave undetermined.
    corner = torch.diag_embed(points.new_full((len(points), d + 1), -RIDGE))
    lower = torch.cat([polynomial.transpose(-1, -2) * columns, corner], dim=2)
    system = torch.cat([torch.cat([kernels, polynomial], dim=2), lower], dim=1)
    right = torch.cat([values, values.new_zeros(len(points), d + 1, d)], dim=1)
    solution = torch.linalg.solve_ex(system, right)[0]  # NaN stays NaN, without an error
    return weights[..., None] * solution[:, :count], solution[:, count + 1 :], solution[:, count]
