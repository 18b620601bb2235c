"""Data of the viewer: a folder of results and the two images that were registered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
from nephi.io import located_path, read_image
from nephi.metrics import label_numbers, landmark_errors
from nephi.preparation import intensity_window
from nephi.report.keypoints import RecordedKeypoints, recorded_keypoints
from nephi.report.viewer.lines import Contour
from nephi.settings import settings_from_table

Table = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Study:
    """A registration read from its folder, with its images, and landmarks or recorded keypoints (world mm, RAS).

    `contours` are masks and label maps of either image.
    """

    stored: StoredTransform
    fixed: Image
    moving: Image
    warped: Image
    landmarks: PointPairs | None
    keypoints: RecordedKeypoints | None = None
    contours: tuple[Contour, ...] = ()

    @property
    def points_name(self) -> str:
        """Return what the points of `landmark_table` are."""
        return "keypoints" if self.landmarks is None and self.keypoints is not None else "landmarks"

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return self.fixed.dimension

    def windows(self) -> dict[str, tuple[float, float]]:
        """Return the intensities of black and white for each image: the window of the fit, computed without masks."""
        settings = settings_from_table(self.stored.settings, "transform.nephi").image
        fixed, moving = (intensity_window(_filled(image), None, settings) for image in (self.fixed, self.moving))
        return {"fixed": fixed, "moving": moving, "warped": moving}

    @torch.no_grad()
    def values_at(self, point: Tensor) -> Table:
        """Evaluate images and transform at a world point `(D,)` (mm, RAS).

        fixed, moving: the image at the point; warped: the moving image at phi(point); moved: phi(point); jacobian:
        det J; displacement: |phi(point) - point| in mm. Values are None outside of their image, or of the fixed grid,
        and where they are not finite.
        """
        points = point[None]
        displaced, jacobian = self.stored.transform.value_and_jacobian(points)
        inside = _inside(self.fixed.grid, points)
        return {
            "fixed": _value(self.fixed, points),
            "moving": _value(self.moving, points),
            "warped": _value(self.moving, displaced) if inside else None,
            "jacobian": _finite(determinant(jacobian)) if inside else None,
            "displacement": _finite((displaced - points).norm()) if inside else None,
            "moved": displaced[0].tolist() if inside and bool(displaced.isfinite().all()) else None,
        }

    def landmark_table(self) -> list[Table]:
        """Return for each landmark its points, with three coordinates (2-D: z = 0), and its error before and after, mm.

        fixed and moving are the pair; mapped is the fixed point mapped by the transform. Without landmarks the rows are
        those of the recorded keypoints, if there are any. `size` is 1, or grows from 0.4 to 1 with a keypoint's weight.
        """
        if self.landmarks is not None:
            pairs, sizes = self.landmarks, [1.0] * len(self.landmarks)
        elif self.keypoints is not None:
            pairs, sizes = self.keypoints.pairs, [0.4 + 0.6 * weight for weight in self.keypoints.weights]
        else:
            return []
        transform = self.stored.transform
        errors = landmark_errors(transform, pairs)
        points = (pairs.fixed, pairs.moving, pairs.fixed.mapped(transform))
        columns = [
            pairs.fixed.ids,
            *(_three_coordinates(p.coordinates) for p in points),
            errors.before.tolist(),
            errors.after.tolist(),
            sizes,
        ]
        names = ("id", "fixed", "moving", "mapped", "before", "after", "size")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def read_study(
    folder: Path,
    fixed: Path | None,
    moving: Path | None,
    landmarks: PointPairs | None,
    labels: Mapping[str, Path | None] | None = None,
) -> Study:
    """Read a folder written by `nephi register`; `fixed` and `moving` replace the paths of images that have moved.

    `labels` are the paths of masks or label maps of the `fixed` and the `moving` image, on any grid in its world. For a
    side without one, the mask of the registration is read if its file still exists.

    Raises `DataError` for missing or damaged results, images that are missing or lie on other grids than those
    registered, and landmarks of another dimension.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one that nephi register wrote")
    stored = read_nephi(folder / "transform.nephi")
    report = _read_report(folder) if fixed is None or moving is None else {}
    images = [
        _read_image_on(path or _find_image(folder, report, role), role, grid)
        for role, path, grid in (("fixed", fixed, stored.fixed_grid), ("moving", moving, stored.moving_grid))
    ]
    warped = _read_or_warp(folder / "warped.nii.gz", stored, images[1])
    dimension = stored.transform.dimension
    if landmarks is not None and landmarks.fixed.dimension != dimension:
        raise DataError(f"landmarks: expected {dimension}-D like the images, found {landmarks.fixed.dimension}-D")
    contours = tuple(_contours(folder, labels or {}, dimension))
    keypoints = recorded_keypoints(stored.about, dimension)
    return Study(stored, images[0], images[1], warped, landmarks, keypoints, contours)


def _contours(folder: Path, labels: Mapping[str, Path | None], dimension: int) -> Iterator[Contour]:
    """Yield the given label maps, and the recorded masks of sides without one; errors as in `read_study`."""
    for side in ("fixed", "moving"):
        path = labels.get(side)
        if path is not None:
            image = read_image(path)
            if image.dimension != dimension:
                raise DataError(f"{path}: expected {dimension}-D labels like the images, found {image.dimension}-D")
            label_numbers(image)
            yield Contour(image, side)
        elif (path := _recorded_mask(folder, side)) is not None:
            mask = read_image(path)
            yield Contour(mask.with_data((mask.data > 0).to(torch.uint8)), side)


def _recorded_mask(folder: Path, side: str) -> Path | None:
    """Return the path of the mask that was used, or that `nephi demo` stored; None without one, or where it is gone."""
    try:
        files = _read_report(folder).get("files")
    except DataError:
        return None
    files = files if isinstance(files, dict) else {}
    recorded, candidates = files.get(f"{side}_mask"), [folder / f"{side}_mask.nii.gz"]
    if isinstance(recorded, str):
        candidates.insert(0, located_path(recorded, folder))
    return next((path for path in candidates if path.is_file()), None)


def _read_report(folder: Path) -> Table:
    """Read the report, which contains the paths of the registered images."""
    path = folder / "report.json"
    try:
        report = read_json(path, "the report of a registration")
    except DataError as error:
        raise DataError(f"{error}; give --fixed and --moving") from None
    if not isinstance(report, dict) or not all(isinstance(report.get(n), str) for n in ("fixed", "moving")):
        raise DataError(f"{path}: expected the paths of the fixed and the moving image; give --fixed and --moving")
    return report


def _find_image(folder: Path, report: Table, role: str) -> Path:
    """Return the path of an image: that of the report, or in the folder itself, where `nephi demo` stores its images.

    Reports of earlier versions record it relative to the current folder: it is also looked for next to the folder.
    """
    files = report.get("files")
    recorded = files.get(role) if isinstance(files, dict) else None
    path = located_path(recorded, folder) if isinstance(recorded, str) else Path(report[role])
    for candidate in (path, folder.absolute().parent / report[role], folder / f"{role}.nii.gz"):
        if candidate.exists():
            return candidate
    raise DataError(f"{path}: the {role} image no longer exists; give its new path with --{role}")


def _read_image_on(path: Path, role: str, grid: Grid) -> Image:
    """Read an image; raise `DataError` unless it lies on `grid`."""
    image = read_image(path)
    if not image.grid.same_as(grid):
        raise DataError(f"{path}: not the {role} image of this registration: its grid differs; give --{role}")
    return image


def _read_or_warp(path: Path, stored: StoredTransform, moving: Image) -> Image:
    """Read the warped image, or compute it where it was not saved."""
    if path.exists():
        return _read_image_on(path, "warped", stored.fixed_grid)
    settings = settings_from_table(stored.settings, "transform.nephi").image
    return resample(moving, stored.fixed_grid, stored.transform, "linear", settings.outside)


def _inside(grid: Grid, points: Tensor) -> bool:
    return bool(grid.contains_voxel_points(grid.world_to_voxel_points(points))[0])


def _value(image: Image, points: Tensor) -> float | None:
    """Return the image at a world point `(1, D)`, linearly interpolated; None outside of it and where not finite."""
    if not _inside(image.grid, points):
        return None
    return _finite(interpolate(image.data, image.grid.world_to_voxel_points(points))[0])


def _filled(image: Image) -> Image:
    """Replace NaN and infinity, which a file other than the registered one may contain, by the smallest value."""
    finite = image.data.isfinite()
    if bool(finite.all()):
        return image
    smallest = image.data[finite].amin() if bool(finite.any()) else 0.0
    return image.with_data(torch.where(finite, image.data, smallest))


def _finite(value: Tensor) -> float | None:
    """Return a value, or None for NaN and infinity, which JSON cannot represent."""
    number = float(value)
    return number if math.isfinite(number) else None


def _three_coordinates(points: Tensor) -> list[list[float]]:
    """Return points `(N, D)` with three coordinates each; points of 2-D images have z = 0."""
    return torch.nn.functional.pad(points, (0, 3 - points.shape[-1])).tolist()
