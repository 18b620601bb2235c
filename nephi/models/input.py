"""The input of a model: an image resampled to the model's box, with values from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, PointMap
from nephi.images import Image, ImageSampler, smoothed
from nephi.metrics import inside_mask, slab_inside
from nephi.preparation import find_mask, intensity_window, ranked_window
from nephi.settings import ImageSettings
from nephi.settings.validation import LARGEST, SMALLEST
from nephi.tables import short_repr
from nephi.transforms import AffineTransform

MASKS = ("none", "given", "lungs", "foreground")
OUTSIDES = ("shown", "dark", "bright")
CENTRES = ("image", "mask")
EXTENTS = ("fixed", "image")
PERCENTILES_OF = ("foreground", "image")
SMOOTHINGS = ("gaussian", "none")
LARGEST_SIZE = 2**31  # voxels
FWHM = (8 * math.log(2)) ** 0.5  # full width at half maximum of a Gaussian, in standard deviations


@dataclass(frozen=True)
class InputSettings:
    """How images are resampled to the input of a model; stored with the model.

    shape, spacing: voxels of the model's box along each axis and their distance in mm; the axes are the world's (RAS).
    window: `(low, high)` becomes (0, 1), values beyond are clamped; empty: computed for each image from `percentiles`.
    percentiles_of: `foreground`: percentiles of the voxels above the minimum, inside the mask if there is one; `image`:
        of all voxels, as published models compute them (see `ranked_window`).
    highest: value of the upper end of the window, above 0, at most 1.
    mask: `none`; `given`: each image must come with a mask; `lungs` (segmented automatically) or `foreground` (voxels
        above the minimum) for images that come without a mask.
    outside_mask: voxels outside the mask are `shown`, or set to `dark` (0), like the background of a head, or `bright`
        (1), like the tissue around the lungs.
    centre: the centre of the `image`, or of the foreground of its `mask`, lies at the centre of the model's box.
    extent: `fixed`: the box covers `shape * spacing` mm of the image's world; `image`: the image's field of view (the
        bounding box along the world's axes of all voxels) is scaled to the box, each axis by its own factor. Lengths in
        mm of the model are then those of its box.
    smoothing: `gaussian`: images of smaller voxels than the model's are smoothed to the width of its voxels first;
        `none`: window and mask are applied to the voxels of the image, which are then interpolated linearly, as
        published models do it.
    """

    shape: tuple[int, ...] = (96, 96, 96)
    spacing: tuple[float, ...] = (4.0, 4.0, 4.0)
    window: tuple[float, ...] = ()
    percentiles: tuple[float, float] = (0.5, 99.5)
    mask: str = "none"
    outside_mask: str = "shown"
    centre: str = "image"
    extent: str = "fixed"
    percentiles_of: str = "foreground"
    highest: float = 1.0
    smoothing: str = "gaussian"

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 2:
            raise UsageError(
                f"input.shape: expected 2 or 3 numbers of voxels of at least 2, got {short_repr(self.shape)}"
            )
        if math.prod(self.shape) > LARGEST_SIZE:
            raise UsageError(f"input.shape: expected at most {LARGEST_SIZE} voxels, got {short_repr(self.shape)}")
        if len(self.spacing) != len(self.shape) or not all(SMALLEST <= s <= LARGEST for s in self.spacing):
            raise UsageError(
                f"input.spacing: expected {len(self.shape)} lengths in mm above 0, got {short_repr(self.spacing)}"
            )
        if self.window and (len(self.window) != 2 or not -LARGEST <= self.window[0] < self.window[1] <= LARGEST):
            raise UsageError(f"input.window: expected two numbers, low below high, got {short_repr(self.window)}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise UsageError(f"input.percentiles: expected 0 <= low < high <= 100, got {self.percentiles}")
        if not 0.01 <= self.highest <= 1:
            raise UsageError(f"input.highest: expected 0.01 to 1, got {self.highest}")
        allowed = {"mask": MASKS, "outside_mask": OUTSIDES, "centre": CENTRES, "extent": EXTENTS}
        allowed |= {"percentiles_of": PERCENTILES_OF, "smoothing": SMOOTHINGS}
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"input.{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.mask == "none" and (self.outside_mask != "shown" or self.centre == "mask"):
            setting = 'centre = "mask"' if self.outside_mask == "shown" else f'outside_mask = "{self.outside_mask}"'
            raise UsageError(f"input.mask: expected given, lungs or foreground for {setting}, got none")
        if self.extent == "image" and self.centre == "mask":
            raise UsageError('input.centre: expected "image" for extent = "image", got "mask"')

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return len(self.shape)

    @property
    def outside(self) -> float:
        """Value of moved images beyond the border of the model's box: 1 for bright surroundings, else 0."""
        return float(self.outside_mask == "bright")


class ModelInput(NamedTuple):
    """One image as the input of a model.

    `values` `(1, *shape)`, float32 from 0 to 1, lie on `input_grid`; `mask` `(1, *shape)`, uint8, is 1 inside the mask,
    None for settings without one. `to_world` is the homogeneous `(D + 1, D + 1)` float64 matrix that maps points of the
    model's box to the image's world; both in mm, RAS. See `world_transform`.
    """

    values: Tensor
    mask: Tensor | None
    to_world: Tensor


def input_grid(settings: InputSettings) -> Grid:
    """Return the voxels of the model's box: along the world's axes (RAS), centred on the origin."""
    first = [-0.5 * (n - 1) * s for n, s in zip(settings.shape, settings.spacing, strict=True)]
    return Grid.from_spacing(settings.shape, settings.spacing, first)


def to_model_input(image: Image, mask: Image | None, settings: InputSettings) -> ModelInput:
    """Resample an image of any orientation and spacing to the model's box; values beyond its border are 0.

    `mask` (above 0 inside) lies in the image's world, on the image's grid or one of its own. Where the model's voxels
    are larger than the image's, the image is smoothed first by a Gaussian that accounts for the difference of their
    widths (Cardoso et al., MICCAI 2015), unless the settings are without smoothing.

    Raises `DataError` naming the image for one of another dimension, with NaN or without contrast, for a missing or
    empty mask, and when no lungs are found.
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
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        in_image = image.grid.contains_voxel_points(image.grid.world_to_voxel_points(points))
        values[0, ..., start:stop] = torch.where(in_image, sampler(points), 0.0)
        if mask is not None and inside is not None:
            inside[0, ..., start:stop] = inside_mask(mask, points)
    if smoothing:  # else the mask was applied to the voxels
        values = _fill_outside(values, inside, settings.outside_mask)
    return ModelInput(values, inside, to_world)


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
