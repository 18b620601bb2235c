"""Lines over the planes of the viewer: the deformation grid, and contours of masks and labels, as pictures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields import StoredTransform
from nephi.geometry import Grid, interpolate_nearest
from nephi.images import Image
from nephi.report.charts import round_step
from nephi.report.html import png_bytes
from nephi.report.pictures import draw_grid_lines
from nephi.report.planes import Planes, plane_through

KINDS = ("grid", "contours")
SIDE = 480  # pixels of the longest edge of a picture
GRID_LINES = 20  # of the deformation grid along the longest edge
COLOURS = {"grid": (255, 255, 255), "fixed": (90, 230, 110), "moving": (255, 160, 40)}
GRID_OPACITY = 0.75


@dataclass(frozen=True, eq=False)
class Contour:
    """A mask or a label map whose contours are shown; `side` is the image to which it belongs, fixed or moving."""

    image: Image
    side: str


class LinePictures:
    """Pictures of lines on planes of the fixed image's world: transparent but for the lines.

    Contours of the moving side are warped: they lie where its regions are after the registration.
    """

    def __init__(self, stored: StoredTransform, contours: Collection[Contour]) -> None:
        self._stored = stored
        self._contours = list(contours)
        self._planes = {p.view.name: p for p in _centre_planes(stored.fixed_grid)}
        longest = max(max(p.width, p.height) * p.pixel for p in self._planes.values())
        self.spacing = round_step(longest / GRID_LINES)

    def table(self) -> dict[str, Any]:
        """Return where pictures lie, by the names of the views, the spacing of the grid in mm, and the contours."""
        return {
            "spacing": self.spacing,
            "contours": [contour.side for contour in self._contours],
            "colours": COLOURS,
            "views": {name: _view_table(planes) for name, planes in self._planes.items()},
        }

    @torch.no_grad()
    def picture(self, view: str, position: float, kinds: Collection[str]) -> bytes:
        """Return the lines of `kinds` in the plane of a view at `position` (mm along its normal; ignored in 2-D).

        The result is a PNG file.
        Raises `UsageError` for unknown views and kinds.
        """
        if view not in self._planes:
            raise UsageError(f"view: expected one of {', '.join(self._planes)}, got {view!r}")
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise UsageError(f"kinds: expected some of {', '.join(KINDS)}, got {', '.join(unknown)}")
        planes = self._planes[view]
        normal = planes.view.normal
        points = planes.points(0)
        if normal is not None:
            points[..., normal] = position
        mapped = self._stored.transform(points)
        inside = _inside(self._stored.fixed_grid, points)
        visible = np.asarray(inside.numpy(), np.float64)
        pixels = np.zeros((planes.height, planes.width, 4), np.uint8)
        if "grid" in kinds:
            _paint(pixels, COLOURS["grid"], self._grid_lines(planes, mapped) * GRID_OPACITY * visible)
        if "contours" in kinds:
            for contour in self._contours:
                labels = _labels_at(contour.image, points if contour.side == "fixed" else mapped, inside)
                _paint(pixels, COLOURS[contour.side], np.where(outline(labels), 255.0, 0.0))
        return png_bytes(pixels)

    def _grid_lines(self, planes: Planes, mapped: Tensor) -> NDArray[np.uint8]:
        """Return the deformation grid without its affine part, as the report page draws it."""
        without_affine = self._stored.affine.inverse()(mapped)
        return draw_grid_lines(without_affine[..., [planes.view.right, planes.view.down]].numpy(), self.spacing)


def outline(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the pixels `(H, W)` inside of a label (not 0) that touch another label, or 0, or the border."""
    padded = np.pad(labels, 1)
    centre = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (centre != 0) & np.any([centre != neighbour for neighbour in neighbours], axis=0)


def _centre_planes(grid: Grid) -> list[Planes]:
    return plane_through(grid, SIDE, grid.centre_world())


def _view_table(planes: Planes) -> dict[str, Any]:
    """Return the world axes of a picture, and the coordinates along them of its top left and bottom right corner."""
    first = [float(planes.first[axis]) for axis in (planes.view.right, planes.view.down)]
    start = [value + planes.pixel / 2 for value in first]
    return {
        "axes": [planes.view.right, planes.view.down],
        "normal": planes.view.normal,
        "start": start,
        "end": [start[0] - planes.pixel * planes.width, start[1] - planes.pixel * planes.height],
    }


def _inside(grid: Grid, points: Tensor) -> Tensor:
    return grid.contains_voxel_points(grid.world_to_voxel_points(points))


def _labels_at(image: Image, points: Tensor, inside: Tensor) -> NDArray[np.int64]:
    """Return the nearest label at world points, 0 outside of the label map, and outside of `inside`."""
    voxels = image.grid.world_to_voxel_points(points)
    labels = interpolate_nearest(image.data, voxels).round().long()
    labels = labels * (inside & image.grid.contains_voxel_points(voxels))
    return np.asarray(labels.numpy(), np.int64)


def _paint(pixels: NDArray[np.uint8], colour: tuple[int, int, int], opacity: NDArray[np.float64]) -> None:
    """Paint `colour` where `opacity` (0 to 255) exceeds that of the pixel."""
    stronger = opacity > pixels[..., 3]
    pixels[stronger, :3] = colour
    pixels[..., 3] = np.where(stronger, opacity, pixels[..., 3]).round().astype(np.uint8)
