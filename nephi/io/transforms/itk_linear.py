"""Matrix, centre and translation from the parameters of ITK's linear transform classes.

`T(x) = A (x - c) + c + t` in LPS millimetres. Formulas are those of `ComputeMatrix` of each class (ITK 5.4). The
"versors" of ITK are unit quaternions (x, y, z, sqrt(1 - x^2 - y^2 - z^2)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError

Vector = NDArray[np.float64]
VERSOR_TOLERANCE = 1e-6


class LinearMap(NamedTuple):
    """Matrix `(D, D)`, centre `(D,)` and translation `(D,)` of a linear transform, in LPS mm."""

    matrix: Vector
    centre: Vector
    translation: Vector

    def homogeneous(self) -> Vector:
        """Return the `(D + 1, D + 1)` matrix of the map of points."""
        d = len(self.centre)
        full = np.eye(d + 1)
        full[:d, :d] = self.matrix
        full[:d, d] = self.centre + self.translation - self.matrix @ self.centre
        return full


@dataclass(frozen=True)
class LinearClass:
    """A class of ITK: its possible numbers of parameters and fixed parameters, as functions of the dimension D.

    `map` computes the linear map from D, the parameters and the fixed parameters, both float64, and raises `DataError`
    for invalid values.
    """

    dimensions: tuple[int, ...]
    parameters: Callable[[int], tuple[int, ...]]
    fixed: Callable[[int], tuple[int, ...]]
    map: Callable[[int, Vector, Vector], LinearMap]


def _affine(d: int, p: Vector, fixed: Vector) -> LinearMap:
    return LinearMap(p[: d * d].reshape(d, d), fixed[:d], p[d * d : d * d + d])


def _centred_affine(d: int, p: Vector, fixed: Vector) -> LinearMap:
    return LinearMap(p[: d * d].reshape(d, d), p[d * d : d * d + d], p[d * d + d :])


def _rotation_2d(angle: float) -> Vector:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _euler(angles: Vector, fixed: Vector) -> Vector:
    """Return the product of rotations about x, y and z; the fourth fixed parameter (if present) gives the order."""
    about_x, about_y, about_z = np.eye(3), np.eye(3), np.eye(3)
    about_x[1:, 1:] = _rotation_2d(angles[0])
    about_y[::2, ::2] = _rotation_2d(-angles[1])
    about_z[:2, :2] = _rotation_2d(angles[2])
    zyx = len(fixed) == 4 and fixed[3] != 0
    return about_z @ about_y @ about_x if zyx else about_z @ about_x @ about_y


def _quaternion(x: float, y: float, z: float, w: float) -> Vector:
    """Return the rotation matrix of a quaternion, times its squared length, as in ITK."""
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), w * w - x * x + y * y - z * z, 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), w * w - x * x - y * y + z * z],
        ]
    )


def _versor(p: Vector) -> Vector:
    """Return the rotation matrix of a versor; raise `DataError` when it is longer than 1."""
    length = float(np.linalg.norm(p[:3]))
    if length > 1 + VERSOR_TOLERANCE:
        raise DataError(f"expected a versor of length at most 1, found {length:.6g}; the file is damaged")
    x, y, z = p[:3] / max(length, 1.0)
    return _quaternion(x, y, z, np.sqrt(max(0.0, 1 - x * x - y * y - z * z)))


def _skew(p: Vector) -> Vector:
    """Return the matrix of scales and skews that ScaleSkewVersor3D adds to its rotation."""
    (a, b, c, d, e, f), scale = p[9:15], p[6:9]
    return np.array([[scale[0] - 1, a, b], [c, scale[1] - 1, d], [e, f, scale[2] - 1]])


def _stretch(p: Vector) -> Vector:
    """Return scales times the unit upper triangular matrix of skews, as in ComposeScaleSkewVersor3D."""
    return np.diag(p[6:9]) @ np.array([[1, p[9], p[10]], [0, 1, p[11]], [0, 0, 1]])


def _count(n: int, *others: int) -> Callable[[int], tuple[int, ...]]:
    return lambda d: (n, *others)


def _centre(d: int) -> tuple[int, ...]:
    return (d,)


def _spatial(n: int, matrix: Callable[[Vector], Vector], start: int = 3) -> LinearClass:
    """Return a 3-D class of n parameters, the translation at `start`, that rotates about the fixed parameters."""
    return LinearClass((3,), _count(n), _centre, lambda d, p, f: LinearMap(matrix(p), f, p[start : start + 3]))


def _planar(n: int, matrix: Callable[[Vector], Vector], start: int) -> LinearClass:
    """Return a 2-D class of n parameters, the translation at `start`, that rotates about the fixed parameters."""
    return LinearClass((2,), _count(n), _centre, lambda d, p, f: LinearMap(matrix(p), f, p[start:]))


def _planar_centred(n: int, matrix: Callable[[Vector], Vector], start: int) -> LinearClass:
    """Return a 2-D class with the centre among its parameters; fixed parameters, absent from old files, are ignored."""
    return LinearClass(
        (2,), _count(n), _count(0, 2), lambda d, p, f: LinearMap(matrix(p), p[start : start + 2], p[start + 2 :])
    )


_BOTH = (2, 3)
_AFFINE = LinearClass(_BOTH, lambda d: (d * d + d,), _centre, _affine)
_DIAGONAL = LinearClass(_BOTH, lambda d: (d,), _centre, lambda d, p, f: LinearMap(np.diag(p), f, np.zeros(d)))

LINEAR = {
    "AffineTransform": _AFFINE,
    "MatrixOffsetTransformBase": _AFFINE,
    "ScalableAffineTransform": _AFFINE,
    # Newer versions write D more parameters, which are not used.
    "FixedCenterOfRotationAffineTransform": LinearClass(_BOTH, lambda d: (d * d + d, d * d + 2 * d), _centre, _affine),
    "CenteredAffineTransform": LinearClass(_BOTH, lambda d: (d * d + 2 * d,), lambda d: (d, 0), _centred_affine),
    "Rigid3DTransform": LinearClass((3,), _count(12), _centre, _affine),
    "ScaleTransform": _DIAGONAL,
    "ScaleLogarithmicTransform": LinearClass(
        _BOTH, lambda d: (d,), _centre, lambda d, p, f: LinearMap(np.diag(np.exp(p)), f, np.zeros(d))
    ),
    "TranslationTransform": LinearClass(
        _BOTH, lambda d: (d,), _count(0), lambda d, p, f: LinearMap(np.eye(d), np.zeros(d), p)
    ),
    # ITK 3 wrote one parameter without a meaning.
    "IdentityTransform": LinearClass(
        _BOTH, _count(0, 1), _count(0), lambda d, p, f: LinearMap(np.eye(d), np.zeros(d), np.zeros(d))
    ),
    "Euler3DTransform": LinearClass(
        (3,), _count(6), _count(4, 3), lambda d, p, f: LinearMap(_euler(p[:3], f), f[:3], p[3:])
    ),
    "CenteredEuler3DTransform": LinearClass(
        (3,), _count(9), _count(4, 3, 0), lambda d, p, f: LinearMap(_euler(p[:3], f), p[3:6], p[6:])
    ),
    "QuaternionRigidTransform": _spatial(7, lambda p: _quaternion(*p[:4]), start=4),
    "VersorTransform": LinearClass((3,), _count(3), _centre, lambda d, p, f: LinearMap(_versor(p), f, np.zeros(3))),
    "VersorRigid3DTransform": _spatial(6, _versor),
    "Similarity3DTransform": _spatial(7, lambda p: p[6] * _versor(p)),
    "ScaleVersor3DTransform": _spatial(9, lambda p: _versor(p) + np.diag(p[6:9] - 1)),
    "ScaleSkewVersor3DTransform": _spatial(15, lambda p: _versor(p) + _skew(p)),
    "ComposeScaleSkewVersor3DTransform": _spatial(12, lambda p: _versor(p) @ _stretch(p)),
    "Euler2DTransform": _planar(3, lambda p: _rotation_2d(p[0]), start=1),
    "Rigid2DTransform": _planar(3, lambda p: _rotation_2d(p[0]), start=1),
    "Similarity2DTransform": _planar(4, lambda p: p[0] * _rotation_2d(p[1]), start=2),
    "CenteredRigid2DTransform": _planar_centred(5, lambda p: _rotation_2d(p[0]), start=1),
    "CenteredSimilarity2DTransform": _planar_centred(6, lambda p: p[0] * _rotation_2d(p[1]), start=2),
}
"""Linear classes that ITK 3 to 5 write, by name."""
