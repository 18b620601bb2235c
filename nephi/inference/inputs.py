"""The inputs of a prediction, checked: model, settings, images and masks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nephi.errors import UsageError
from nephi.images import Image, resample
from nephi.io import ImageLike, ImagesLike, LabelsLike, PointPairsLike, as_image, as_images
from nephi.models import ModelInput, StoredModel, read_model, to_model_input
from nephi.preparation import (
    Pair,
    prepare_pair,
    require_mask_inside,
)
from nephi.settings import Settings, read_settings, with_options
from nephi.settings import preset as preset_settings

Masks = tuple[ImageLike | None, ImageLike | None]
Guides = tuple[PointPairsLike | None, LabelsLike | None]


@dataclass(frozen=True, eq=False)
class PredictionInputs:
    """A pair of images, the same as the model's inputs (fixed, then moving), and settings with lengths in mm."""

    pair: Pair
    model_inputs: tuple[ModelInput, ModelInput]
    settings: Settings


def load_model(model: StoredModel | str | Path) -> StoredModel:
    """Return a model in evaluation mode, read if it is a file, whose parameters can be copied into fitted fields."""
    stored = model if isinstance(model, StoredModel) else read_model(model)
    built_without_gradients = any(parameter.is_inference() for parameter in stored.model.parameters())
    if built_without_gradients or stored.model.training:
        stored = replace(stored, model=copy.deepcopy(stored.model).eval())
    return stored


def settings_for(model: StoredModel) -> Settings:
    """Return settings that suit a model: the preset `generic` with the window and the mask of the model's input."""
    settings, input_settings = preset_settings("generic"), model.input
    mask = input_settings.mask if input_settings.mask in ("lungs", "foreground") else "none"
    window, percentiles = input_settings.window, input_settings.percentiles
    image = replace(settings.image, window=window, percentiles=percentiles, mask=mask)
    return replace(settings, image=image)


def prediction_settings(
    model: StoredModel,
    preset: str | None,
    settings: Settings | str | Path | None,
    options: Mapping[str, Any] | None = None,
    channels: int = 1,
) -> Settings:
    """Return the settings of a prediction: `settings`, else a `preset`, else those that suit the model; no affine fit.

    `settings` may be a TOML file over the others; `options` are those of `register`. Raises `UsageError` for settings
    of an affine or rigid registration.
    """
    if not isinstance(settings, Settings):
        suitable = settings_for(model) if preset is None else preset_settings(preset)
        settings = suitable if settings is None else read_settings(settings, suitable)
    settings = with_options(settings, options or {}, channels)
    if settings.transform != "deformable":
        raise UsageError(f'transform: expected "deformable" for a prediction, got "{settings.transform}"')
    return replace(settings, affine=replace(settings.affine, kind="none"))


def prediction_inputs(
    images: tuple[ImagesLike, ImagesLike],
    masks: Masks,
    model: StoredModel,
    settings: Settings,
    guides: Guides = (None, None),
) -> PredictionInputs:
    """Read and check images and masks, fixed and moving, and resample them to the model's inputs.

    A mask may lie on a grid of its own, as in a data set: the model's input is resampled from the mask itself; all
    other steps use it on its image's grid, by nearest neighbour. `guides` are landmarks and labels that guide a
    refinement.

    Raises `DataError` for files that cannot be read, and for images that do not match each other or the model.
    """
    (fixed, *_), (moving, *_) = channels = as_images(images[0], "fixed"), as_images(images[1], "moving")
    fixed_mask = None if masks[0] is None else as_image(masks[0], "fixed_mask")
    moving_mask = None if masks[1] is None else as_image(masks[1], "moving_mask")
    fit_masks = _on_grid(fixed_mask, fixed), _on_grid(moving_mask, moving)
    pair, settings = prepare_pair(channels[0], channels[1], *fit_masks, settings, *guides)
    # A mask that was segmented for the fit is reused if the model requires the same kind: lungs take a second.
    reusable = settings.image.mask == model.input.mask
    model_inputs = (
        to_model_input(pair.fixed, fixed_mask or (pair.fixed_mask if reusable else None), model.input),
        to_model_input(pair.moving, moving_mask or (pair.moving_mask if reusable else None), model.input),
    )
    return PredictionInputs(pair, model_inputs, settings)


def _on_grid(mask: Image | None, image: Image) -> Image | None:
    """Return a mask on the grid of its image; masks of another dimension unchanged, for `prepare_pair` to reject."""
    if mask is None or mask.dimension != image.dimension or mask.grid.same_as(image.grid):
        return mask
    require_mask_inside(mask, image)
    return resample(mask, image.grid, lambda points: points, "nearest")
