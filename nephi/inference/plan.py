"""What a prediction would do, without doing it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from torch import nn

from nephi.fields import latent_grids
from nephi.inference.inputs import load_model, prediction_inputs, prediction_settings
from nephi.inference.refinement import (
    Refinement,
    check_refinement,
    predicted_fields,
    refinement_schedule,
    refines_single_field,
)
from nephi.models import NephiSystem, StoredModel
from nephi.optimize import Plan, estimate_memory_mb, field_size, plan_images, plan_level
from nephi.preparation import Source
from nephi.runtime import choose_device
from nephi.settings import Settings

BYTES_PER_FEATURE = 30  # as measured: its value, normalised and activated, and all again on the way back up


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
    check_refinement(stored.system, chosen.field, stored.frame.dimension, refinement)
    inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen)
    pair, used, fields = inputs.pair, inputs.settings, predicted_fields(stored.system)
    single = len(fields) == 1 and stored.frame.extent == "fixed"
    replaced = refines_single_field(used.field, stored.frame.dimension, refinement, single)
    if fields and not replaced:
        used = replace(used, field=fields[0].settings)
    if refinement.steps:
        used = refinement_schedule(used, refinement)
    levels = used.levels if refinement.steps else ()
    planned = tuple(plan_level(pair, level, used.objective.radius) for level in levels)
    lattices, parameters = field_size(used.field, pair.fixed.grid) if replaced else _made_of(stored)
    memory = estimate_memory_mb(pair, planned, parameters)
    memory = None if memory is None else memory + BYTES_PER_FEATURE * _features(stored) / 1e6
    return Plan(str(where), *plan_images(pair), used, lattices, parameters, planned, memory)


def _features(model: StoredModel) -> int:
    """Return how many features the network has on its way down, at all resolutions of its finest step.

    The forces of two images take, while they are made, as much as one for each axis of every voxel.
    """
    if model.settings.system == "auto-decoder":  # has no network for images
        return 0
    halved = isinstance(model.system, NephiSystem)  # already by its first convolution
    filters = model.settings.encoder.filters if halved else model.settings.unet.filters
    shapes = [tuple(-(-n // 2 ** (level + halved)) for n in model.frame.shape) for level in range(len(filters))]
    forced = halved and model.settings.encoder.forces
    made = model.frame.dimension * math.prod(model.frame.shape) if forced else 0
    return made + sum(count * math.prod(shape) for count, shape in zip(filters, shapes, strict=True))


def _made_of(model: StoredModel) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Return the lattices of what is predicted, and how many numbers it has."""
    if not isinstance(model.system, NephiSystem):
        return (), model.system.grid.size * model.system.grid.dimension
    fields = model.system.network.fields
    lattices = [shape for pair in fields for grids in latent_grids(pair)[:1] for shape in grids.shapes]
    return tuple(lattices), sum(p.numel() for p in nn.ModuleList(fields).parameters())
