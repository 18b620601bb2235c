"""The objective with its gradient by hand, kernel after kernel.

The same terms as `objective.loss_terms`, for the usual settings on the processor. There autograd starts some two
hundred small operations a step, which take longer than the arithmetic; here it is twenty calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.fields import ComposedFieldPair, FieldPair
from nephi.images import ImageSampler
from nephi.kernels import (
    MEASURES,
    MOST_SAMPLES,
    PENALTIES,
    FieldArrays,
    can_interpolate,
    compare,
    field_gradient,
    field_values,
    interpolate_patches,
    patches_gradient,
    round_trip,
)
from nephi.losses import FOLDING_FLOOR, GLOBAL_EPSILON, local_epsilon, similarity_factors
from nephi.objective.objective import Draw, Level
from nephi.settings import Settings


class CompiledObjective:
    """The objective of a pair of fields with kernels for all of it; see `compiled_objective`."""

    def __init__(self, arrays: tuple[FieldArrays, FieldArrays], settings: Settings) -> None:
        self.arrays = arrays
        self.settings = settings
        # Either direction counts half, as do the means over both fields.
        factors = similarity_factors(settings.objective.similarity)
        self.measures = {name: 0.5 * weight for name, weight in factors.items()}
        self.epsilons = local_epsilon(settings.objective.variance_floor), GLOBAL_EPSILON

    def serves(self, level: Level, draw: Draw) -> bool:
        """Tell whether the kernels read a level's images at these points."""
        samplers = level.fixed, level.moving
        few = len(level.offsets) <= MOST_SAMPLES
        return few and all(can_interpolate(s.image.data, draw.fixed) for s in samplers)

    @torch.no_grad()
    def add_gradient(self, level: Level, draw: Draw, share: float) -> dict[str, float]:
        """Add the gradient of a step's loss to the parameters' `.grad`; return the weighted terms of the loss."""
        ways = [
            _Way.of(arrays, draw.everywhere, centres)
            for arrays, centres in zip(self.arrays, (draw.fixed, draw.moving), strict=True)
        ]
        terms = dict.fromkeys(("similarity", *PENALTIES), 0.0)
        for way, here, there in ((ways[0], level.fixed, level.moving), (ways[1], level.moving, level.fixed)):
            terms["similarity"] += self._compare(way, here, there, level.offsets)
        for way, other in ((ways[0], ways[1]), (ways[1], ways[0])):
            found = self._penalise(way, other.arrays, share)
            for name, term in zip(PENALTIES, found, strict=True):
                terms[name] += term
        for way in ways:
            _add(way.arrays, way.points, way.by_moved, way.by_jacobians, of_points=False)
        weights = self.settings.objective
        return {name: term for name, term in terms.items() if name == "similarity" or getattr(weights, name)}

    def _compare(self, way: _Way, here: ImageSampler, there: ImageSampler, offsets: Tensor) -> float:
        first = way.everywhere
        frame = there.frame(offsets)
        drawn = interpolate_patches(
            here.image.data, here.window, here.frame(offsets), way.points[first:], None, gradient=False
        )
        met = interpolate_patches(
            there.image.data, there.window, frame, way.moved[first:], way.jacobians[first:], gradient=True
        )
        loss, by_met = compare(drawn.values, met.values, met.inside, self.measures, self.epsilons, gradient=True)
        assert met.gradients is not None and by_met is not None
        by_centres, by_matrices = patches_gradient(frame, met.gradients, by_met, of_matrices=True)
        assert by_matrices is not None
        way.by_moved[first:] += by_centres
        way.by_jacobians[first:] += by_matrices
        return loss

    def _penalise(self, way: _Way, other: FieldArrays, share: float) -> list[float]:
        weights = self.settings.objective
        count = way.everywhere + min(weights.regularization_points, len(way.points) - way.everywhere)
        start, there, first = way.points[:count], way.moved[:count], way.jacobians[:count]
        shift, second = field_values(other, there, jacobian=True)
        assert second is not None
        factors = 0.5 * weights.gradicon, 0.5 * share * weights.icon, 0.5 * weights.folding, 0.5 * weights.diffusion
        found = round_trip(start, there + shift, first, second, factors, FOLDING_FLOOR)
        by_there = _add(other, there, found.by_back, found.by_second, of_points=True)
        assert by_there is not None
        way.by_moved[:count] += found.by_back.add_(by_there)
        way.by_jacobians[:count] += found.by_first
        return found.terms


@dataclass
class _Way:
    """One field at one step's points, the first of them `everywhere`, and the gradient of the loss so far."""

    arrays: FieldArrays
    everywhere: int
    points: Tensor
    moved: Tensor
    jacobians: Tensor
    by_moved: Tensor
    by_jacobians: Tensor

    @classmethod
    def of(cls, arrays: FieldArrays, everywhere: Tensor, centres: Tensor) -> _Way:
        points = torch.cat([everywhere, centres])
        shift, jacobians = field_values(arrays, points, jacobian=True)
        assert jacobians is not None
        gradients = torch.zeros_like(points), torch.zeros_like(jacobians)
        return cls(arrays, len(everywhere), points, points + shift, jacobians, *gradients)


def compiled_objective(fields: FieldPair | ComposedFieldPair, settings: Settings) -> CompiledObjective | None:
    """Return the objective by kernels; None for a field, place or setting that they do not know.

    Needs `.grad` of the parameters that are fitted.
    """
    if isinstance(fields, ComposedFieldPair):
        return None
    weights = settings.objective
    found = [None if f is None else f.compiled.arrays(f) for f in (fields.forward_field, fields.inverse_field)]
    known = similarity_factors(weights.similarity).keys() <= set(MEASURES)
    unknown = weights.volume or weights.bending or weights.codes
    if found[0] is None or found[1] is None or not known or unknown or not weights.radius:
        return None
    return CompiledObjective((found[0], found[1]), settings)


def _add(arrays: FieldArrays, points: Tensor, by_moved: Tensor, by_jacobians: Tensor, of_points: bool) -> Tensor | None:
    """Add the gradient of the parameters to theirs; return that of the points if wanted."""
    return field_gradient(arrays, points, by_moved, by_jacobians, of_points, arrays.gradients())
