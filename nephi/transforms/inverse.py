"""Inverses: exact where there is a formula, Newton's method elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.geometry import determinant, full_precision, identity_like
from nephi.transforms.affine import AffineTransform
from nephi.transforms.closest_affine import closest_affine
from nephi.transforms.composite import Composite
from nephi.transforms.displacement import DisplacementField
from nephi.transforms.transform import Transform, any_real_points
from nephi.transforms.velocity import StationaryVelocity


class NumericalInverse(Transform):
    """Solve `phi(x) = y` for x at each point y by a damped Newton iteration.

    The start is `guess(y)` (for instance a unrefined inverse field) or y itself. A step is halved while it increases
    the residual of its point; where the Jacobian is close to singular the plain residual is the step. The iteration
    stops when every residual is below `tolerance` mm, or after `iterations`: points outside the range of phi, or in
    folds, keep the best position found.
    """

    def __init__(
        self, transform: Transform, guess: Transform | None = None, tolerance: float = 1e-3, iterations: int = 30
    ) -> None:
        self.transform = transform
        self.guess = guess
        self.tolerance = tolerance
        self.iterations = iterations

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.transform.dimension

    @property
    def has_continuous_jacobian(self) -> bool:
        """Whether the Jacobian of the inverted transform is continuous."""
        return self.transform.has_continuous_jacobian

    @property
    def unfolded_sign(self) -> int:
        """That of the inverted transform."""
        return self.transform.unfolded_sign

    @property
    def is_iterative(self) -> bool:
        """Always true."""
        return True

    @any_real_points
    @torch.no_grad()
    def __call__(self, points: Tensor) -> Tensor:
        """Return x with `phi(x) = points`, shape `(..., D)`, mm."""
        return self._solve_from_usual_start(points.reshape(-1, self.dimension))[0].reshape(points.shape)

    @full_precision()
    @torch.no_grad()
    def solve_from(self, points: Tensor, guess: Tensor) -> Tensor:
        """Return the same, starting from `guess`; points that do not converge restart from the usual start."""
        target = points.reshape(-1, self.dimension)
        x, error = self._solve(target, guess.reshape(-1, self.dimension))
        failed = (~(error <= self.tolerance)).nonzero().squeeze(-1)
        if len(failed):
            retried, remaining = self._solve_from_usual_start(target[failed])
            better = (remaining < error[failed]) | error[failed].isnan()
            x[failed[better]] = retried[better]
        return x.reshape(points.shape)

    def _solve_from_usual_start(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for target points `(N, D)` from the usual start; return x and the residuals `(N,)`."""
        return self._solve(target, target if self.guess is None else self.guess(target))

    def _solve(self, target: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        # Cloned because both are written to below, and maps may return their input or one expanded matrix.
        x = start.clone()
        value, jacobian = self.transform.value_and_jacobian(x)
        jacobian = jacobian.clone()
        residual = target - value
        error = residual.norm(dim=-1)
        damping = torch.ones_like(error)
        for _ in range(self.iterations):
            active = (error > self.tolerance) & (damping > 1e-3)
            if not bool(active.any()):
                break
            trial = x[active] + damping[active, None] * _newton_step(jacobian[active], residual[active])
            value, trial_jacobian = self.transform.value_and_jacobian(trial)
            trial_residual = target[active] - value
            better = trial_residual.norm(dim=-1) < error[active]
            index = active.nonzero().squeeze(-1)
            damping[index] = torch.where(better, torch.ones_like(error[index]), damping[index] / 2)
            chosen = index[better]
            x[chosen], jacobian[chosen] = trial[better], trial_jacobian[better]
            residual[chosen], error[chosen] = trial_residual[better], trial_residual[better].norm(dim=-1)
        return x, error

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and the inverse of phi's Jacobian at x (inverse function theorem)."""
        x = self(points)
        _, jacobian = self.transform.value_and_jacobian(x)
        return x, _invert_matrices(jacobian)


@checked
def invert(transform: Transform) -> Transform:
    """Return the inverse: exact for affine maps, the flow of the opposite velocity, the reversed chain for composites.

    Any other inverse is computed by Newton's method.
    """
    match transform:
        case AffineTransform() | StationaryVelocity():
            return transform.inverse()
        case Composite():
            return type(transform)([invert(t) for t in reversed(transform.transforms)])
        case NumericalInverse():
            return transform.transform
        case DisplacementField():
            # Outside its grid the field is the identity, which also solves phi(x) = y: start inside the grid.
            return NumericalInverse(transform, guess=closest_affine(transform, transform.grid).inverse())
        case _:
            return NumericalInverse(transform)


def _newton_step(jacobian: Tensor, residual: Tensor) -> Tensor:
    regular = determinant(jacobian).abs() > 1e-3
    safe = torch.where(regular[:, None, None], jacobian, identity_like(jacobian))
    # A determinant above 0 may belong to a matrix that is singular in floating point, if its entries are huge.
    step, info = torch.linalg.solve_ex(safe, residual)
    return torch.where((info == 0)[:, None], step, residual)


def _invert_matrices(jacobian: Tensor) -> Tensor:
    """Invert matrices `(..., D, D)`; the few singular ones by the pseudo-inverse, which is much slower.

    Matrices that are not finite have inverses of NaN.
    """
    finite = jacobian.isfinite().all(dim=-1).all(dim=-1)
    jacobian = torch.where(finite[..., None, None], jacobian, identity_like(jacobian))
    singular = determinant(jacobian).abs() < 1e-6
    result, info = torch.linalg.inv_ex(torch.where(singular[..., None, None], identity_like(jacobian), jacobian))
    singular = singular | (info != 0)
    if bool(singular.any()):
        result[singular] = torch.linalg.pinv(jacobian[singular])
    return torch.where(finite[..., None, None], result, torch.nan)
