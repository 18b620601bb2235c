"""What a prediction would do, without doing it."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn

from nephi.fields import latent_grids
from nephi.inference.inputs import joins, prediction_inputs, prediction_settings, refinable_model
from nephi.inference.refinement import Refinement
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
    stored, where = refinable_model(model, refinement), choose_device(device)
    chosen = prediction_settings(stored, preset, settings)
    inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen, refinement)
    pair, chosen = inputs.pair, inputs.settings
    levels = chosen.levels if refinement.steps else ()
    planned = tuple(plan_level(pair, level, chosen.objective.radius) for level in levels)
    joined = joins(stored, chosen, refinement)
    lattices, parameters = field_size(chosen.field, pair.fixed.grid) if joined else _made_of(stored)
    memory = estimate_memory_mb(pair, planned, parameters)
    memory = None if memory is None else memory + BYTES_PER_FEATURE * _features(stored) / 1e6
    return Plan(str(where), *plan_images(pair), chosen, lattices, parameters, planned, memory)


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
