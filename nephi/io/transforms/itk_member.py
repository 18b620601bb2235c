"""One transform of a file of ITK: its class and parameters, validated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError
from nephi.io.transforms.itk_linear import LINEAR, Vector

TYPE_NAME = re.compile(r"([A-Za-z][A-Za-z0-9]{0,99})_(float|double)_(\d{1,2})_(\d{1,2})(?:_(\d{1,2}))?")
COMPOSITE = "CompositeTransform"
SPLINES = "BSplineTransform"
FIELDS = (
    "DisplacementFieldTransform",
    "GaussianSmoothingOnUpdateDisplacementFieldTransform",
    "BSplineSmoothingOnUpdateDisplacementFieldTransform",
)
LATTICES = (SPLINES, *FIELDS)
"""Classes whose fixed parameters define a grid: size, origin, spacing and direction (row by row)."""
MAX_FIXED = 18
SUPPORTED = "an affine transform, a displacement field, B-splines or a chain of these"


@dataclass(frozen=True)
class MemberType:
    """Class name, dimension and spline order (3 for classes without splines) of a transform of ITK."""

    name: str
    dimension: int
    order: int = 3


@dataclass(frozen=True, eq=False)
class Member:
    """A transform with the number of parameters of its class, all finite."""

    type: MemberType
    parameters: NDArray[Any]
    fixed: Vector


def member_type(path: Path, text: str) -> MemberType:
    """Parse a type name such as `Euler3DTransform_double_3_3`.

    Raises `DataError` naming the file for text that is not a type name, for a class that nephi does not support, and
    for a dimension that the class does not have.
    """
    parts = TYPE_NAME.fullmatch(text)
    if parts is None:
        raise DataError(
            f"{path}: expected a class such as AffineTransform_double_3_3, found {text[:80]!r}; "
            "the file is damaged, or of another tool"
        )
    name, first, second = parts[1], int(parts[3]), int(parts[4])
    if name not in LINEAR and name not in (COMPOSITE, *LATTICES):
        raise DataError(
            f"{path}: expected {SUPPORTED}, found a {name}; export it as a displacement field (SimpleITK: "
            "TransformToDisplacementField)"
        )
    allowed = LINEAR[name].dimensions if name in LINEAR else (2, 3)
    if first != second or first not in allowed:
        raise DataError(f"{path}: expected a {name} in {_list_dimensions(allowed)}, found {first}-D to {second}-D")
    order = int(parts[5]) if parts[5] and name == SPLINES else 3
    if order != 3:
        raise DataError(f"{path}: expected cubic B-splines, found order {order}")
    return MemberType(name, first, order)


def require_count(path: Path, kind: MemberType, what: str, allowed: tuple[int, ...], found: int) -> None:
    """Raise `DataError` naming the file unless `found` is one of the `allowed` numbers of `what` of a class."""
    if found not in allowed:
        expected = " or ".join(str(n) for n in sorted(set(allowed)))
        raise DataError(
            f"{path}: expected {expected} {what} of {kind.name} in {kind.dimension}-D, found {found}; "
            "the file is damaged or incomplete, copy it again"
        )


def verified_member(path: Path, kind: MemberType, parameters: Any, fixed: Vector) -> Member:
    """Validate the number of parameters of a class, and that they are finite; return the transform.

    `parameters` is an array of one axis, or an HDF5 data set, which is read after its length was validated. Raises
    `DataError` naming the file.
    """
    d = kind.dimension
    linear = LINEAR.get(kind.name)
    require_count(path, kind, "fixed parameters", linear.fixed(d) if linear else (3 * d + d * d,), len(fixed))
    _require_finite(path, kind, "fixed parameters", fixed)
    counts = linear.parameters(d) if linear else (d * int(np.prod(lattice_size(path, kind, fixed), dtype=object)),)
    require_count(path, kind, "parameters", counts, len(parameters))
    values = np.asarray(parameters)
    if values.dtype not in (np.dtype("f4"), np.dtype("f8")):  # other byte order or size
        values = values.astype(np.float64)
    _require_finite(path, kind, "parameters", values)
    return Member(kind, values, fixed)


def lattice_size(path: Path, kind: MemberType, fixed: Vector) -> tuple[int, ...]:
    """Return the numbers of grid points along the axes; raise `DataError` unless they are whole and positive."""
    size = fixed[: kind.dimension]
    if not all(1 <= n < 2**31 and n == int(n) for n in size.tolist()):
        raise DataError(f"{path}: expected whole, positive sizes of the grid of a {kind.name}, found {size.tolist()}")
    return tuple(int(n) for n in size.tolist())


def _require_finite(path: Path, kind: MemberType, what: str, values: NDArray[Any]) -> None:
    if not bool(np.isfinite(values).all()):
        raise DataError(f"{path}: expected finite {what} of {kind.name}, found NaN or infinite ones")


def _list_dimensions(allowed: tuple[int, ...]) -> str:
    return " or ".join(f"{d}-D" for d in allowed)
