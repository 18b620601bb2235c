"""From the maps that a model predicts in its box to the steps of a stored transform in the fixed image's world."""

from __future__ import annotations

from typing import NamedTuple

import torch

from nephi.fields import AffineStep, Step, conjugate_steps, merge_affine_steps, step_of
from nephi.models import ModelInput
from nephi.transforms import AffineTransform, Composite, MapPair, Maps, Transform, composed_affine


class PredictedSteps(NamedTuple):
    """The parts of a `StoredTransform` that a model predicts: see there."""

    affine: AffineTransform
    steps: tuple[Step, ...]
    inverse_steps: tuple[Step, ...]


@torch.no_grad()
def predicted_steps(prediction: MapPair, fixed: ModelInput, moving: ModelInput) -> PredictedSteps:
    """Return the first pair of a prediction as steps in the fixed image's world, followed by one affine map.

    The transform is `T_moving(phi(T_fixed^-1 x))`, T the `to_world` of the inputs and phi the predicted map. Its
    members are moved to the fixed image's world; those that cannot be (`Step.conjugated`) stay in the model's box,
    between two affine steps. Affine maps at the end of phi are part of `affine`. The inverse is stored with the steps
    if its members are the inverses of phi's members in reverse order, else as `inverse_steps`. Tensors are copies on
    the CPU.

    Raises `TypeError` for maps of which no kind of step exists.
    """
    to_world = AffineTransform(fixed.to_world)
    alignment = composed_affine(to_world.inverse(), AffineTransform(moving.to_world))
    forward = prediction.forward.flattened()
    inverse = [] if prediction.inverse is None else prediction.inverse.flattened()
    inverse_steps: list[Step] = []
    if prediction.inverse is not None and prediction.forward.inverts(prediction.inverse):
        pairs = zip(forward, reversed(inverse), strict=True)
        steps = [step_of(member.one(0), partner.one(0)) for member, partner in pairs]
    else:
        steps, inverse_steps = _steps(forward), _steps(inverse)
    *inner, last = merge_affine_steps(steps) or [AffineStep(AffineTransform.identity(to_world.dimension))]
    affine = alignment
    if isinstance(last, AffineStep):
        affine = composed_affine(last.conjugated(to_world).affine, alignment)
    else:
        inner.append(last)
    if inverse_steps:
        # The stored inverse starts with that of `affine`, a predicted one with that of the alignment.
        difference = composed_affine(affine, alignment.inverse())
        inverse_steps = merge_affine_steps([AffineStep(difference), *conjugate_steps(inverse_steps, to_world)])
    return PredictedSteps(affine, tuple(conjugate_steps(inner, to_world)), tuple(inverse_steps))


def _steps(members: list[Maps]) -> list[Step]:
    """Return the steps of the first pair of maps, each without its inverse."""
    return [step_of(transform) for member in members for transform in _flattened(member.one(0))]


def _flattened(transform: Transform) -> list[Transform]:
    """Return the members of compositions, nested ones as well, in the order in which they are applied."""
    if isinstance(transform, Composite):
        return [member for part in transform.transforms for member in _flattened(part)]
    return [transform]
