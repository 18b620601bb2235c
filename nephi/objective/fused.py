"""The objective with its gradient by compiled kernels.

The same terms as `objective.loss_terms` for B = 1, for the usual settings on the CPU. Autograd starts some two hundred
small operations a step, which take longer than the arithmetic; the kernels are called twenty times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
from nephi.losses import FOLDING_FLOOR, GLOBAL_EPSILON, VARIATION_EPSILON, local_epsilon, similarity_factors
from nephi.objective.objective import ComparedImages, SamplePoints, channel_term
from nephi.settings import ObjectiveSettings

FUSED_WEIGHTS = PENALTIES
"""The weights of terms that the kernels compute; with another one above 0 the reference is used."""
SAMPLING_SETTINGS = (
    "similarity",
    "variance_floor",
    "points",
    "fraction",
    "radius",
    "regularization_points",
    "background_points",
    "bending_step",
)
"""The settings that are not weights: what the similarity is, and where terms are computed."""
FUSED_CHOICES = {"outside": "ignored"}
"""The values of further settings with which the kernels compute the similarity."""


def fused_objective(
    pair: FieldPair | ComposedFieldPair, settings: ObjectiveSettings, channels: Sequence[ObjectiveSettings] = ()
) -> FusedObjective | None:
    """Return the objective by kernels; None for fields, a device or settings that the kernels do not support.

    `channels` are the settings of further channels. The parameters that are fitted need `.grad`.
    """
    if isinstance(pair, ComposedFieldPair) or not all(map(has_fused_terms, (settings, *channels))):
        return None
    pair_fields = (pair.forward_field, pair.inverse_field)
    forward, inverse = (None if field is None else field.compiled.arrays(field) for field in pair_fields)
    return None if forward is None or inverse is None else FusedObjective((forward, inverse), settings, channels)


def has_fused_terms(settings: ObjectiveSettings) -> bool:
    """Return whether the kernels compute every term that has a weight, of `FUSED_WEIGHTS`, as settings require."""
    if any(getattr(settings, name) != value for name, value in FUSED_CHOICES.items()):
        return False
    supported = (*FUSED_WEIGHTS, *SAMPLING_SETTINGS, *FUSED_CHOICES)
    remaining = [field.name for field in fields(settings) if field.name not in supported]
    measures = similarity_factors(settings.similarity).keys()
    return settings.radius > 0 and measures <= set(MEASURES) and not any(getattr(settings, name) for name in remaining)


class FusedObjective:
    """The objective of a pair of fields, all of it by kernels; see `fused_objective`."""

    def __init__(
        self,
        arrays: tuple[FieldArrays, FieldArrays],
        settings: ObjectiveSettings,
        channels: Sequence[ObjectiveSettings] = (),
    ) -> None:
        self.arrays = arrays
        self.settings = settings
        self.channels = [_Channel.of(each, 1 + len(channels)) for each in (settings, *channels)]

    def supports(self, images: ComparedImages, points: SamplePoints) -> bool:
        """Return whether the kernels interpolate these images at these points."""
        every = _all_channels(images)
        samplers = [sampler for each in every for sampler in (*each.fixed, *each.moving)]
        are_small_pairs = all(len(each.offsets) <= MOST_SAMPLES for each in every) and len(samplers) == 2 * len(every)
        return are_small_pairs and all(can_interpolate(sampler.image.data, points.fixed) for sampler in samplers)

    @torch.no_grad()
    def add_gradient(self, images: ComparedImages, points: SamplePoints, progress: float) -> dict[str, float]:
        """Add the gradient of the loss to the parameters' `.grad`; return the weighted terms."""
        (background,) = points.background
        forward, backward = (
            _Direction.of(arrays, background, centres[0])
            for arrays, centres in zip(self.arrays, (points.fixed, points.moving), strict=True)
        )
        similarities = [channel_term(number) for number in range(1, 1 + len(self.channels))]
        terms = dict.fromkeys((*similarities, *PENALTIES), 0.0)
        for name, channel, each in zip(similarities, self.channels, _all_channels(images), strict=True):
            (fixed,), (moving,) = each.fixed, each.moving
            for direction, source, target in ((forward, fixed, moving), (backward, moving, fixed)):
                terms[name] += _compare(direction, source, target, each.offsets, channel, each is not images)
        penalized = any(getattr(self.settings, name) for name in PENALTIES)
        for direction, other in ((forward, backward), (backward, forward)) if penalized else ():
            penalties = self._penalize(direction, other.arrays, progress)
            for name, term in zip(PENALTIES, penalties, strict=True):
                terms[name] += term
        for direction in (forward, backward):
            by_values = direction.by_mapped, direction.by_jacobians
            _add_gradient(direction.arrays, direction.points, *by_values, of_points=False)
        return {name: term for name, term in terms.items() if name in similarities or getattr(self.settings, name)}

    def _penalize(self, direction: _Direction, other: FieldArrays, progress: float) -> list[float]:
        """Return the terms of `PENALTIES` for one order of composition; add their gradients."""
        settings = self.settings
        shared = min(settings.regularization_points, len(direction.points) - direction.background)
        count = direction.background + shared
        points, mapped, jacobians = direction.points[:count], direction.mapped[:count], direction.jacobians[:count]
        displacement, other_jacobians = field_values(other, mapped, jacobian=True)
        assert other_jacobians is not None
        scales = {"icon": progress}
        half_weights = tuple(0.5 * scales.get(name, 1.0) * getattr(settings, name) for name in PENALTIES)
        composed = mapped + displacement
        penalties = round_trip(
            points, composed, jacobians, other_jacobians, half_weights, FOLDING_FLOOR, VARIATION_EPSILON
        )
        by_composed = penalties.by_back
        by_mapped = _add_gradient(other, mapped, by_composed, penalties.by_second, of_points=True)
        assert by_mapped is not None
        direction.by_mapped[:count] += by_composed.add_(by_mapped)
        direction.by_jacobians[:count] += penalties.by_first
        return penalties.terms


@dataclass(frozen=True)
class _Channel:
    """The measures of a channel by their factors, and the constants that they add to variances."""

    measures: dict[str, float]
    epsilons: tuple[float, float]

    @classmethod
    def of(cls, settings: ObjectiveSettings, channels: int) -> _Channel:
        # Each direction counts half, as do the means over both fields.
        factors = similarity_factors(settings.similarity)
        measures = {name: 0.5 * weight / channels for name, weight in factors.items()}
        return cls(measures, (local_epsilon(settings.variance_floor), GLOBAL_EPSILON))


def _all_channels(images: ComparedImages) -> list[ComparedImages]:
    return [images, *(channel.images for channel in images.channels)]


def _compare(
    direction: _Direction,
    source: ImageSampler,
    target: ImageSampler,
    offsets: Tensor,
    channel: _Channel,
    further: bool,
) -> float:
    """Return the dissimilarity of the patches in both images; add its gradient to that of the direction.

    A `further` channel may show less than the first: centres outside of it do not count.
    """
    first = direction.background
    centres, mapped, jacobians = direction.points[first:], direction.mapped[first:], direction.jacobians[first:]
    frame = target.frame(offsets)
    source_patches = interpolate_patches(
        source.image.data, source.window, source.frame(offsets), centres, None, gradient=False
    )
    patches = interpolate_patches(target.image.data, target.window, frame, mapped, jacobians, gradient=True)
    inside = patches.inside * source_patches.inside if further else patches.inside
    loss, by_patches = compare(
        source_patches.values, patches.values, inside, channel.measures, channel.epsilons, gradient=True
    )
    assert patches.gradients is not None and by_patches is not None
    by_mapped, by_jacobians = patches_gradient(frame, patches.gradients, by_patches, of_matrices=True)
    assert by_jacobians is not None
    direction.by_mapped[first:] += by_mapped
    direction.by_jacobians[first:] += by_jacobians
    return loss


@dataclass
class _Direction:
    """One field at one step's points, of which the first `background` are no patches, and the gradient of the loss."""

    arrays: FieldArrays
    background: int
    points: Tensor
    mapped: Tensor
    jacobians: Tensor
    by_mapped: Tensor
    by_jacobians: Tensor

    @classmethod
    def of(cls, arrays: FieldArrays, background: Tensor, centres: Tensor) -> _Direction:
        points = torch.cat([background, centres])
        displacement, jacobians = field_values(arrays, points, jacobian=True)
        assert jacobians is not None
        gradients = torch.zeros_like(points), torch.zeros_like(jacobians)
        return cls(arrays, len(background), points, points + displacement, jacobians, *gradients)


def _add_gradient(
    arrays: FieldArrays, points: Tensor, by_values: Tensor, by_jacobians: Tensor, of_points: bool
) -> Tensor | None:
    """Add the gradient of a field's parameters to their `.grad`; return that of the points, with `of_points`."""
    return field_gradient(arrays, points, by_values, by_jacobians, of_points, arrays.gradients())
