"""Registration of a pair of images by a trained model: one forward pass, and a refinement if requested."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch

from nephi.argument_types import checked
from nephi.errors import DataError, collected_warnings
from nephi.fields import FieldStep, StoredTransform, field_size
from nephi.geometry import gradients_recorded
from nephi.inference.found_keypoints import pair_keypoints
from nephi.inference.inputs import PredictionInputs, load_model, prediction_inputs, prediction_settings
from nephi.inference.network_optimization import optimize_network
from nephi.inference.refinement import (
    as_single_field,
    check_guidance,
    check_refinement,
    is_single_field,
    predicted_fields,
    refine,
    refinement_schedule,
    refines_single_field,
)
from nephi.inference.refinement_settings import Refinement
from nephi.inference.steps import predicted_steps
from nephi.io import ImageLike, ImagesLike, LabelsLike, PointPairsLike, channel_count
from nephi.models import ModelSize, RegistrationModel, StoredModel, model_bytes, model_class
from nephi.optimize import (
    Plan,
    ProgressCallback,
    estimate_memory_mb,
    plan_guidance,
    plan_images,
    plan_level,
)
from nephi.preparation import pair_warnings
from nephi.report import progress_shown
from nephi.results import Registration, check_folding
from nephi.runtime import (
    Usage,
    choose_device,
    cpu_threads,
    fit_threads,
    peak_gpu_memory_mb,
    registration_threads,
    seeded_generator,
    versions,
)
from nephi.sampling import GridPoints
from nephi.settings import Options, Settings, settings_table
from nephi.transforms import MapPair

NEAR_POINTS = 500
# From the centre of the moving image to a mapped point, in half diagonals of both images: only what a network of
# useless weights predicts is beyond.
FARTHEST = 1000.0


@checked
@gradients_recorded()
def predict(
    fixed: ImagesLike,
    moving: ImagesLike,
    *,
    model: StoredModel | str | Path,
    preset: str | None = None,
    settings: Settings | str | Path | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    guide_landmarks: PointPairsLike | None = None,
    guide_labels: LabelsLike | None = None,
    refinement: Refinement = Refinement(),  # noqa: B008 (frozen)
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback | bool = True,
    **options: Unpack[Options],
) -> Registration:
    """Register the moving image to the fixed one by the prediction of a trained `model`.

    One forward pass without affine alignment and optimisation; only the centres of the images or of their masks, or
    their fields of view, are aligned, as the model's input requires. `refinement` continues with steps of the ordinary
    fit, whose objective, levels and intensities are those of `settings` or a `preset`; by default `generic` with the
    window and the mask of the model's input. A prediction that is not a single pair of neural fields is refined, with
    all parameters, as one new pair of fields of the settings, after the closest affine map. A refinement of the network
    optimises the weights of a copy before the prediction. The model itself never changes. `guide_landmarks` and
    `guide_labels`, as those of `register`, guide a refinement of the fields; so do channels beyond the first, which the
    model does not read.

    Images, masks, `options`, `progress` and result are those of `register`, except that masks may lie on grids of their
    own. Raises `DataError` for unsuitable images and files that are no model; `UsageError` for an unknown preset or
    device, for settings of an affine registration, and for a refinement that the model or the settings do not allow.
    """
    stored, torch_device = load_model(model), choose_device(device)
    chosen = prediction_settings(stored, preset, settings, options, channel_count(fixed))
    usage = Usage(registration_threads(chosen.threads))
    guides = guide_landmarks, guide_labels
    check_refinement(stored, chosen.field, refinement)
    check_guidance((fixed, moving), guides, refinement)
    generator = seeded_generator(seed)
    with (
        collected_warnings() as texts,
        cpu_threads(usage.threads),
        progress_shown(progress) as progress,
    ):
        with usage.stage("prepare"):
            inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen, guides)
        network, history = stored.model, list[dict[str, float]]()
        if refinement.optimizes_network:
            with usage.stage("fit"):
                network, history = optimize_network(
                    stored, inputs.model_inputs, refinement, torch_device, generator, progress
                )
        with usage.stage("predict"):
            result = _predict(network, inputs, torch_device)
        single = refines_single_field(chosen.field, result.affine.dimension, refinement, is_single_field(result))
        used = inputs.settings if single else _with_field_of(inputs.settings, result)
        if refinement.fits_fields:
            used = refinement_schedule(used, refinement)
            with usage.stage("fit"), fit_threads(usage.threads):
                if single:
                    result = as_single_field(result, inputs.pair.fixed.grid, used.field, generator)
                history = refine(result, inputs.pair, refinement.parameters, used, torch_device, generator, progress)
        about = prediction_record(stored, chosen, refinement, seed, torch_device)
        result = replace(result, settings=settings_table(used), about=about)
        check_folding(inputs.pair, result.transform, torch.Generator().manual_seed(seed))
    notes = pair_warnings(inputs.pair, texts)
    return Registration(result, inputs.pair, used, seed, history, usage, peak_gpu_memory_mb(torch_device), notes)


@checked
def plan_prediction(
    fixed: ImagesLike,
    moving: ImagesLike,
    *,
    model: StoredModel | str | Path,
    preset: str | None = None,
    settings: Settings | str | Path | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    guide_landmarks: PointPairsLike | None = None,
    guide_labels: LabelsLike | None = None,
    refinement: Refinement = Refinement(),  # noqa: B008 (frozen)
    device: str = "auto",
    **options: Unpack[Options],
) -> Plan:
    """Read and validate all inputs of `predict`, and return its plan without predicting; levels are of the refinement.

    Arguments and errors are those of `predict`.
    """
    stored, torch_device = load_model(model), choose_device(device)
    chosen = prediction_settings(stored, preset, settings, options, channel_count(fixed))
    guides = guide_landmarks, guide_labels
    check_refinement(stored, chosen.field, refinement)
    check_guidance((fixed, moving), guides, refinement)
    inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen, guides)
    pair, used, fields = inputs.pair, inputs.settings, predicted_fields(stored.model)
    size: ModelSize = model_class(stored.settings).size(stored.settings, stored.model.grid)
    lattices, parameters = size.lattices, size.transform_parameters
    single = len(fields) == 1 and stored.input.extent == "fixed"
    if refines_single_field(used.field, stored.input.dimension, refinement, single):
        refined = field_size(used.field, pair.fixed.grid)
        lattices, parameters = refined.lattices, refined.parameters
    elif fields:
        used = replace(used, field=fields[0].settings)
    if refinement.fits_fields:
        used = refinement_schedule(used, refinement)
    refined_levels = used.levels if refinement.fits_fields else ()
    levels = tuple(plan_level(pair, level, used.objective.radius) for level in refined_levels)
    memory = estimate_memory_mb(pair, levels, parameters)
    memory = None if memory is None else memory + _network_mb(size, refinement)
    guidance = plan_guidance(pair)
    return Plan(str(torch_device), *plan_images(pair), used, lattices, parameters, levels, memory, guidance)


def prediction_record(
    model: StoredModel, settings: Settings, refinement: Refinement, seed: int, device: torch.device
) -> dict[str, Any]:
    """Return what is stored with a prediction about its origin, as plain values."""
    return {
        "versions": versions(),
        "seed": seed,
        "device": device.type,
        "model": model_digest(model),
        "refinement": refinement.table(),
        "settings_digest": settings_digest(settings, refinement),
    }


def model_digest(model: StoredModel) -> str:
    """Return the first 16 digits of the SHA-256 of a model file, which identify the model."""
    return hashlib.sha256(model_bytes(model)).hexdigest()[:16]


def settings_digest(settings: Settings, refinement: Refinement) -> str:
    """Return 16 digits that identify the settings on which the results of predictions depend.

    The settings are those before they are adapted to a pair. Without a refinement, and for one of the network, only
    the settings of the images count; there is no affine search, and the number of threads does not matter.
    """
    fit_tables = () if refinement.fits_fields else ("field", "objective", "optimization", "levels")
    table = {
        name: value
        for name, value in settings_table(settings).items()
        if name not in ("threads", "affine", *fit_tables)
    }
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]


@torch.no_grad()
def _predict(model: RegistrationModel[Any], inputs: PredictionInputs, device: torch.device) -> StoredTransform:
    """Return the prediction for a pair of images, computed on `device`."""
    network = on_device(model, device)
    keypoints = pair_keypoints(network, inputs, device)
    if keypoints is not None:
        align = network.default_alignment()
        return stored_prediction(network.keypoint_alignments(*keypoints, [align])[align], inputs)
    return stored_prediction(network(*(each.values[None].to(device) for each in inputs.model_inputs)), inputs)


def on_device(model: RegistrationModel[Any], device: torch.device) -> RegistrationModel[Any]:
    """Return the model for computations on `device`; the model itself stays on the CPU."""
    return model if device.type == "cpu" else copy.deepcopy(model).to(device)


def stored_prediction(prediction: MapPair, inputs: PredictionInputs) -> StoredTransform:
    """Return a predicted pair of maps, in the model's box, as a transform of the images.

    Raises `DataError` naming the images for NaN and infinite values, and for maps that leave the images by far.
    """
    names = f"{inputs.pair.fixed.name} and {inputs.pair.moving.name}"
    try:
        affine, steps, inverse_steps = predicted_steps(prediction, *inputs.model_inputs)
    except DataError as error:  # some transforms check their values
        raise DataError(f"{names}: {error}; train the model again") from None
    for step in (*steps, *inverse_steps):
        if not step.is_finite():
            raise DataError(f"{names}: the predicted {step.kind} holds NaN or infinite values; train the model again")
    grids = inputs.pair.fixed.grid, inputs.pair.moving.grid
    result = StoredTransform(affine, *grids, steps, inverse_steps=inverse_steps)
    _require_near(result, names)
    return result


def _require_near(prediction: StoredTransform, names: str) -> None:
    """Raise `DataError` with `names` if random points of the fixed grid are mapped far away from the moving image."""
    fixed, moving = prediction.fixed_grid, prediction.moving_grid
    points = GridPoints(fixed).draw(NEAR_POINTS, torch.Generator().manual_seed(0)).double()
    farthest = float((prediction.transform(points) - moving.centre_world()).norm(dim=-1).max())
    sizes = [float((grid.corners_world() - grid.centre_world()).norm(dim=-1).max()) for grid in (fixed, moving)]
    if not farthest <= FARTHEST * sum(sizes):
        raise DataError(
            f"{names}: expected a prediction that maps points to the moving image, found one {farthest:.2g} mm away "
            "from it; train the model again"
        )


def _network_mb(size: ModelSize, refinement: Refinement) -> float:
    """Return the memory of a prediction beyond the weights, of an optimisation of the weights where there is one."""
    if not refinement.optimizes_network:
        return size.activation_bytes / 1e6
    # The backward pass keeps the activations, as gradients for a while; a weight has a copy, a gradient, two moments.
    return (2 * size.activation_bytes + 16 * size.parameters) / 1e6


def _with_field_of(settings: Settings, prediction: StoredTransform) -> Settings:
    """Return the settings with the architecture of the predicted fields, if there are any."""
    fields = [step.settings for step in prediction.steps if isinstance(step, FieldStep)]
    return replace(settings, field=fields[0]) if fields else settings
