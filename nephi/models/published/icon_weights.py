"""Models from the weight files of GradICON, uniGradICON and multiGradICON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.models.base import RegistrationModel
from nephi.models.input_settings import InputSettings, input_grid
from nephi.models.published.axes import array_shape
from nephi.models.published.icon_names import published_name, published_settings, published_steps
from nephi.models.published.loading import load_published
from nephi.models.published.weights import WeightFile
from nephi.models.registry import build_model

SPACING = 2.0  # mm of the model's box; images of any size are scaled to it
UNIVERSAL_SHAPE = (175, 175, 175)
CT = (-1000.0, 1000.0)
# Images are resized without smoothing, and windows of MR count all voxels.
IMAGES = InputSettings(extent="image", smoothing="none", percentiles_of="image")
MODALITIES = {
    "ct": replace(IMAGES, window=CT),
    "mri": replace(IMAGES, percentiles=(0.0, 99.0)),
}
# Shapes in array order (z, y, x), and intensities, of the networks that GradICON publishes.
ANATOMIES = {
    "lung": ((175, 175, 175), replace(IMAGES, window=(-1000.0, 0.0), mask="lungs", outside_mask="dark")),
    "knee": ((80, 192, 192), replace(IMAGES, percentiles=(0.0, 100.0))),
    "brain": ((130, 155, 130), replace(IMAGES, percentiles=(0.0, 100.0), highest=0.9)),
}


def gradicon_model(file: WeightFile, input_settings: InputSettings) -> RegistrationModel[Any]:
    """Return GradICON's network with the weights of a file, for inputs of `input_settings`.

    Its steps are those that the names in the file describe: three in the first stage of a training, four with the last
    step. Raises `DataError` naming the first tensor that is missing, left over or of another shape, or for weights of
    another dimension; `UsageError` for inputs of too few voxels.
    """
    steps = published_steps(file.path, file.tensors)
    settings = published_settings(file.path, steps, file.tensors)
    _require_dimension(file, steps[0].prefix, input_settings)
    model = build_model(settings, input_grid(input_settings), torch.Generator().manual_seed(0))
    load_published(file, model, {ours: published_name(ours, steps) for ours in model.state_dict()})
    return model


def gradicon_input(shape: tuple[int, ...], intensities: InputSettings) -> InputSettings:
    """Return the input of a network whose array has `shape`, in the published order (z, y, x)."""
    if len(shape) not in (2, 3):
        raise UsageError(f"shape: expected 2 or 3 numbers of voxels (z, y, x), got {shape}")
    return replace(intensities, shape=array_shape(shape, "itk"), spacing=(SPACING,) * len(shape))


def _require_dimension(file: WeightFile, prefix: str, input_settings: InputSettings) -> None:
    last: Tensor | None = file.tensors.get(f"{prefix}lastConv.weight")
    dimension = 0 if last is None else last.ndim - 2
    if last is not None and dimension != input_settings.dimension:
        raise DataError(
            f"{file.path}: expected weights of a {input_settings.dimension}-D network for shape "
            f"{input_settings.shape}, found {dimension}-D; give another shape"
        )
