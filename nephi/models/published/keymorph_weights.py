"""Models from the weight files of KeyMorph and BrainMorph."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from nephi.errors import DataError
from nephi.models.base import RegistrationModel
from nephi.models.input_settings import InputSettings, input_grid
from nephi.models.published.keypoint_backbones import NORMALIZATIONS
from nephi.models.published.loading import load_published
from nephi.models.published.published_keymorph import PublishedKeyMorphSettings
from nephi.models.published.weights import WeightFile
from nephi.models.registry import build_model

# Minimum and maximum become 0 and 1, images are resampled linearly.
IMAGES = InputSettings(percentiles=(0.0, 100.0), percentiles_of="image", smoothing="none")
KEYMORPH = replace(IMAGES, shape=(128,) * 3, spacing=(1.0,) * 3, extent="image")
BRAINMORPH = replace(IMAGES, shape=(256,) * 3, spacing=(1.0,) * 3)
NORM_TYPE = "norm_type"  # among the arguments of a training
STATISTICS = {"mean": "running_mean", "variance": "running_var"}
LAYERS = ("groupnorm", "conv")


def keymorph_model(
    file: WeightFile, input_settings: InputSettings, align: str, weighting: str
) -> RegistrationModel[Any]:
    """Return the network whose weights a file holds, for inputs of `input_settings`.

    `align` and `weighting` are those of `KeyMorphSettings`. Raises `DataError` naming the first tensor that is missing,
    left over or of another shape, or for weights of another dimension; `UsageError` for inputs of too few voxels.
    """
    read, name = (_unet_settings, _unet_name) if "final_conv.weight" in file.tensors else (_conv_settings, _conv_name)
    settings = replace(read(file), align=align, weighting=weighting)
    model = build_model(settings, input_grid(input_settings), torch.Generator().manual_seed(0))
    names = {ours: name(ours) for ours in model.state_dict()}
    load_published(file, model, names)
    return model


def _conv_settings(file: WeightFile) -> PublishedKeyMorphSettings:
    """Return the settings of a network of blocks; its kind of normalisation where the tensors leave it open."""
    widths = _widths(file, lambda number: f"block{number + 1}.conv.weight")
    if len(widths) < 2:
        raise DataError(f"{file.path}: expected block1.conv.weight or final_conv.weight; not a network of KeyMorph")
    normalization = file.arguments.get(NORM_TYPE, NORMALIZATIONS[0])
    if "block1.norm.weight" in file.tensors:
        normalization = "batch" if "block1.norm.running_mean" in file.tensors else "group"
    if normalization not in NORMALIZATIONS:
        raise DataError(f"{file.path}: {NORM_TYPE}: expected one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
    return PublishedKeyMorphSettings(widths[-1], widths[:-1], normalization=normalization)


def _conv_name(ours: str) -> str:
    """Return the published name of `network.backbone.convolutions.N.weight` and its like."""
    _, _, kind, number, tensor = ours.split(".")
    layer = "conv" if kind == "convolutions" else "norm"
    return f"block{int(number) + 1}.{layer}.{STATISTICS.get(tensor, tensor)}"


def _unet_settings(file: WeightFile) -> PublishedKeyMorphSettings:
    widths = _widths(file, lambda number: f"encoders.{number}.basic_module.SingleConv2.conv.weight")
    up = len(_widths(file, lambda number: f"decoders.{number}.basic_module.SingleConv2.conv.weight"))
    if not 0 <= len(widths) - 1 - up < len(widths):
        raise DataError(f"{file.path}: expected fewer decoders than encoders, found {up} and {len(widths)}")
    keypoints = file.tensors["final_conv.weight"].shape[:1]
    if not keypoints:
        raise DataError(f"{file.path}: final_conv.weight: expected the weight of a convolution")
    left_out = len(widths) - 1 - up
    return PublishedKeyMorphSettings(keypoints[0], widths, backbone="unet", normalization="group", left_out=left_out)


def _unet_name(ours: str) -> str:
    """Return the published name of `network.backbone.down.LEVEL.HALF.LAYER.weight` and its like."""
    found = re.fullmatch(r"network\.backbone\.(down|up)\.(\d+)\.(\d)\.(\d)\.(\w+)", ours)
    if found is None:
        return ours.replace("network.backbone.last", "final_conv")
    path, level, half, layer, tensor = found.groups()
    side = "encoders" if path == "down" else "decoders"
    return f"{side}.{level}.basic_module.SingleConv{int(half) + 1}.{LAYERS[int(layer)]}.{tensor}"


def _widths(file: WeightFile, name: Callable[[int], str]) -> tuple[int, ...]:
    """Return the output channels of a series of convolutions."""
    widths: list[int] = []
    while (tensor := file.tensors.get(name(len(widths)))) is not None:
        widths.append(tensor.shape[0] if tensor.ndim else 0)
    return tuple(widths)
