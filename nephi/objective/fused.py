"""The objective with its gradient by compiled kernels.

The same terms as `objective.loss_terms` for B = 1, for the usual settings on the CPU. Autograd starts some two hundred
small operations a step, which take longer than the arithmetic; one call of C runs all kernels of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch

from nephi.fields import ComposedFieldPair, FieldPair
from nephi.kernels import (
    MEASURES,
    MOST_SAMPLES,
    PENALTIES,
    ChannelPatches,
    FieldArrays,
    PairObjective,
    can_interpolate,
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
        self.channels = (settings, *channels)
        self._of_level: tuple[ComparedImages, PairObjective] | None = None

    def supports(self, images: ComparedImages, points: SamplePoints) -> bool:
        """Return whether the kernels interpolate these images at these points."""
        every = _all_channels(images)
        samplers = [sampler for each in every for sampler in (*each.fixed, *each.moving)]
        are_small_pairs = all(len(each.offsets) <= MOST_SAMPLES for each in every) and len(samplers) == 2 * len(every)
        return are_small_pairs and all(can_interpolate(sampler.image.data, points.fixed) for sampler in samplers)

    @torch.no_grad()
    def add_gradient(self, images: ComparedImages, points: SamplePoints, progress: float) -> dict[str, float]:
        """Add the gradient of the loss to the parameters' `.grad`; return the weighted terms."""
        (background,), (fixed,), (moving,) = points.background, points.fixed, points.moving
        # Each direction counts half, as do the means over both fields.
        scales = {"icon": progress}
        weights = {name: 0.5 * scales.get(name, 1.0) * getattr(self.settings, name) for name in PENALTIES}
        objective = self._objective(images)
        similarities, penalties = objective.add_gradient(background, fixed, moving, tuple(weights.values()))
        terms = {channel_term(number): term for number, term in enumerate(similarities, start=1)}
        named = zip(PENALTIES, penalties, strict=True)
        return terms | {name: term for name, term in named if getattr(self.settings, name)}

    def _objective(self, images: ComparedImages) -> PairObjective:
        """Return the call for the images of a level, which is kept until there are others."""
        if self._of_level is None or self._of_level[0] is not images:
            channels = [
                _channel_patches(each, settings, len(self.channels), each is not images)
                for each, settings in zip(_all_channels(images), self.channels, strict=True)
            ]
            shared = self.settings.regularization_points
            objective = PairObjective(self.arrays, channels, shared, FOLDING_FLOOR, VARIATION_EPSILON)
            self._of_level = images, objective
        return self._of_level[1]


def _channel_patches(
    images: ComparedImages, settings: ObjectiveSettings, channels: int, further: bool
) -> ChannelPatches:
    """Return what the kernels compare of a channel.

    A `further` channel may show less than the first: centres outside of it do not count.
    """
    (fixed,), (moving,) = images.fixed, images.moving
    return ChannelPatches(
        images=(fixed.image.data, moving.image.data),
        windows=(fixed.window, moving.window),
        frames=(fixed.frame(images.offsets), moving.frame(images.offsets)),
        factors={name: 0.5 * weight / channels for name, weight in similarity_factors(settings.similarity).items()},
        epsilons=(local_epsilon(settings.variance_floor), GLOBAL_EPSILON),
        further=further,
    )


def _all_channels(images: ComparedImages) -> list[ComparedImages]:
    return [images, *(channel.images for channel in images.channels)]
