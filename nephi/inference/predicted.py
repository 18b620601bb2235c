"""What a model says of two images, where they are."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nephi.fields import DisplacementStep, FieldStep, Step, translated
from nephi.geometry import Grid
from nephi.models import ModelInput, NephiSystem, StoredModel, System
from nephi.transforms import ContinuedDisplacement


@torch.no_grad()
def predicted_steps(
    model: StoredModel, fixed: ModelInput, moving: ModelInput, device: torch.device
) -> tuple[Step, ...]:
    """Return what `model` predicts, computed on `device`: deformations in the fixed image's world, in their order.

    What comes after them is the shift from the fixed to the moving centre. The fields are copies, free to be fitted
    further.
    """
    system = model.system if device.type == "cpu" else copy.deepcopy(model.system).to(device)
    images = [seen.values[None].to(device) for seen in (fixed, moving)]
    shift = fixed.to_world
    if isinstance(system, NephiSystem):
        return _fields(model, system, images, shift)
    return (_displacement(system, images, shift),)


def _fields(model: StoredModel, system: NephiSystem, images: list[Tensor], shift: Tensor) -> tuple[Step, ...]:
    pairs = system.network.field_pairs(*images)
    steps = []
    for pair, grid in zip(pairs, reversed(system.network.grids), strict=True):
        there = grid.transformed(shift)
        steps.append(FieldStep(translated(pair, there), model.settings.field, there))
        steps[-1].pair.round_tables()  # as it will be stored
    return tuple(steps)


def _displacement(system: System, images: list[Tensor], shift: Tensor) -> DisplacementStep:
    phi = system(*images).forward
    grid: Grid = phi.grid
    field = phi.displacement[0].movedim(0, -1).float().cpu().contiguous()
    return DisplacementStep(ContinuedDisplacement(field, grid.transformed(shift)))
