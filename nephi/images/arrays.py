"""Arrays of numpy, to voxels on a grid and back."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, real_numbers
from nephi.geometry.flat import flattened
from nephi.images.encoding import encode_voxels
from nephi.images.voxels import UNSCALED, Scaling, voxels_to_tensor

Array = NDArray[Any]
ONE_NUMBER = "one real number per voxel"
CHANNELS = "take one component of each voxel, or give a list of one image for each channel"


class Voxels(NamedTuple):
    """Voxels on their grid, and the name of their type where the tensor has another one."""

    data: Tensor
    grid: Grid
    stored_type: str | None


def array_voxels(
    array: ArrayLike,
    affine: ArrayLike | None,
    spacing: float | Sequence[float] | None,
    origin: Sequence[float] | None,
    direction: ArrayLike | None,
    name: str,
) -> Voxels:
    """Return a copy of the voxels of an array, and the grid of either `affine` or `spacing`, see `Image.from_numpy`."""
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{name}: expected a numpy array, got {type(array).__name__}; convert it (numpy.asarray)")
    if array.ndim not in (2, 3):
        advice = f"; {CHANNELS}" if array.ndim > 3 else ""
        raise UsageError(f"{name}: expected a 2-D or 3-D array, got one of shape {array.shape}{advice}")
    if (affine is None) == (spacing is None):
        found = "neither" if affine is None else "both"
        raise UsageError(
            f"{name}: expected either spacing (mm between voxels along each axis, such as {(1.0,) * array.ndim}) or "
            f"affine (voxel to world mm, RAS), got {found}"
        )
    if spacing is not None:
        matrix = _spacing_matrix(array.ndim, spacing, origin, direction, name)
    elif origin is not None or direction is not None:
        raise UsageError(f"{name}: origin, direction: expected only with spacing; they are part of the affine")
    else:
        matrix = _numbers(f"{name}: affine", affine, (array.ndim + 1, array.ndim + 1))
    return own_voxels(array, flattened(named_grid(array.shape, matrix, name), name), name)


def _spacing_matrix(
    dimension: int,
    spacing: float | Sequence[float],
    origin: Sequence[float] | None,
    direction: ArrayLike | None,
    name: str,
) -> Tensor:
    lengths = [spacing] * dimension if isinstance(spacing, Real) else spacing
    steps = _numbers(f"{name}: spacing", lengths, (dimension,))
    if not bool((steps > 0).all()):
        raise UsageError(f"{name}: spacing: expected lengths above 0 mm, got {steps.tolist()}")
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    axes = matrix[:-1, :-1] if direction is None else _numbers(f"{name}: direction", direction, (dimension,) * 2)
    matrix[:-1, :-1] = axes * steps
    if origin is not None:
        matrix[:-1, -1] = _numbers(f"{name}: origin", origin, (dimension,))
    return matrix


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> Tensor:
    """Return real numbers of this shape as a float64 tensor."""
    numbers = real_numbers(values, name, str(shape))
    if tuple(numbers.shape) != shape:
        raise UsageError(f"{name}: expected real numbers of shape {shape}, got {tuple(numbers.shape)}")
    return numbers


def to_numpy(data: Tensor, voxel_type: str, name: str) -> Array:
    """Return a copy of the voxels as an array of their type; bfloat16, which numpy lacks, becomes float32."""
    return own_array(data, np.dtype({"bfloat16": "float32"}.get(voxel_type, voxel_type)), name)


def own_array(data: Tensor, dtype: np.dtype[Any], name: str) -> Array:
    """Return a copy of the voxels as an array of `dtype`."""
    voxels = encode_voxels(data, dtype, name)
    return voxels.copy(order="K") if np.may_share_memory(voxels, data.detach().cpu().numpy()) else voxels


def own_voxels(array: Array, grid: Grid, name: str, scaling: Scaling = UNSCALED) -> Voxels:
    """Return a copy of an array, of the shape of `grid`, as voxels; raise `UsageError` unless it has real numbers."""
    if array.dtype.kind not in "biuf":
        kind = {"c": "complex numbers", "V": "colours or records", "O": "objects"}.get(array.dtype.kind, "no numbers")
        raise UsageError(f"{name}: expected {ONE_NUMBER}, got {kind} ({array.dtype})")
    own = np.array(array.reshape(grid.shape, order="F"), order="K", copy=True)
    if own.dtype.kind == "b":
        return Voxels(torch.from_numpy(own), grid, None)
    try:
        data, stored_type = voxels_to_tensor(own, scaling)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return Voxels(data, grid, stored_type)


def named_grid(shape: Sequence[int], matrix: Tensor, name: str) -> Grid:
    """Return a grid; a `DataError` about it names the image."""
    try:
        return Grid(tuple(shape), matrix)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
