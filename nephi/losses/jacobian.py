"""The Jacobian determinant, local change of volume, and penalties on it."""

from __future__ import annotations

from torch import Tensor

from nephi.geometry import determinant
from nephi.losses.shapes import check_jacobian

FOLDING_FLOOR = 0.1  # determinants below it are penalized


def jacobian_determinant(jacobian: Tensor) -> Tensor:
    """Return the determinant in closed form: `ad - bc` in 2-D, `r_0 . (r_1 x r_2)` of the rows in 3-D.

    `jacobian` is `(..., D, D)`, `J[..., i, j] = d phi_i / d x_j`; the result is `(...)`, dimensionless: 1
    keeps volume, below 0 the map folds.

    Raises `UsageError` when the shape is not `(..., D, D)` with D = 2 or 3.
    """
    check_jacobian(jacobian, "jacobian")
    return determinant(jacobian)


def volume_change(jacobian: Tensor) -> Tensor:
    """Return the Jacobian penalty of IDIR (Wolterink et al., MIDL 2022), `mean_x |det J(x) - 1|`.

    `jacobian` is `(..., N, D, D)`. The result is a dimensionless scalar: 0 for maps that keep volume. Raises
    `UsageError` when the shape is not `(..., N, D, D)` with D = 2 or 3.
    """
    return (jacobian_determinant(jacobian) - 1).abs().mean()


def folding(jacobian: Tensor, floor: float = FOLDING_FLOOR) -> Tensor:
    """Return a squared hinge on the determinant, `mean_x max(floor - det J(x), 0)^2`.

    Unlike `volume_change` it allows the changes of volume of breathing: only points with a determinant below `floor`,
    which fold or almost fold, have a penalty.

    `jacobian` is `(..., N, D, D)`. The result is a dimensionless scalar: 0 if every determinant is at least
    `floor`. Raises `UsageError` when the shape is not `(..., N, D, D)` with D = 2 or 3.
    """
    return (floor - jacobian_determinant(jacobian)).relu().square().mean()
