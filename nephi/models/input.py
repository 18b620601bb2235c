"""What a network sees of an image: voxels of its own, around a centre, with values from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler, smoothed
from nephi.metrics import inside_mask
from nephi.preparation import find_mask, intensity_window
from nephi.settings import ImageSettings

MASKS = ("none", "given", "lungs", "foreground")
OUTSIDES = ("shown", "dark", "bright")
CENTRES = ("image", "mask")
WIDTH = (8 * math.log(2)) ** 0.5  # of a Gaussian at half its height, in standard deviations


@dataclass(frozen=True)
class FrameSettings:
    """How images are brought to what a network sees; part of its model.

    shape, spacing: voxels along each axis and their distance in mm; they lie along the world's axes (RAS).
    window: `(low, high)` that becomes (0, 1), values beyond are clamped; empty: taken from each image by `percentiles`
        of its foreground (voxels above the minimum, inside the mask when there is one).
    mask: `none`; `given`, each image has to come with one; `lungs` (found by themselves) or `foreground` (above the
        minimum) where none is given.
    outside_mask: what lies there is `shown`, or hidden: `dark` (0), like the background of a head, or `bright` (1),
        like the tissue around lungs.
    centre: the middle of the `image` or of the voxels of its `mask` is brought to the middle of the frame.
    """

    shape: tuple[int, ...] = (96, 96, 96)
    spacing: tuple[float, ...] = (4.0, 4.0, 4.0)
    window: tuple[float, ...] = ()
    percentiles: tuple[float, float] = (0.5, 99.5)
    mask: str = "none"
    outside_mask: str = "shown"
    centre: str = "image"

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 2:
            raise UsageError(f"frame.shape: expected 2 or 3 numbers of voxels of 2 or more, got {self.shape}")
        if len(self.spacing) != len(self.shape) or not all(0 < s < math.inf for s in self.spacing):
            raise UsageError(f"frame.spacing: expected {len(self.shape)} lengths in mm above 0, got {self.spacing}")
        if self.window and (len(self.window) != 2 or not -math.inf < self.window[0] < self.window[1] < math.inf):
            raise UsageError(f"frame.window: expected two numbers, low below high, got {self.window}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise UsageError(f"frame.percentiles: expected 0 <= low < high <= 100, got {self.percentiles}")
        for name, choices in (("mask", MASKS), ("outside_mask", OUTSIDES), ("centre", CENTRES)):
            if getattr(self, name) not in choices:
                raise UsageError(f"frame.{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.mask == "none" and (self.outside_mask != "shown" or self.centre == "mask"):
            setting = 'centre = "mask"' if self.outside_mask == "shown" else f'outside_mask = "{self.outside_mask}"'
            raise UsageError(f"frame.mask: expected given, lungs or foreground for {setting}, got none")

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return len(self.shape)


class Seen(NamedTuple):
    """What a network sees of one image, `values` `(1, *shape)` float32 from 0 to 1 on `frame_grid`.

    `mask` `(1, *shape)`, uint8, is 1 inside the mask, None where the frame has none. Its world is that of the image
    moved by `-centre`, `(D,)`, mm, float64: a network's phi_net of two images is
    `phi(x) = phi_net(x - fixed.centre) + moving.centre`.
    """

    values: Tensor
    centre: Tensor
    mask: Tensor | None = None


def frame_grid(settings: FrameSettings) -> Grid:
    """Return the voxels a network sees: along the world's axes (RAS), centred on the world's origin."""
    first = [-0.5 * (n - 1) * s for n, s in zip(settings.shape, settings.spacing, strict=True)]
    return Grid.from_spacing(settings.shape, settings.spacing, first)


def bring(image: Image, mask: Image | None, settings: FrameSettings) -> Seen:
    """Return what a network sees of an image of any orientation and spacing; 0 beyond its border.

    `mask` (above 0 inside) lies in the image's world, on its grid or one of its own. Where the frame's voxels are the
    larger ones, the image is smoothed before by a Gaussian that makes up for the difference of their widths (Cardoso et
    al., MICCAI 2015).

    Raises `DataError` naming the image for one of another dimension, with NaN or without contrast, for a missing or
    empty mask, and when no lungs are found.
    """
    _require_dimension(image, settings)
    image.require_finite()
    image.require_contrast()
    mask = frame_mask(image, mask, settings)
    tones = ImageSettings(window=settings.window, percentiles=settings.percentiles)
    window = intensity_window(image, mask, tones)
    centre = _centre(image, mask, settings)
    grid = frame_grid(settings)
    there = Grid(grid.shape, grid.affine.clone())
    there.affine[:-1, -1] += centre
    sampler = _sampler(image, there, window)
    values = torch.empty(1, *grid.shape, dtype=torch.float32)
    inside = None if mask is None else torch.empty(1, *grid.shape, dtype=torch.uint8)
    for start, stop in there.slabs():
        points = there.voxel_centres(start, stop)
        within = image.grid.contains_voxel_points(image.grid.world_to_voxel_points(points))
        values[0, ..., start:stop] = torch.where(within, sampler(points), 0.0)
        if mask is not None and inside is not None:
            inside[0, ..., start:stop] = inside_mask(mask, points)
    return Seen(_hidden(values, inside, settings.outside_mask), centre, inside)


def _hidden(values: Tensor, inside: Tensor | None, outside: str) -> Tensor:
    if inside is None or outside == "shown":
        return values
    return torch.where(inside > 0, values, float(outside == "bright"))


def frame_mask(image: Image, mask: Image | None, settings: FrameSettings) -> Image | None:
    """Return the mask that `settings` say, found where it has to be; None for everywhere.

    Raises `DataError` for a missing or empty mask, or one of another dimension, and when no lungs are found.
    """
    if settings.mask == "none":
        return None
    if mask is None and settings.mask == "given":
        raise DataError(f'{image.name}: expected a mask with it, for frame.mask = "given"; give one, or find lungs')
    if mask is None:
        return find_mask(image, settings.mask)
    if mask.dimension != image.dimension:
        raise DataError(f"{mask.name}: expected a {image.dimension}-D mask as the image is, found {mask.dimension}-D")
    return mask


def _require_dimension(image: Image, settings: FrameSettings) -> None:
    if image.dimension != settings.dimension:
        raise DataError(
            f"{image.name}: expected a {settings.dimension}-D image, as frame.shape says, found {image.dimension}-D"
        )


def _centre(image: Image, mask: Image | None, settings: FrameSettings) -> Tensor:
    if mask is None or settings.centre == "image":
        return image.grid.centre_world()
    return mask.grid.voxel_to_world_points(mask.foreground.centre)


def _sampler(image: Image, frame: Grid, window: tuple[float, float]) -> ImageSampler:
    """Return a lookup of the image, smoothed for voxels as far apart as those of `frame`, good over that grid."""
    # How far one goes along each of the image's axes until the frame's index has changed by 1.
    apart = 1 / frame.world_to_voxel_vectors(image.grid.direction.T).norm(dim=-1)
    sigma = (apart.square() - image.grid.spacing.square()).clamp_min(0).sqrt() / WIDTH
    part = _around(image, frame, 4 * sigma / image.grid.spacing)
    if not bool((sigma > 0.1 * image.grid.spacing).any()):
        return ImageSampler(part, window)
    return ImageSampler(smoothed(part, sigma, window))


def _around(image: Image, frame: Grid, margin: Tensor) -> Image:
    """Return the part of the image under `frame`, `margin` `(D,)` voxels more at each side; nothing is copied."""
    corners = image.grid.world_to_voxel_points(frame.corners_world())
    last = torch.tensor(image.grid.shape, dtype=torch.int64) - 1
    low = (corners.amin(dim=0) - margin - 1).floor().long().clamp(min=torch.zeros_like(last), max=last)
    high = (corners.amax(dim=0) + margin + 1).ceil().long().clamp(min=low, max=last) + 1
    box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    affine = image.grid.affine.clone()
    affine[:-1, -1] = image.grid.voxel_to_world_points(low)
    data = image.data[box]
    return replace(image, data=data, grid=Grid(tuple(data.shape), affine))
