"""Registration of a group of images to their common frame by keypoints, one image in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.errors import DataError, UsageError
from nephi.fields import StoredTransform
from nephi.geometry import Grid
from nephi.inference.alignments import check_align
from nephi.inference.found_keypoints import require_keypoints
from nephi.inference.inputs import load_model
from nephi.inference.prediction import model_digest, on_device
from nephi.inference.steps import predicted_steps
from nephi.io import image_grid, read_image
from nephi.models import (
    InputSettings,
    Keypoints,
    ModelInput,
    RegistrationModel,
    StoredModel,
    input_grid,
    to_model_input,
)
from nephi.optimize import Progress, ProgressCallback, ignore_progress
from nephi.preparation import require_mask_inside
from nephi.runtime import choose_device, versions
from nephi.transforms import MapPair, affine_fit, rigid_fit
from nephi.transforms.point_fits import nearest_rotation, relative_weights

ITERATIONS = 5  # as KeyMorph's
FLAT = 1e-6  # determinant


@dataclass(frozen=True, eq=False)
class GroupRegistration:
    """The transforms of a group of images to their common frame.

    `transforms` map points of the common frame to each image (world mm, RAS), in the order of `images`; their fixed
    grid is `grid`. `distances_before` and `distances` are, for each image, the weighted mean distances of its keypoints
    from the mean keypoints, mm of the model's input, before and after the registration. `about` records versions, model
    and alignment; `masks` are those of the images, if they were given.
    """

    images: tuple[Path, ...]
    transforms: tuple[StoredTransform, ...]
    grid: Grid
    distances_before: tuple[float, ...]
    distances: tuple[float, ...]
    about: dict[str, Any]
    masks: tuple[Path, ...] = ()


def check_group(model: StoredModel, images: Sequence[Path], align: str | None, masks: Sequence[Path] = ()) -> None:
    """Raise `UsageError` or `DataError` for a group that cannot be registered, from the headers of its files.

    That is for a model without keypoints, an unknown alignment, fewer than two images, and images that cannot be read
    or are of another dimension than the model; for masks that are not one for each image, that the model does not use,
    or that it requires and that are missing.
    """
    model.model.require_keypoints("model")
    if align is not None:
        check_align(model, [align])
    if len(images) < 2:
        raise UsageError(f"images: expected at least two to register as a group, got {len(images)}")
    if masks and len(masks) != len(images):
        raise UsageError(f"masks: expected none, or {len(images)}, one for each image in their order, got {len(masks)}")
    if masks and model.input.mask == "none":
        raise UsageError('masks: expected none for a model with input.mask = "none", which uses none; leave them out')
    if not masks and model.input.mask == "given":
        raise UsageError('masks: expected one for each image for a model with input.mask = "given", got none')
    for path in (*images, *masks):
        dimension, expected = image_grid(path).dimension, model.input.dimension
        if dimension != expected:
            raise DataError(
                f"{path}: expected a {expected}-D image, the dimension of the model, got a {dimension}-D one"
            )


@checked
@torch.no_grad()
def register_group(
    images: Sequence[str | Path],
    *,
    model: StoredModel | str | Path,
    align: str | None = None,
    masks: Sequence[str | Path] = (),
    iterations: int = ITERATIONS,
    reference: Grid | None = None,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
) -> GroupRegistration:
    """Register image files to their common frame by the keypoints of a trained `model`.

    The keypoints of all images are averaged, those of each image are aligned to the mean, and both is repeated
    `iterations` times (KeyMorph's groupwise registration; Wang et al., 2023). The first mean is that of keypoints that
    are turned to the first image, and all means have the mean size of the sets. Then the keypoints of each image are
    registered to the last mean. Keypoints count by their weights. `align` is an alignment of `predict_alignments`, by
    default that of the model. The common frame is the mean of the positions of the model's input in the images; `grid`
    is `reference`, or the voxels of the model's input in that frame.

    `masks`, one for each image, are used for the model's input as in a prediction: voxels above 0 are inside, and a
    mask may lie on a grid of its own in the image's world. Without them, masks that the model requires are segmented.

    Raises `UsageError` and `DataError` as `check_group`, before anything is computed, and for masks outside of their
    images, and images in which no mask or no keypoint is found.
    """
    stored, torch_device, paths = load_model(model), choose_device(device), tuple(map(Path, images))
    mask_paths = tuple(map(Path, masks))
    check_group(stored, paths, align, mask_paths)
    if reference is not None and reference.dimension != stored.input.dimension:
        raise UsageError(f"reference: expected a {stored.input.dimension}-D grid, got a {reference.dimension}-D one")
    network, sets, inputs = on_device(stored.model, torch_device), list[Keypoints](), list[ModelInput]()
    for number, path in enumerate(paths, start=1):
        model_input = _model_input(path, mask_paths[number - 1] if mask_paths else None, stored.input)
        found = network.keypoints(model_input.values[None].to(torch_device))
        assert found is not None
        require_keypoints(str(path), found)
        sets.append(Keypoints(found.points.double(), found.weights.double()))
        inputs.append(model_input._replace(values=torch.empty(0, dtype=torch.float32), mask=None))
        progress(Progress("keypoints", number, len(paths), 0.0))
    align = align or network.default_alignment()
    mean, distances = mean_keypoints(network, sets, align, iterations)
    frame = inputs[0]._replace(to_world=torch.stack([each.to_world for each in inputs]).mean(dim=0))
    grid = reference or input_grid(stored.input).transformed(frame.to_world)
    about = {"versions": versions(), "model": model_digest(stored), "align": align, "iterations": iterations}
    transforms = []
    for path, keypoints, model_input in zip(paths, sets, inputs, strict=True):
        affine, steps, inverse_steps = predicted_steps(_aligned(network, mean, keypoints, align), frame, model_input)
        transforms.append(StoredTransform(affine, grid, image_grid(path), steps, {}, about, inverse_steps))
    return GroupRegistration(paths, tuple(transforms), grid, *distances, about, mask_paths)


def _model_input(path: Path, mask_path: Path | None, settings: InputSettings) -> ModelInput:
    """Read an image and its mask, and resample them to the model's box."""
    image, mask = read_image(path), None if mask_path is None else read_image(mask_path)
    if mask is not None:
        require_mask_inside(mask, image)
    return to_model_input(image, mask, settings)


def mean_keypoints(
    network: RegistrationModel[Any], sets: Sequence[Keypoints], align: str, iterations: int
) -> tuple[Keypoints, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the mean of keypoints `(1, K, D)` that are aligned to it, and the distances from the mean, mm.

    The distances are weighted means for each set, before the first and after the last alignment.
    """
    plain = _mean(sets)
    before = tuple(_distance(each, plain) for each in sets)
    aligned, mean = list(sets), _resized(_turned_mean(sets), sets)
    for _ in range(iterations):
        aligned = [
            Keypoints(_aligned(network, each, mean, align).forward(each.points), each.weights) for each in aligned
        ]
        mean = _resized(_mean(aligned), sets)
    after = tuple(
        _distance(Keypoints(_aligned(network, each, mean, align).forward(each.points), each.weights), mean)
        for each in sets
    )
    return mean, (before, after)


def _aligned(network: RegistrationModel[Any], fixed: Keypoints, moving: Keypoints, align: str) -> MapPair:
    return network.keypoint_alignments(fixed, moving, [align])[align]


def _mean(sets: Sequence[Keypoints]) -> Keypoints:
    """Return the weighted mean of each keypoint; one without any weight has the plain mean, and weight 0."""
    points, weights = (torch.stack(parts) for parts in zip(*sets, strict=True))
    total = weights.sum(dim=0)
    fractions = torch.where(total > 0, weights / total.clamp_min(torch.finfo(total.dtype).tiny), 1 / len(sets))
    return Keypoints((fractions.unsqueeze(-1) * points).sum(dim=0), total / len(sets))


def _turned_mean(sets: Sequence[Keypoints]) -> Keypoints:
    """Return the mean of sets that are turned to the first one, at the mean place and in the mean orientation of all.

    The mean of sets as they are is a single point for images turned by 0 and 180 degrees.
    """
    first = sets[0]
    fits = [rigid_fit(each.points, first.points, each.weights * first.weights) for each in sets]
    mean = _mean([Keypoints(fit(each.points), each.weights) for fit, each in zip(fits, sets, strict=True)])
    orientation = nearest_rotation(torch.stack([fit.matrices.mT for fit in fits]).mean(dim=0))
    return Keypoints((mean.points - _centre(mean)) @ orientation.mT + _centre(_mean(sets)), mean.weights)


def _resized(mean: Keypoints, sets: Sequence[Keypoints]) -> Keypoints:
    """Return mean keypoints enlarged about their centre, such that maps to the sets keep volumes in the geometric mean.

    The mean of rotated or noisy keypoints is smaller than each set, and so are sets that are fitted to it again and
    again: all images would be shown smaller in the common frame. The maps are affine fits; a set that is flattened by
    its own does not count.
    """
    fits = [affine_fit(mean.points, each.points, mean.weights * each.weights) for each in sets]
    volumes = torch.cat([torch.linalg.det(fit.matrices).abs() for fit in fits])
    scale = torch.where(volumes > FLAT, volumes, 1.0).log().mean().exp() ** (1 / mean.points.shape[-1])
    centre = _centre(mean)
    return Keypoints(centre + scale * (mean.points - centre), mean.weights)


def _centre(keypoints: Keypoints) -> Tensor:
    """Return the weighted mean of keypoints, `(1, 1, D)`."""
    weights = relative_weights(keypoints.points, keypoints.weights).unsqueeze(-1)
    return (weights * keypoints.points).sum(dim=1, keepdim=True)


def _distance(keypoints: Keypoints, mean: Keypoints) -> float:
    weights: Tensor = keypoints.weights
    distances = (keypoints.points - mean.points).norm(dim=-1)
    return float((weights * distances).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny))
