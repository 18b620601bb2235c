"""Pictures of a registration on planes: images before and after, Jacobian determinants, the deformation grid.

The transform is evaluated at the pixels of these planes only; no dense field is computed or read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nephi.geometry import determinant, interpolate
from nephi.images import Image
from nephi.metrics import is_folded
from nephi.report.planes import Planes
from nephi.report.result import RegistrationResult

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of the planes of one view, each `(planes, height, width)`.

    fixed, before (the unregistered moving image), after (the warped moving image): grey values 0 to 255 over the
    intensity windows of the fit, 0 outside of the image. determinants: of the whole transform's Jacobian, relative to a
    reflection if its affine part is one, float32, NaN outside of the fixed grid. grid_lines: coverage of each pixel by
    a line of the deformation grid, 0 to 255.
    """

    planes: Planes
    fixed: Bytes
    before: Bytes
    after: Bytes
    determinants: NDArray[np.float32]
    grid_lines: Bytes

    @property
    def folds(self) -> list[int]:
        """Number of folded pixels of each plane."""
        return [int(is_folded(plane).sum()) for plane in self.determinants]


def sample_pictures(registration: RegistrationResult, planes: Planes, spacing: float) -> Pictures:
    """Sample a registration on `planes`; the deformation grid has lines every `spacing` mm."""
    by_plane = [_sample_plane(registration, planes, index, spacing) for index in range(len(planes.positions))]
    return Pictures(planes, *(np.stack(layer) for layer in zip(*by_plane, strict=True)))


@torch.no_grad()
def _sample_plane(
    registration: RegistrationResult, planes: Planes, index: int, spacing: float
) -> tuple[NDArray[np.generic], ...]:
    pair = registration.pair
    points = planes.points(index)
    displaced, jacobian = registration.transform.value_and_jacobian(points)
    fixed, inside = _grey_values(pair.fixed, pair.fixed_window, points)
    before, after = (_grey_values(pair.moving, pair.moving_window, p)[0] * inside for p in (points, displaced))
    # Without its affine part the deformation shows as bent lines; with it, large shifts would hide them.
    without_affine = registration.stored.affine.inverse()(displaced)
    axes = [planes.view.right, planes.view.down]
    return (
        *(layer.to(torch.uint8).numpy() for layer in (fixed, before, after)),
        torch.where(inside, registration.stored.handedness * determinant(jacobian), torch.nan).numpy(),
        draw_grid_lines(without_affine[..., axes].numpy(), spacing) * inside.numpy(),
    )


def _grey_values(image: Image, window: tuple[float, float], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return grey values 0 to 255 at world points, 0 outside of the image, and which points lie inside."""
    voxels = image.grid.world_to_voxel_points(points)
    inside = image.grid.contains_voxel_points(voxels)
    return (interpolate(image.data, voxels, window) * 255).round() * inside, inside


def draw_grid_lines(coordinates: NDArray[np.float32], spacing: float) -> NDArray[np.uint8]:
    """Return the coverage 0 to 255 of each pixel `(H, W)` by lines of the deformation grid.

    `coordinates` `(H, W, 2)`, mm, are the mapped points of the pixels; lines run where one of them is a multiple of
    `spacing`. They are one pixel wide, with soft borders.
    """
    coverage = np.zeros(coordinates.shape[:2], dtype=np.float32)
    for i in range(2):
        phase = coordinates[..., i] / spacing
        slopes = [np.gradient(phase, axis=a) if phase.shape[a] > 1 else np.zeros_like(phase) for a in (0, 1)]
        distance = np.abs(phase - np.round(phase)) / np.maximum(np.hypot(*slopes), 1e-6)  # pixels to the nearest line
        coverage = np.maximum(coverage, np.clip(1.25 - distance, 0, 1))
    return np.round(coverage * 255).astype(np.uint8)
