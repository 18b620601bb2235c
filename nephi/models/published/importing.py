"""Import of published weights: the file of another project becomes a model like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nephi.errors import UsageError
from nephi.models.base import RegistrationModel
from nephi.models.file import StoredModel
from nephi.models.input_settings import InputSettings
from nephi.models.published.icon_weights import (
    ANATOMIES,
    MODALITIES,
    SPACING,
    UNIVERSAL_SHAPE,
    gradicon_input,
    gradicon_model,
)
from nephi.models.published.keymorph_weights import BRAINMORPH, KEYMORPH, keymorph_model
from nephi.models.published.weights import WeightFile, read_weights
from nephi.models.registry import model_class
from nephi.runtime import versions
from nephi.settings import TrainingObjectiveSettings


@dataclass(frozen=True)
class ImportOptions:
    """What a weight file does not contain; empty values are those of the published program.

    modality: `ct` or `mri`, the intensities of the images that are registered.
    anatomy: `lung`, `knee` or `brain`: which of GradICON's networks it is, its shape and intensities.
    shape: voxels of the network's input in the published order: (z, y, x), of KeyMorph (x, y, z).
    window: two intensities that become 0 and 1; values beyond are clamped.
    percentiles: two percentiles of all voxels that become 0 and 1.
    mask: as `InputSettings.mask`; voxels outside become 0.
    align: the map that KeyMorph's keypoints predict, as `KeyMorphSettings.align`.
    weighting: how its keypoints are weighted, as `KeyMorphSettings.weighting`.
    """

    modality: str = ""
    anatomy: str = ""
    shape: tuple[int, ...] = ()
    window: tuple[float, ...] = ()
    percentiles: tuple[float, ...] = ()
    mask: str = ""
    align: str = ""
    weighting: str = ""


Import = Callable[[WeightFile, ImportOptions], tuple[RegistrationModel[Any], InputSettings]]


def import_published(source: str, weights: str | Path, options: ImportOptions = ImportOptions()) -> StoredModel:
    """Return the model of a published weight file: predictions are those of the published network.

    `source` is one of `SOURCES`. Nothing in the file is executed. Raises `DataError` for a file that is missing, cut
    short, needs code to be read or holds the weights of another network; `UsageError` for an unknown source or options
    that it does not have.
    """
    if source not in SOURCES:
        raise UsageError(f"source: expected one of {', '.join(SOURCES)}, got {source!r}")
    file = read_weights(weights)
    model, input_settings = SOURCES[source](file, options)
    about = {"imported_from": source, "weights": file.path.name, "weights_sha256": file.digest, "versions": versions()}
    objective = model_class(model.settings).default_objective
    if source in OBJECTIVES:
        objective = replace(OBJECTIVES[source], gradicon=LAMBDA / (2 * input_settings.dimension))
    return StoredModel(model.eval(), input_settings, objective, about)


def _import_universal(file: WeightFile, options: ImportOptions) -> tuple[RegistrationModel[Any], InputSettings]:
    """Import uniGradICON or multiGradICON."""
    _refuse(options, "anatomy", "align", "weighting")
    given = options.window or options.percentiles
    if options.modality not in MODALITIES and (options.modality or not given):
        raise UsageError(f"modality: expected one of {', '.join(MODALITIES)}, got {_quoted(options.modality)}")
    intensities = MODALITIES[options.modality or "ct"]
    input_settings = _with_options(gradicon_input(options.shape or UNIVERSAL_SHAPE, intensities), options)
    return gradicon_model(file, input_settings), input_settings


def _import_gradicon(file: WeightFile, options: ImportOptions) -> tuple[RegistrationModel[Any], InputSettings]:
    """Import one of GradICON's networks."""
    _refuse(options, "modality", "align", "weighting")
    if options.anatomy not in ANATOMIES and (options.anatomy or not options.shape):
        raise UsageError(f"anatomy: expected one of {', '.join(ANATOMIES)}, got {_quoted(options.anatomy)}")
    shape, intensities = ANATOMIES[options.anatomy or "knee"]
    input_settings = _with_options(gradicon_input(options.shape or shape, intensities), options)
    return gradicon_model(file, input_settings), input_settings


def _import_keymorph(file: WeightFile, options: ImportOptions) -> tuple[RegistrationModel[Any], InputSettings]:
    """Import KeyMorph: images are scaled to a cube."""
    shape = options.shape or KEYMORPH.shape
    if len(shape) not in (2, 3) or min(shape) < 2:
        raise UsageError(f"shape: expected 2 or 3 numbers of voxels of at least 2, got {shape}")
    spacing = tuple((max(shape) - 1) / (n - 1) for n in shape)  # edges of a cube, whose coordinates are -1 to 1
    return _import_keypoints(file, replace(KEYMORPH, shape=shape, spacing=spacing), options, "equal")


def _import_brainmorph(file: WeightFile, options: ImportOptions) -> tuple[RegistrationModel[Any], InputSettings]:
    """Import BrainMorph: images in a cube of 256 mm."""
    _refuse(options, "shape")
    return _import_keypoints(file, BRAINMORPH, options, "power")


def _import_keypoints(
    file: WeightFile, settings: InputSettings, options: ImportOptions, weighting: str
) -> tuple[RegistrationModel[Any], InputSettings]:
    _refuse(options, "modality", "anatomy")
    input_settings = _with_options(settings, options)
    model = keymorph_model(file, input_settings, options.align or "affine", options.weighting or weighting)
    return model, input_settings


def _refuse(options: ImportOptions, *names: str) -> None:
    for name in names:
        if value := getattr(options, name):
            raise UsageError(f"{name}: expected none for this source, got {value!r}")


def _with_options(settings: InputSettings, options: ImportOptions) -> InputSettings:
    """Return settings of the input with the intensities and the mask that were given."""
    if options.window and options.percentiles:
        raise UsageError("percentiles: expected none with a window, got both")
    if options.percentiles:
        if len(options.percentiles) != 2:
            raise UsageError(f"percentiles: expected two numbers, got {options.percentiles}")
        low, high = options.percentiles
        settings = replace(settings, window=(), percentiles=(low, high), percentiles_of="image")
    if options.window:
        settings = replace(settings, window=options.window)
    if options.mask:
        outside = "shown" if options.mask == "none" else "dark"
        settings = replace(settings, mask=options.mask, outside_mask=outside)
    return settings


# The loss of these trainings, for instance optimisation: local correlation in Gaussian windows of 5 voxels of the box,
# which counts 1e-5 as a variance; images are 0 outside. The weight of gradicon is lambda / (2 D) for D axes, see
# `GradICON.default_objective`.
LAMBDA = 1.5
LOCAL_CORRELATION = TrainingObjectiveSettings(
    similarity="lncc",
    variance_floor=1e-5**0.5,
    points=512,
    background_points=512,
    window=5 * SPACING,
    outside="dark",
    codes=0.0,
)
OBJECTIVES = {
    "gradicon": LOCAL_CORRELATION,
    "unigradicon": LOCAL_CORRELATION,
    "multigradicon": replace(LOCAL_CORRELATION, similarity="lncc2"),
}
SOURCES: dict[str, Import] = {
    "unigradicon": _import_universal,
    "multigradicon": _import_universal,
    "gradicon": _import_gradicon,
    "brainmorph": _import_brainmorph,
    "keymorph": _import_keymorph,
}
"""How the weights of each project are imported."""


def _quoted(value: str) -> str:
    return repr(value) if value else "none"
