"""What a registration looks like on planes: images, determinants, the deformed lattice; asked for there alone.

The transform is a function of points, so a few planes cost a few planes: no dense field is made or read back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nephi.geometry import determinant, interpolate
from nephi.images import Image
from nephi.report.lattice import lattice_lines
from nephi.report.planes import Planes
from nephi.report.result import RegistrationResult

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of the planes of one view, each `(planes, height, width)`.

    fixed, before (the moving image where its header places it), after (the moving image through the transform): grey
    values 0 to 255 over the intensity windows of the fit, 0 beyond the image. determinants: of the whole transform's
    Jacobian, float32, NaN beyond the fixed grid. lattice: how strongly a line of the deformed lattice covers the pixel.
    """

    planes: Planes
    fixed: Bytes
    before: Bytes
    after: Bytes
    determinants: NDArray[np.float32]
    lattice: Bytes

    @property
    def folds(self) -> list[int]:
        """How many pixels of each plane lie in a fold."""
        return [int((plane <= 0).sum()) for plane in self.determinants]


def picture(registration: RegistrationResult, planes: Planes, spacing: float) -> Pictures:
    """Return pictures of a registration on `planes`; the lattice has lines every `spacing` mm."""
    each = [_plane(registration, planes, i, spacing) for i in range(len(planes.positions))]
    return Pictures(planes, *(np.stack(layer) for layer in zip(*each, strict=True)))


@torch.no_grad()
def _plane(
    registration: RegistrationResult, planes: Planes, index: int, spacing: float
) -> tuple[NDArray[np.generic], ...]:
    pair = registration.pair
    points = planes.points(index)
    moved, jacobian = registration.transform.value_and_jacobian(points)
    fixed, inside = _seen(pair.fixed, pair.fixed_window, points)
    before, after = (_seen(pair.moving, pair.moving_window, p)[0] * inside for p in (points, moved))
    # With the affine part taken off, what is left of the map shows as bent lines, not as a lattice out of the picture.
    left = registration.stored.affine.inverse()(moved)
    axes = [planes.view.right, planes.view.down]
    return (
        *(layer.to(torch.uint8).numpy() for layer in (fixed, before, after)),
        torch.where(inside, determinant(jacobian), torch.nan).numpy(),
        lattice_lines(left[..., axes].numpy(), spacing) * inside.numpy(),
    )


def _seen(image: Image, window: tuple[float, float], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return grey values 0 to 255 at world points, 0 beyond the image; and which points lie in it."""
    voxels = image.grid.world_to_voxel_points(points)
    inside = image.grid.contains_voxel_points(voxels)
    return (interpolate(image.data, voxels, window) * 255).round() * inside, inside
