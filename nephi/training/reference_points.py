"""The points of a reference image that keypoints learn to follow: KeyMorph's pre-training."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.datasets import DatasetIndex
from nephi.errors import DataError, UsageError
from nephi.images import Image
from nephi.models import ModelInput, input_grid, model_class
from nephi.sampling import MaskPoints
from nephi.training.cache import ModelInputCache
from nephi.training.seeding import generator_of
from nephi.training.settings import TrainSettings


def reference_points(settings: TrainSettings, index: DatasetIndex, inputs: ModelInputCache) -> Tensor | None:
    """Draw the points `(K, D)`, mm of the model's box, that the model's K keypoints are to follow.

    Uniformly in the mask of the reference image, without a mask in its foreground: where it differs from the value
    outside by more than the mean of these differences. None for a training in which no phase has a weight
    `objective.keypoints`. Raises `DataError` for a reference without foreground, and as `ModelInputCache`.
    """
    if not follows_keypoints(settings):
        return None
    id = settings.data.reference or index.pairs("train")[0].fixed
    region = _region(inputs[id], settings.input.outside)
    if not bool(region.any()):
        raise DataError(f"{index.path(index.image(id).image)}: expected a foreground as data.reference, found none")
    count = model_class(settings.model).outputs(settings.model).keypoints
    mask = Image(region.to(torch.uint8), input_grid(settings.input), name="reference")
    return MaskPoints(mask).draw(count, generator_of("keypoints", settings.optimization.seed))


def check_reference(settings: TrainSettings, index: DatasetIndex) -> None:
    """Raise `UsageError` for a reference image that the training does not use, or that is not one of its images."""
    id = settings.data.reference
    if not id:
        return
    if not follows_keypoints(settings):
        raise UsageError(f"data.reference: expected none without a weight objective.keypoints, got {id!r}")
    if id not in {image.id for image in index.split_images("train")}:
        raise UsageError(f"data.reference: expected the id of an image of the split train, got {id!r}")


def follows_keypoints(settings: TrainSettings) -> bool:
    """Return whether a phase of the training has a weight `objective.keypoints`."""
    return any(objective.keypoints for objective in settings.objectives)


def _region(model_input: ModelInput, outside: float) -> Tensor:
    """Return the voxels `(*shape)` in which points are drawn."""
    if model_input.mask is not None:
        return model_input.mask[0] > 0
    contrast = (model_input.values[0] - outside).abs()
    return contrast > contrast.mean()
