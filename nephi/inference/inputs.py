"""From what the user gives to what a model is shown."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nephi.errors import UsageError
from nephi.fields import can_start_from_maps
from nephi.images import Image, resample
from nephi.inference.refinement import Refinement, shortened
from nephi.models import ModelInput, NephiSystem, StoredModel, read_model, to_model_input
from nephi.preparation import Pair, Source, as_image, prepare_pair, require_mask_inside
from nephi.settings import Settings
from nephi.settings import preset as preset_settings

Masks = tuple[Source | None, Source | None]


@dataclass(frozen=True, eq=False)
class PredictionInputs:
    """A model, a pair of images, what the model sees of them (fixed, then moving), and settings with lengths in mm."""

    model: StoredModel
    pair: Pair
    seen: tuple[ModelInput, ModelInput]
    settings: Settings


def refinable_model(model: StoredModel | str | Path, refinement: Refinement) -> StoredModel:
    """Return the model, read where it is a file; raise `UsageError` for a refinement of one without codes."""
    stored = model if isinstance(model, StoredModel) else read_model(model)
    if any(parameter.is_inference() for parameter in stored.system.parameters()):  # made under inference_mode()
        stored = replace(stored, system=copy.deepcopy(stored.system))
    if refinement.steps and not isinstance(stored.system, NephiSystem):
        raise UsageError(
            f"refine: a model of system {stored.settings.system!r} predicts a displacement for every voxel and no "
            "fields that could be fitted further; leave it out, or choose a model of system 'nephi'"
        )
    return stored


def settings_for(model: StoredModel) -> Settings:
    """Return settings that suit a model: the preset `generic` with the window and the mask of the model's frame."""
    settings, frame = preset_settings("generic"), model.frame
    mask = frame.mask if frame.mask in ("lungs", "foreground") else "none"
    image = replace(settings.image, window=frame.window, percentiles=frame.percentiles, mask=mask)
    return replace(settings, image=image)


def prediction_settings(model: StoredModel, preset: str | None, settings: Settings | None) -> Settings:
    """Return what a prediction is told: no affine search.

    From `settings` for a fit, or a `preset`, or those that suit the model. Raises `UsageError` for those of an affine
    or rigid registration.
    """
    if settings is None:
        settings = settings_for(model) if preset is None else preset_settings(preset)
    if settings.transform != "deformable":
        raise UsageError(f"transform: a model predicts deformable transforms, got {settings.transform!r}")
    return replace(settings, affine=replace(settings.affine, kind="none"))


def prediction_inputs(
    images: tuple[Source, Source], masks: Masks, model: StoredModel, settings: Settings, refinement: Refinement
) -> PredictionInputs:
    """Read and check images and masks, fixed and moving, and bring them to what the model sees.

    The settings then have the fields that will be stored, and the schedule of the refinement. A mask may lie on a grid
    of its own, as in a data set: the model sees it as it is, the rest by nearest neighbour on its image's grid.

    Raises `DataError` for files that cannot be read, and images that suit neither each other nor the model.
    """
    fixed, moving = map(as_image, images)
    given = [None if mask is None else as_image(mask) for mask in masks]
    there = _on_grid(given[0], fixed), _on_grid(given[1], moving)
    pair, settings = prepare_pair(fixed, moving, *there, settings)
    if isinstance(model.system, NephiSystem) and not joins(model, settings, refinement):
        # Whose lengths are in mm whatever unit the others count in.
        settings = replace(settings, field=model.settings.field)
    if refinement.steps:
        settings = shortened(settings, refinement)
    return PredictionInputs(model, pair, _seen(pair, given, settings, model), settings)


def joins(model: StoredModel, settings: Settings, refinement: Refinement) -> bool:
    """Tell whether a refinement goes on with one field of the settings' own.

    So it does from a model of several steps, all of whose parameters may change: the kernels of the fit serve a single
    field, and that of the settings is as fine as the fit wants it.
    """
    several = isinstance(model.system, NephiSystem) and len(model.settings.thinning) > 1
    all_of_it = refinement.steps > 0 and refinement.what == "all"
    return several and all_of_it and can_start_from_maps(settings.field, model.frame.dimension)


def _on_grid(mask: Image | None, image: Image) -> Image | None:
    """Return a mask on the grid of its image; one of another dimension as it is, for others to refuse."""
    if mask is None or mask.dimension != image.dimension or mask.grid.same_as(image.grid):
        return mask
    require_mask_inside(mask, image)
    return resample(mask, image.grid, lambda points: points, "nearest")


def _seen(
    pair: Pair, given: Sequence[Image | None], settings: Settings, model: StoredModel
) -> tuple[ModelInput, ModelInput]:
    # A mask that was found for the fit is the network's, too, if it was found by the same rule: lungs take a second.
    same = settings.image.mask == model.frame.mask
    found = pair.fixed_mask, pair.moving_mask
    masks = [told or (mask if same else None) for told, mask in zip(given, found, strict=True)]
    return to_model_input(pair.fixed, masks[0], model.frame), to_model_input(pair.moving, masks[1], model.frame)
