"""What the viewer shows: a folder of results, and the two images that they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.documents import read_json
from nephi.errors import DataError
from nephi.fields import StoredTransform, read_nephi
from nephi.geometry import Grid, PointPairs, determinant, interpolate
from nephi.images import Image, resample
from nephi.io import read_image
from nephi.metrics import landmark_errors
from nephi.preparation import intensity_window
from nephi.settings import settings_from_table

Table = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Study:
    """A registration read back from its folder, with its images and landmarks (world mm, RAS)."""

    stored: StoredTransform
    fixed: Image
    moving: Image
    warped: Image
    landmarks: PointPairs | None

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return self.fixed.dimension

    def windows(self) -> dict[str, tuple[float, float]]:
        """Return the intensities that span the grey values, for each image: the window of the fit, masks aside."""
        settings = settings_from_table(self.stored.settings, "transform.nephi").image
        fixed, moving = (intensity_window(_filled(image), None, settings) for image in (self.fixed, self.moving))
        return {"fixed": fixed, "moving": moving, "warped": moving}

    @torch.no_grad()
    def values_at(self, point: Tensor) -> Table:
        """Return what lies at a world point `(D,)` (mm, RAS), asked of images and transform at that very point.

        fixed, moving: the image where its header places it; warped: the moving image at phi(point), where `moved` is;
        jacobian: det J; displacement: |phi(point) - point| in mm. None beyond the image, or beyond the fixed grid, and
        where a value is not finite.
        """
        points = point[None]
        moved, jacobian = self.stored.transform.value_and_jacobian(points)
        inside = _inside(self.fixed.grid, points)
        return {
            "fixed": _value(self.fixed, points),
            "moving": _value(self.moving, points),
            "warped": _value(self.moving, moved) if inside else None,
            "jacobian": _finite(determinant(jacobian)) if inside else None,
            "displacement": _finite((moved - points).norm()) if inside else None,
            "moved": moved[0].tolist() if inside and bool(moved.isfinite().all()) else None,
        }

    def landmark_table(self) -> list[Table]:
        """Return for each landmark its places in three coordinates (2-D: z = 0) and its error before and after in mm.

        fixed and moving are the pair as given; mapped is where the transform takes the fixed point.
        """
        if self.landmarks is None:
            return []
        pairs, transform = self.landmarks, self.stored.transform
        errors = landmark_errors(transform, pairs)
        places = (pairs.fixed, pairs.moving, pairs.fixed.mapped(transform))
        columns = [
            pairs.fixed.ids,
            *(_in_space(p.coordinates) for p in places),
            errors.before.tolist(),
            errors.after.tolist(),
        ]
        names = ("id", "fixed", "moving", "mapped", "before", "after")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def read_study(folder: Path, fixed: Path | None, moving: Path | None, landmarks: PointPairs | None) -> Study:
    """Read a folder that `nephi register` wrote; `fixed` and `moving` say where the images are, if not where they were.

    Raises `DataError` for missing or damaged results, images that are not found or lie on other grids than those
    registered, and landmarks of another dimension.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one that nephi register wrote")
    stored = read_nephi(folder / "transform.nephi")
    names = _names(folder) if fixed is None or moving is None else {}
    images = [
        _image(given or _place(folder, names, role), role, grid)
        for role, given, grid in (("fixed", fixed, stored.fixed_grid), ("moving", moving, stored.moving_grid))
    ]
    warped = _warped(folder / "warped.nii.gz", stored, images[1])
    dimension = stored.transform.dimension
    if landmarks is not None and landmarks.fixed.dimension != dimension:
        raise DataError(f"landmarks: expected {dimension}-D as the images are, found {landmarks.fixed.dimension}-D")
    return Study(stored, images[0], images[1], warped, landmarks)


def _names(folder: Path) -> Table:
    """Return the report, for what the images were called when they were registered."""
    path = folder / "report.json"
    try:
        report = read_json(path, "the report of a registration")
    except DataError as error:
        raise DataError(f"{error}; give --fixed and --moving") from None
    if not isinstance(report, dict) or not all(isinstance(report.get(n), str) for n in ("fixed", "moving")):
        raise DataError(f"{path}: it does not tell where the images are; give --fixed and --moving")
    return report


def _place(folder: Path, names: Table, role: str) -> Path:
    """Return where an image is: as told, beside the folder (told from there), or kept in it as `nephi demo` does."""
    told = Path(names[role])
    for path in (told, folder.absolute().parent / told, folder / f"{role}.nii.gz"):
        if path.exists():
            return path
    raise DataError(f"{told}: the {role} image is no longer there; give the place where it is with --{role}")


def _image(path: Path, role: str, grid: Grid) -> Image:
    image = read_image(path)
    if not image.grid.same_as(grid):
        raise DataError(f"{path}: not the {role} image of this registration, it lies on another grid; give --{role}")
    return image


def _warped(path: Path, stored: StoredTransform, moving: Image) -> Image:
    """Return the warped image, made once more where it was not saved."""
    if path.exists():
        return _image(path, "warped", stored.fixed_grid)
    settings = settings_from_table(stored.settings, "transform.nephi").image
    return resample(moving, stored.fixed_grid, stored.transform, "linear", settings.outside)


def _inside(grid: Grid, points: Tensor) -> bool:
    return bool(grid.contains_voxel_points(grid.world_to_voxel_points(points))[0])


def _value(image: Image, points: Tensor) -> float | None:
    """Return the image at a world point `(1, D)`, linearly interpolated, or None beyond it and where it has none."""
    if not _inside(image.grid, points):
        return None
    return _finite(interpolate(image.data, image.grid.world_to_voxel_points(points))[0])


def _filled(image: Image) -> Image:
    """Return the image with its smallest value where it has none: images of another file than was registered may."""
    there = image.data.isfinite()
    if bool(there.all()):
        return image
    smallest = image.data[there].amin() if bool(there.any()) else 0.0
    return image.with_data(torch.where(there, image.data, smallest))


def _finite(value: Tensor) -> float | None:
    """Return a value, or None for NaN and infinity, which JSON does not know."""
    number = float(value)
    return number if math.isfinite(number) else None


def _in_space(points: Tensor) -> list[list[float]]:
    """Return points `(N, D)` with three coordinates each: 2-D images lie in the plane z = 0."""
    return torch.nn.functional.pad(points, (0, 3 - points.shape[-1])).tolist()
