"""Random changes of the images of a pair."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nephi.geometry import Grid, interpolate_nearest
from nephi.training.augmentation_settings import AugmentationSettings
from nephi.training.random_maps import RandomMap, compose_maps, random_axes, random_map, uniform
from nephi.transforms import DisplacementField

ITERATIONS = 20  # slopes of the displacements are well below 1, so that the error shrinks in each


class TrainingImage(NamedTuple):
    """One image of a pair in the model's box: `values`, `mask` and `labels` `(1, *shape)`, its landmarks `(N, D)`, mm.

    `outside` is the value outside the box, where there are no labels. `keypoints` `(K, D)`, mm, are the places of the
    keypoints that a model is to find.
    """

    values: Tensor
    mask: Tensor | None = None
    landmarks: Tensor | None = None
    outside: float = 0.0
    labels: Tensor | None = None
    keypoints: Tensor | None = None


def augment(
    fixed: TrainingImage,
    moving: TrainingImage,
    grid: Grid,
    settings: AugmentationSettings,
    generator: torch.Generator,
    shared_generator: torch.Generator,
) -> tuple[TrainingImage, TrainingImage]:
    """Return both images of a pair on `grid`, values from 0 to 1, changed at random as `settings` specify.

    Masks, labels, landmarks and keypoints are mapped with their images. The map that both images share is drawn from
    `shared_generator`.
    """
    axes = random_axes(grid.dimension, settings, generator)
    shared = random_map(grid, settings.both, shared_generator)
    images = []
    for image, own in ((fixed, settings.of_fixed()), (moving, settings)):
        image_map = random_map(grid, own, generator)
        image = _warp(image, grid, compose_maps(image_map, shared, axes))
        image = image._replace(values=_augment_intensities(image.values, own, generator))
        images.append(image._replace(values=_add_noise(image.values, own, generator)))
    return images[0], images[1]


def _warp(image: TrainingImage, grid: Grid, warp: RandomMap) -> TrainingImage:
    """Return the image interpolated at the points to which `warp` maps the voxel centres of `grid`."""
    if warp.is_identity:
        return image
    centre = grid.centre_world()
    offset = centre + warp.shift - warp.matrix @ centre
    points = _grid_sample_points(grid, warp, offset)
    channels = [image.values - image.outside, *([] if image.mask is None else [image.mask.float()])]
    warped = nn.functional.grid_sample(torch.cat(channels)[None], points, align_corners=True)[0]  # 0 outside
    mask, labels = image.mask, image.labels
    if mask is not None:
        mask = (warped[1:] > 0.5).to(mask.dtype)
    if labels is not None:
        labels = _nearest_labels(labels, points)
    landmarks, keypoints = (_mapped_points(each, warp, offset) for each in (image.landmarks, image.keypoints))
    return TrainingImage(warped[:1] + image.outside, mask, landmarks, image.outside, labels, keypoints)


def _mapped_points(points: Tensor | None, warp: RandomMap, offset: Tensor) -> Tensor | None:
    """Return the places in the warped image of points of the image: those that `warp` maps to them."""
    if points is None:
        return None
    before_affine = torch.linalg.solve(warp.matrix, (points.double() - offset).T).T.to(points)
    return _invert_displacements(warp.displacements, before_affine)


def _nearest_labels(labels: Tensor, points: Tensor) -> Tensor:
    """Return the labels `(1, *shape)` nearest to points as `grid_sample` expects them; 0 outside.

    Exact whatever the number of a label. At random points the objective interpolates the result linearly.
    """
    sizes = torch.tensor(labels.shape[1:], dtype=torch.int64)
    voxels = (points.flip(-1) + 1) / 2 * (sizes - 1)
    inside = ((voxels >= -0.5) & (voxels <= sizes - 0.5)).all(dim=-1)
    return torch.where(inside, interpolate_nearest(labels[0], voxels), 0)


def _grid_sample_points(grid: Grid, warp: RandomMap, offset: Tensor) -> Tensor:
    """Return the mapped voxel centres as `grid_sample` expects them: `(1, *shape, D)`, in [-1, 1], last axis first."""
    d = grid.dimension
    world_map = torch.eye(d + 1, dtype=torch.float64)
    world_map[:d, :d], world_map[:d, d] = warp.matrix, offset
    voxel_to_cube = torch.zeros(d + 1, d + 1, dtype=torch.float64)
    voxel_to_cube[:d, :d] = torch.diag(2 / (torch.tensor(grid.shape, dtype=torch.float64) - 1)).flip(0)
    voxel_to_cube[:d, d], voxel_to_cube[d, d] = -1, 1
    world_to_cube = voxel_to_cube @ grid.inverse_affine @ world_map
    theta = (world_to_cube @ grid.affine @ torch.linalg.inv(voxel_to_cube))[None, :d].float()
    points = nn.functional.affine_grid(theta, [1, 1, *grid.shape], align_corners=True)
    mode = "bilinear" if d == 2 else "trilinear"
    for field in warp.displacements:
        nodes = (field.displacement.double() @ world_to_cube[:d, :d].T).float().movedim(-1, 0)[None]
        displacement = nn.functional.interpolate(nodes, size=grid.shape, mode=mode, align_corners=True)
        points = points + displacement.movedim(1, -1)
    return points


def _invert_displacements(displacements: tuple[DisplacementField, ...], points: Tensor) -> Tensor:
    """Return x such that `x + sum of displacements at x` are `points`, by fixed-point iteration; NaN stays NaN."""
    solution = points
    for _ in range(ITERATIONS if displacements else 0):
        finite = solution.nan_to_num(0.0)
        total = sum((field(finite) - finite for field in displacements), start=torch.zeros_like(points))
        solution = points - total
    return solution


def _augment_intensities(image: Tensor, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    gamma, contrast, brightness = uniform(3, generator).tolist()
    if not (settings.gamma or settings.contrast or settings.brightness):
        return image
    corrected = image ** math.exp(settings.gamma * gamma)
    return ((1 + settings.contrast * contrast) * corrected + settings.brightness * brightness).clamp(0, 1)


def _add_noise(image: Tensor, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    if not settings.noise:
        return image
    spread = settings.noise * float(torch.rand(1, generator=generator, dtype=torch.float32))
    return (image + spread * torch.randn(image.shape, generator=generator, dtype=torch.float32)).clamp(0, 1)
