"""Affine maps: of one pair, and of B pairs at once."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nephi.argument_types import matches, shown
from nephi.errors import DataError, UsageError
from nephi.geometry import full_precision, real_numbers, recordable
from nephi.transforms.maps import Maps
from nephi.transforms.transform import Transform, any_real_points


class AffineTransform(Transform):
    """`phi(x) = A x + b` in world mm (RAS), from a homogeneous `(D + 1, D + 1)` matrix kept in float64.

    The matrix may be an array or a list of rows. Raises `DataError` when it is not square homogeneous 2-D or 3-D, not
    finite, or singular, `UsageError` for anything but real numbers.
    """

    def __init__(self, matrix: Tensor) -> None:
        matrix = recordable(real_numbers(matrix, "matrix", "(D + 1, D + 1)").detach().cpu())
        if matrix.ndim != 2 or tuple(matrix.shape) not in ((3, 3), (4, 4)):
            raise DataError(f"an affine transform needs a 3x3 or 4x4 homogeneous matrix, got {tuple(matrix.shape)}")
        if not bool(torch.isfinite(matrix).all()):
            raise DataError("the affine matrix holds NaN or infinite values")
        last = torch.eye(len(matrix), dtype=torch.float64)[-1]
        if not torch.equal(matrix[-1], last):
            raise DataError(f"the last row of an affine matrix must be {last.tolist()}, got {matrix[-1].tolist()}")
        # Scale-free test: the determinant against the product of the column lengths.
        lengths = matrix[:-1, :-1].norm(dim=0).prod()
        if lengths == 0 or abs(torch.linalg.det(matrix[:-1, :-1])) < 1e-9 * lengths:
            raise DataError("the affine matrix is singular: it has no inverse")
        self.matrix = matrix

    def __repr__(self) -> str:
        """Return the rows of the matrix but the last in one line."""
        rows = "; ".join(" ".join(f"{x:.4g}" for x in row) for row in self.matrix[:-1].tolist())
        return f"AffineTransform({rows}; mm RAS)"

    @classmethod
    def identity(cls, dimension: int) -> AffineTransform:
        """Return the identity in 2-D or 3-D; raise `UsageError` for another dimension."""
        if not matches(dimension, int) or dimension not in (2, 3):
            raise UsageError(f"dimension: expected 2 or 3, got {shown(dimension)}")
        return cls(torch.eye(dimension + 1, dtype=torch.float64))

    @classmethod
    def translation(cls, shift: Tensor | ArrayLike) -> AffineTransform:
        """Return the map that adds `shift` `(D,)` mm."""
        vector = real_numbers(shift, "shift", "(D,)")
        if vector.shape not in ((2,), (3,)):
            raise UsageError(f"shift: expected 2 or 3 numbers, got shape {tuple(vector.shape)}")
        matrix = torch.eye(len(vector) + 1, dtype=torch.float64)
        matrix[:-1, -1] = vector
        return cls(matrix)

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.matrix.shape[0] - 1

    @property
    def handedness(self) -> int:
        """1, or -1 if the map reflects: the sign of its determinant."""
        return -1 if float(torch.linalg.det(self.matrix[:-1, :-1])) < 0 else 1

    @property
    def has_continuous_jacobian(self) -> bool:
        """Always true."""
        return True

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return `A x + b` for points `(..., D)`."""
        linear, shift = self.matrix[:-1, :-1].T.to(points).contiguous(), self.matrix[:-1, -1].to(points)
        return torch.addmm(shift, points.reshape(-1, points.shape[-1]), linear).reshape(points.shape)

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return `A x + b`, and A expanded to `(..., D, D)`."""
        linear = self.matrix[:-1, :-1].to(points)
        return self(points), linear.expand(*points.shape[:-1], -1, -1)

    def inverse(self) -> AffineTransform:
        """Return the exact inverse."""
        inverse = torch.linalg.inv(self.matrix)
        inverse[-1] = self.matrix[-1]  # exactly (0, ..., 0, 1), rounding removed
        return AffineTransform(inverse)


class AffineMaps(Maps):
    """`phi_b(x) = A_b x + t_b`: `matrices` `(B, D, D)`, `translations` `(B, D)`, mm."""

    def __init__(self, matrices: Tensor, translations: Tensor) -> None:
        self.matrices = matrices
        self.translations = translations

    def __len__(self) -> int:
        return len(self.matrices)

    @full_precision()
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return points @ self.matrices.to(points).transpose(-1, -2) + self.translations.to(points).unsqueeze(1)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the matrices expanded to `(B, N, D, D)`."""
        return self(points), self.matrices.to(points).unsqueeze(1).expand(-1, points.shape[1], -1, -1)

    def inverse(self) -> AffineMaps:
        """Return the exact inverses; NaN or infinite values where a matrix is singular."""
        matrices = torch.linalg.inv_ex(self.matrices)[0]
        return AffineMaps(matrices, -(matrices @ self.translations.to(matrices).unsqueeze(-1)).squeeze(-1))

    def to(self, points: Tensor) -> AffineMaps:
        """Return the maps in the type and on the device of `points`."""
        return AffineMaps(self.matrices.to(points), self.translations.to(points))

    def rows(self, pairs: slice) -> AffineMaps:
        """Return the affine maps of some of the pairs."""
        return AffineMaps(self.matrices[pairs], self.translations[pairs])

    def one(self, pair: int) -> AffineTransform:
        """Return the affine map of one pair."""
        matrix = torch.eye(self.matrices.shape[-1] + 1, dtype=torch.float64)
        matrix[:-1, :-1] = self.matrices[pair].detach().cpu()
        matrix[:-1, -1] = self.translations[pair].detach().cpu()
        return AffineTransform(matrix)

    def inverts(self, other: Maps) -> bool:
        """Return whether the products with the matrices of `other` are the identity to single precision."""
        if not isinstance(other, AffineMaps) or len(other) != len(self):
            return False
        identity = torch.eye(self.matrices.shape[-1], dtype=torch.float64)
        for pair in range(len(self)):
            product = other.one(pair).matrix @ self.one(pair).matrix
            shift = max(1.0, float(self.translations[pair].detach().abs().max()))
            if (product[:-1, :-1] - identity).abs().max() > 1e-5 or product[:-1, -1].abs().max() > 1e-5 * shift:
                return False
        return True
