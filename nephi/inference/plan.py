"""What a prediction would do, without doing it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nephi.fields import field_size
from nephi.inference.inputs import load_model, prediction_inputs, prediction_settings
from nephi.inference.refinement import (
    Refinement,
    check_refinement,
    predicted_fields,
    refinement_schedule,
    refines_single_field,
)
from nephi.models import ModelSize, StoredModel, model_class
from nephi.optimize import Plan, estimate_memory_mb, plan_images, plan_level
from nephi.preparation import Source
from nephi.runtime import choose_device
from nephi.settings import Settings


def plan_prediction(
    fixed: Source,
    moving: Source,
    *,
    model: StoredModel | str | Path,
    preset: str | None = None,
    settings: Settings | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    refinement: Refinement = Refinement(),  # noqa: B008 (frozen)
    device: str = "auto",
) -> Plan:
    """Read and check everything that `predict` would, and say what it would do: the levels are those of a refinement.

    The arguments are those of `predict`, and so are the errors.
    """
    stored, where = load_model(model), choose_device(device)
    chosen = prediction_settings(stored, preset, settings)
    check_refinement(stored.model, chosen.field, stored.input.dimension, refinement)
    inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen)
    pair, used, fields = inputs.pair, inputs.settings, predicted_fields(stored.model)
    single = len(fields) == 1 and stored.input.extent == "fixed"
    replaced = refines_single_field(used.field, stored.input.dimension, refinement, single)
    if fields and not replaced:
        used = replace(used, field=fields[0].settings)
    if refinement.steps:
        used = refinement_schedule(used, refinement)
    levels = used.levels if refinement.steps else ()
    planned = tuple(plan_level(pair, level, used.objective.radius) for level in levels)
    size: ModelSize = model_class(stored.settings).size(stored.settings, stored.model.grid)
    lattices, parameters = size.lattices, size.transform_parameters
    if replaced:
        refined = field_size(used.field, pair.fixed.grid)
        lattices, parameters = refined.lattices, refined.parameters
    memory = estimate_memory_mb(pair, planned, parameters)
    memory = None if memory is None else memory + size.activation_bytes / 1e6
    return Plan(str(where), *plan_images(pair), used, lattices, parameters, planned, memory)
