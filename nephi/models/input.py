"""The input of a model: an image resampled to the model's box, with values from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, PointMap
from nephi.images import Image, ImageSampler, smoothed
from nephi.metrics import inside_mask, slab_inside
from nephi.models.input_settings import InputSettings, input_grid
from nephi.preparation import find_mask, intensity_window, ranked_window
from nephi.settings import ImageSettings
from nephi.transforms import AffineTransform

FWHM = (8 * math.log(2)) ** 0.5  # full width at half maximum of a Gaussian, in standard deviations


class ModelInput(NamedTuple):
    """One image as the input of a model.

    `values` `(1, *shape)`, float32 from 0 to 1, lie on `input_grid`; `mask` `(1, *shape)`, uint8, is 1 inside the mask,
    None for settings without one. `to_world` is the homogeneous `(D + 1, D + 1)` float64 matrix that maps points of the
    model's box to the image's world; both in mm, RAS. See `world_transform`.
    """

    values: Tensor
    mask: Tensor | None
    to_world: Tensor


def to_model_input(image: Image, mask: Image | None, settings: InputSettings) -> ModelInput:
    """Resample an image of any orientation and spacing to the model's box; values beyond its border are 0.

    `mask` (above 0 inside) lies in the image's world, on the image's grid or one of its own. Where the model's voxels
    are larger than the image's, the image is smoothed first by a Gaussian that accounts for the difference of their
    widths (Cardoso et al., MICCAI 2015), unless the settings are without smoothing.

    Raises `DataError` naming the image for one of another dimension, with NaN or without contrast, or so thin that no
    voxel centre of the box lies in it; for a missing or empty mask, and when no lungs are found.
    """
    _require_dimension(image, settings)
    image.require_finite()
    image.require_contrast()
    mask = input_mask(image, mask, settings)
    window = _intensity_window(image, mask, settings)
    to_world = _box_to_world(image, mask, settings)
    grid = input_grid(settings).transformed(to_world)
    smoothing = settings.smoothing == "gaussian"
    sampler = _smoothed(image, grid, window) if smoothing else _unsmoothed(image, mask, grid, window, settings)
    values = torch.empty(1, *grid.shape, dtype=torch.float32)
    inside = None if mask is None else torch.empty(1, *grid.shape, dtype=torch.uint8)
    is_shown = False
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        in_image = image.grid.contains_voxel_points(image.grid.world_to_voxel_points(points))
        values[0, ..., start:stop] = torch.where(in_image, sampler(points), 0.0)
        is_shown |= bool(in_image.any())
        if mask is not None and inside is not None:
            inside[0, ..., start:stop] = inside_mask(mask, points)
    if not is_shown:
        raise _too_thin(image, settings)
    if smoothing:  # else the mask was applied to the voxels
        values = _fill_outside(values, inside, settings.outside_mask)
    return ModelInput(values, inside, to_world)


def _too_thin(image: Image, settings: InputSettings) -> DataError:
    """Return the error for an image between the voxel centres of the box: the model would see nothing of it."""
    lengths = [n * spacing for n, spacing in zip(image.grid.shape, image.grid.spacing.tolist(), strict=True)]
    found, expected = (" x ".join(f"{length:g}" for length in each) for each in (lengths, settings.spacing))
    return DataError(
        f"{image.name}: expected an image that contains voxel centres of the model's box, {expected} mm apart, got one "
        f"of {found} mm, too thin for this model"
    )


def world_transform(phi: PointMap, fixed: ModelInput, moving: ModelInput) -> PointMap:
    """Return `x -> T_moving(phi(T_fixed^-1 x))`: a map of the model's box as a map from fixed to moving world points.

    `T` are the `to_world` of both inputs; points are `(..., D)`, mm. `phi` is evaluated in float32.
    """
    to_box = AffineTransform(fixed.to_world).inverse()
    to_moving = AffineTransform(moving.to_world)

    def transform(points: Tensor) -> Tensor:
        return to_moving(phi(to_box(points.double()).float()).double())

    return transform


def input_mask(image: Image, mask: Image | None, settings: InputSettings) -> Image | None:
    """Return the mask that `settings` require, segmented where none is given; None where no mask is used.

    Raises `DataError` for a missing or empty mask, or one of another dimension, and when no lungs are found.
    """
    if settings.mask == "none":
        return None
    if mask is None and settings.mask == "given":
        raise DataError(f'{image.name}: expected a mask for input.mask = "given", found none; pass one')
    if mask is None:
        return find_mask(image, settings.mask)
    if mask.dimension != image.dimension:
        raise DataError(f"{mask.name}: expected a {image.dimension}-D mask like its image, found {mask.dimension}-D")
    return mask


def _require_dimension(image: Image, settings: InputSettings) -> None:
    if image.dimension != settings.dimension:
        raise DataError(
            f"{image.name}: expected a {settings.dimension}-D image, the dimension of the model, got a "
            f"{image.dimension}-D one"
        )


def _intensity_window(image: Image, mask: Image | None, settings: InputSettings) -> tuple[float, float]:
    """Return the intensities that become 0 and 1 in the model's input."""
    if not settings.window and settings.percentiles_of == "image":
        low, high = ranked_window(image, settings.percentiles)
    else:
        images = ImageSettings(window=settings.window, percentiles=settings.percentiles)
        low, high = intensity_window(image, mask, images)
    return low, low + (high - low) / settings.highest


def _box_to_world(image: Image, mask: Image | None, settings: InputSettings) -> Tensor:
    """Return the affine matrix `(D + 1, D + 1)` from the model's box to the image's world."""
    matrix = torch.eye(settings.dimension + 1, dtype=torch.float64)
    matrix[:-1, -1] = image.grid.centre_world()
    if mask is not None and settings.centre == "mask":
        matrix[:-1, -1] = mask.grid.voxel_to_world_points(mask.foreground.centre)
    if settings.extent == "image":
        voxels = torch.tensor(image.grid.shape, dtype=torch.float64)
        field_of_view = image.grid.affine[:-1, :-1].abs() @ voxels
        box = torch.tensor(settings.shape, dtype=torch.float64) * torch.tensor(settings.spacing, dtype=torch.float64)
        matrix[:-1, :-1] = torch.diag(field_of_view / box)
    return matrix


def _fill_outside(values: Tensor, inside: Tensor | None, outside: str) -> Tensor:
    """Set the values outside the mask as `outside_mask` requires."""
    if inside is None or outside == "shown":
        return values
    return torch.where(inside > 0, values, float(outside == "bright"))


def _unsmoothed(
    image: Image, mask: Image | None, grid: Grid, window: tuple[float, float], settings: InputSettings
) -> ImageSampler:
    """Return a sampler of the image for points of `grid`, its voxels windowed and masked before the interpolation."""
    part, (low, high) = _crop_around(image, grid, torch.zeros(grid.dimension, dtype=torch.float64)), window
    values = ((part.data.float() - low) / (high - low)).clamp(0, 1)
    if mask is not None:
        for start, stop in part.grid.slabs():
            inside = slab_inside(mask, part.grid, start, stop)
            values[..., start:stop] = _fill_outside(values[..., start:stop], inside, settings.outside_mask)
    return ImageSampler(replace(part, data=values))


def _smoothed(image: Image, grid: Grid, window: tuple[float, float]) -> ImageSampler:
    """Return a sampler of the image for points of `grid`, smoothed to the distance of its voxels."""
    # The distance along each of the image's axes over which an index of `grid` changes by 1.
    distances = 1 / grid.world_to_voxel_vectors(image.grid.direction.T).norm(dim=-1)
    sigma = (distances.square() - image.grid.spacing.square()).clamp_min(0).sqrt() / FWHM
    part = _crop_around(image, grid, 4 * sigma / image.grid.spacing)
    if not bool((sigma > 0.1 * image.grid.spacing).any()):
        return ImageSampler(part, window)
    return ImageSampler(smoothed(part, sigma, window))


def _crop_around(image: Image, grid: Grid, margin: Tensor) -> Image:
    """Return the part of the image that covers `grid` and `margin` `(D,)` voxels more at each side, as a view."""
    corners = image.grid.world_to_voxel_points(grid.corners_world())
    last = torch.tensor(image.grid.shape, dtype=torch.int64) - 1
    low = (corners.amin(dim=0) - margin - 1).floor().long().clamp(min=torch.zeros_like(last), max=last)
    high = (corners.amax(dim=0) + margin + 1).ceil().long().clamp(min=low, max=last) + 1
    box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    affine = image.grid.affine.clone()
    affine[:-1, -1] = image.grid.voxel_to_world_points(low)
    data = image.data[box]
    return replace(image, data=data, grid=Grid(tuple(data.shape), affine))
