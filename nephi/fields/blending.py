"""Transforms between two predictions of one model, by interpolated latent values."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from nephi.errors import UsageError
from nephi.fields.maps import latent_parameters
from nephi.fields.neural_field import FieldPair
from nephi.fields.steps import AffineStep, FieldStep, Step
from nephi.fields.stored import StoredTransform
from nephi.transforms import AffineTransform


def blend(one: StoredTransform, other: StoredTransform, fraction: float) -> StoredTransform:
    """Return the transform whose latent values are interpolated linearly between those of two predictions.

    At `fraction` 0 it is `one`; at 1 it is `other` in the world of `one`'s fixed image. The affine parts are
    interpolated, too. The transform maps from fixed points of `one`'s world, mm, RAS.

    Raises `UsageError` for a fraction outside 0 to 1, and for transforms that are not predictions of neural fields by
    one model, or were refined with their decoders.
    """
    if len(one.steps) != len(other.steps) or not one.steps:
        raise UsageError("expected two predictions of one model, got transforms with different steps")
    steps = [_blend_steps(*pair, fraction) for pair in zip(one.steps, other.steps, strict=True)]
    matrix = one.affine.matrix.lerp(other.affine.matrix, fraction)
    return replace(one, affine=AffineTransform(matrix), steps=tuple(steps))


def blend_fields(one: FieldPair, other: FieldPair, fraction: float) -> FieldPair:
    """Return fields over the grid of `one` with latent values interpolated between those of two pairs of fields.

    Both must come from one model: equal networks, other codes and tables. Raises `UsageError` otherwise, and for a
    `fraction` outside 0 to 1; at 0 the latent values are those of `one`.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction: expected 0 to 1, got {fraction}")
    result = copy.deepcopy(one)
    states = result.state_dict(), other.state_dict()
    if {name: value.shape for name, value in states[0].items()} != {name: v.shape for name, v in states[1].items()}:
        raise UsageError("expected two predictions of one model, got fields of different shapes")
    latent_ids = {id(parameter) for parameter in latent_parameters(result)}
    named = result.named_parameters(remove_duplicate=False)
    latent_names = {name for name, parameter in named if id(parameter) in latent_ids}
    for name in states[0].keys() - latent_names:
        if not torch.equal(states[0][name], states[1][name]):
            raise UsageError(f"expected two predictions of one model, got different networks (in {name})")
    with torch.no_grad():
        for values, end in zip(latent_parameters(result), latent_parameters(other), strict=True):
            values.lerp_(end, fraction)
    return result


def _blend_steps(one: Step, other: Step, fraction: float) -> Step:
    if isinstance(one, AffineStep) and isinstance(other, AffineStep):
        return AffineStep(AffineTransform(one.affine.matrix.lerp(other.affine.matrix, fraction)))
    if not isinstance(one, FieldStep) or not isinstance(other, FieldStep):
        raise UsageError(f"expected predictions of neural fields, got steps of {one.kind} and {other.kind}")
    fields = blend_fields(one.pair, other.pair, fraction)
    fields.round_tables()  # as they will be stored
    return FieldStep(fields)
