"""Write transforms of elastix: parameter files of an affine map, and of cubic B-splines after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix, flip_points, require_perpendicular
from nephi.io.files.atomic import write_text
from nephi.transforms import AffineTransform, BSplineField

Value = str | int | Iterable[float]


def write_elastix_affine(path: str | Path, affine: AffineTransform, fixed: Grid) -> None:
    """Write an affine map (fixed to moving points, world mm, RAS) as `(Transform "AffineTransform")` in LPS.

    transformix resamples on the grid `fixed`; the centre of rotation is the world's origin.

    Raises `DataError` for a sheared grid, or when the file cannot be written.
    """
    d = affine.dimension
    lps = flip_matrix(d) @ affine.matrix @ flip_matrix(d)
    parameters = torch.cat([lps[:d, :d].reshape(-1), lps[:d, d]])
    special: dict[str, Value] = {"CenterOfRotationPoint": [0.0] * d}
    _write(Path(path), "AffineTransform", parameters, fixed, "NoInitialTransform", special)


def write_elastix_spline(path: str | Path, spline: BSplineField, fixed: Grid, initial: str) -> None:
    """Write cubic B-splines as `(Transform "BSplineTransform")`, applied after the transform of the file `initial`.

    `initial` is a file name in the same folder, `fixed` the grid on which transformix resamples.

    Raises `DataError` for a sheared grid, or when the file cannot be written.
    """
    d = spline.dimension
    require_perpendicular(spline.grid, path, "B-splines of elastix")
    # Components one after the other, the first voxel axis fastest.
    parameters = flip_points(spline.coefficients).permute(d, *reversed(range(d))).reshape(-1)
    special: dict[str, Value] = {
        "GridSize": list(spline.grid.shape),
        "GridIndex": [0] * d,
        **_geometry(spline.grid, "Grid"),
        "BSplineTransformSplineOrder": 3,
        "UseCyclicTransform": "false",
    }
    _write(Path(path), "BSplineTransform", parameters, fixed, initial, special)


def _write(path: Path, kind: str, parameters: Tensor, fixed: Grid, initial: str, special: Mapping[str, Value]) -> None:
    require_perpendicular(fixed, path, "a transform of elastix")
    d = fixed.dimension
    values: dict[str, Value] = {
        "Transform": kind,
        "NumberOfParameters": len(parameters),
        "TransformParameters": parameters.tolist(),
        "InitialTransformParameterFileName": initial,
        "HowToCombineTransforms": "Compose",
        "FixedImageDimension": d,
        "MovingImageDimension": d,
        "FixedInternalImagePixelType": "float",
        "MovingInternalImagePixelType": "float",
        "Size": list(fixed.shape),
        "Index": [0] * d,
        **_geometry(fixed, ""),
        "UseDirectionCosines": "true",
        **special,
        "ResampleInterpolator": "FinalBSplineInterpolator",
        "FinalBSplineInterpolationOrder": 3,
        "Resampler": "DefaultResampler",
        "DefaultPixelValue": 0,
        "ResultImageFormat": "nii.gz",
        "ResultImagePixelType": "short",
        "CompressResultImage": "true",
    }
    write_text(path, "".join(f"({name} {_text(value)})\n" for name, value in values.items()))


def _geometry(grid: Grid, prefix: str) -> dict[str, Value]:
    """Return spacing, origin and direction in LPS; elastix has the direction column by column."""
    direction = flip_points(grid.direction.T).reshape(-1)
    return {
        f"{prefix}Spacing": grid.spacing.tolist(),
        f"{prefix}Origin": flip_points(grid.origin).tolist(),
        f"{prefix}Direction": direction.tolist(),
    }


def _text(value: Value) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if isinstance(value, int) else " ".join(map(repr, value))
