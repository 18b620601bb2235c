"""From the maps that a model predicts in its box to the steps of a stored transform in the fixed image's world."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from nephi.fields import AffineStep, DisplacementStep, FieldMaps, FieldStep, Step
from nephi.models import ModelInput
from nephi.transforms import AffineMaps, AffineTransform, ComposedMaps, ContinuedDisplacement, MapPair, Maps


class PredictedSteps(NamedTuple):
    """The parts of a `StoredTransform` that a model predicts: see there."""

    affine: AffineTransform
    steps: tuple[Step, ...]
    inverse_steps: tuple[Step, ...]


@torch.no_grad()
def predicted_steps(prediction: MapPair, fixed: ModelInput, moving: ModelInput) -> PredictedSteps:
    """Return the first pair of a prediction as steps in the fixed image's world, followed by one affine map.

    The transform is `T_moving(phi(T_fixed^-1 x))`, T the `to_world` of the inputs and phi the predicted map. Fields and
    displacements are moved to the fixed image's world; where T_fixed is not a translation, fields stay in the model's
    box, between two affine steps. Affine maps at the end of phi are part of `affine`. The inverse is stored with the
    steps if its members are the inverses of phi's members in reverse order, else as `inverse_steps`. Tensors are copies
    on the CPU.

    Raises `TypeError` for maps of which no kind of step exists.
    """
    to_world = AffineTransform(fixed.to_world)
    alignment = moving.to_world @ to_world.inverse().matrix
    forward, inverse = _members(prediction.forward), _members(prediction.inverse)
    steps = _steps_with_inverses(forward, inverse)
    inverse_steps: list[Step] = []
    if steps is None:
        steps = [_step(member) for member in forward]
        inverse_steps = [_step(member) for member in inverse]
    *inner, last = _merge_affine_steps(steps) or [AffineStep(AffineTransform.identity(to_world.dimension))]
    affine = AffineTransform(alignment)
    if isinstance(last, AffineStep):
        affine = AffineTransform(alignment @ _conjugate(last.affine, to_world).matrix)
    else:
        inner.append(last)
    if inverse_steps:
        # The stored inverse starts with that of `affine`, a predicted one with that of the alignment.
        difference = AffineTransform(_exact_last_row(torch.linalg.solve(alignment, affine.matrix)))
        inverse_steps = _merge_affine_steps([AffineStep(difference), *_to_world(inverse_steps, to_world)])
    return PredictedSteps(affine, tuple(_to_world(inner, to_world)), tuple(inverse_steps))


def _members(maps: Maps | None) -> list[Maps]:
    """Return the members of compositions, nested ones as well, in the order in which they are applied."""
    if isinstance(maps, ComposedMaps):
        return [member for part in maps.members for member in _members(part)]
    return [] if maps is None else [maps]


def _steps_with_inverses(forward: Sequence[Maps], inverse: Sequence[Maps]) -> list[Step] | None:
    """Return steps that hold both directions; None if the inverse is not composed of the members' inverses."""
    if len(forward) != len(inverse):
        return None
    steps = [_step_with_inverse(*pair) for pair in zip(forward, reversed(inverse), strict=True)]
    complete = [step for step in steps if step is not None]
    return complete if len(complete) == len(steps) else None


def _step_with_inverse(forward: Maps, inverse: Maps) -> Step | None:
    """Return the step of two maps that are each other's inverses; None for other maps."""
    if isinstance(forward, FieldMaps) and isinstance(inverse, FieldMaps):
        shares_latents = forward.fields is inverse.fields and forward.latent is inverse.latent
        if (
            shares_latents
            and forward.field is forward.fields.forward_field
            and inverse.field is forward.fields.inverse_field
        ):
            return _field_step(forward, both=True)
    if isinstance(forward, AffineMaps) and isinstance(inverse, AffineMaps):
        one, other = forward.one(0), inverse.one(0)
        if _is_identity(AffineTransform(other.matrix @ one.matrix), 1e-5):  # predicted in single precision
            return AffineStep(one)
    return None


def _step(maps: Maps) -> Step:
    """Return the step of a map without its inverse."""
    if isinstance(maps, FieldMaps):
        return _field_step(maps, both=False)
    transform = maps.one(0)
    if isinstance(transform, AffineTransform):
        return AffineStep(transform)
    if isinstance(transform, ContinuedDisplacement):
        return DisplacementStep(transform)
    raise TypeError(f"expected fields, displacements, affine maps or compositions of these, got {type(maps).__name__}")


def _field_step(maps: FieldMaps, both: bool) -> FieldStep:
    pair = maps.field_pair(0).cpu().requires_grad_(False)
    if not both:
        pair = pair.forward_only() if maps.field is maps.fields.forward_field else pair.inverse_only()
    pair.round_tables()  # as they will be stored
    return FieldStep(pair)


def _to_world(steps: Sequence[Step], to_world: AffineTransform) -> list[Step]:
    """Return the steps conjugated by an affine map T: from `phi` to `T phi T^-1`."""
    translation = torch.equal(to_world.matrix[:-1, :-1], torch.eye(to_world.dimension, dtype=torch.float64))
    moved: list[Step] = []
    for fields, group in groupby(steps, key=lambda step: isinstance(step, FieldStep)):
        if fields and not translation:
            # Amplitudes and nodes of fields are lengths in the model's box, equal along all axes.
            moved += [AffineStep(to_world.inverse()), *group, AffineStep(to_world)]
        else:
            moved += [_move(step, to_world) for step in group]
    return _merge_affine_steps(moved)


def _move(step: Step, to_world: AffineTransform) -> Step:
    if isinstance(step, FieldStep):
        return FieldStep(step.pair.translated(step.grid.transformed(to_world.matrix)))
    if isinstance(step, AffineStep):
        return AffineStep(_conjugate(step.affine, to_world))
    vectors = step.field.displacement @ to_world.matrix[:-1, :-1].T.to(step.field.displacement)
    return DisplacementStep(ContinuedDisplacement(vectors, step.grid.transformed(to_world.matrix)))


def _conjugate(affine: AffineTransform, to_world: AffineTransform) -> AffineTransform:
    return AffineTransform(_exact_last_row(to_world.matrix @ affine.matrix @ to_world.inverse().matrix))


def _merge_affine_steps(steps: Sequence[Step]) -> list[Step]:
    """Return the steps with neighbouring affine maps multiplied, and without identities."""
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        if isinstance(step, AffineStep) and isinstance(last, AffineStep):
            product = _exact_last_row(step.affine.matrix @ last.affine.matrix)
            merged[-1] = AffineStep(AffineTransform(product))
        else:
            merged.append(step)
    return [step for step in merged if not (isinstance(step, AffineStep) and _is_identity(step.affine, 1e-9))]


def _exact_last_row(matrix: torch.Tensor) -> torch.Tensor:
    """Return a homogeneous matrix with its last row set to (0, ..., 0, 1), without rounding errors."""
    matrix[-1] = torch.eye(len(matrix), dtype=torch.float64)[-1]
    return matrix


def _is_identity(affine: AffineTransform, tolerance: float) -> bool:
    """Return whether the map is the identity to `tolerance` in its factors, and in mm."""
    identity = torch.eye(len(affine.matrix), dtype=torch.float64)
    return bool((affine.matrix - identity).abs().max() <= tolerance)
