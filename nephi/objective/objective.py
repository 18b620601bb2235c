"""The loss that fits and trainings minimise: every term, of the maps of B pairs at one step's random points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi import losses
from nephi.fields import ComposedFieldPair, FieldPair, single_maps
from nephi.images import ImageSampler
from nephi.objective.labels import ComparedLabels, label_dissimilarity
from nephi.settings import INVERSE_WEIGHTS, PENALTIES, REGULARIZATION_WEIGHTS, ObjectiveSettings
from nephi.transforms import MapPair, Maps


@dataclass(frozen=True)
class ComparedImages:
    """The images of B pairs, one sampler each, and the offsets `(K, D)` in mm of the samples of a patch.

    `channels` are further images of the same pairs.
    """

    fixed: Sequence[ImageSampler]
    moving: Sequence[ImageSampler]
    offsets: Tensor
    channels: tuple[ComparedChannel, ...] = ()


@dataclass(frozen=True)
class ComparedChannel:
    """Images of a further channel, and the settings of which similarity, variance floor and radius are its own."""

    images: ComparedImages
    settings: ObjectiveSettings


@dataclass(frozen=True)
class SamplePoints:
    """World points (mm) of one step, for each of B pairs.

    `fixed` and `moving` `(B, N, D)` are the centres of patches in either image, in its mask if it has one;
    `background` `(B, M, D)` are further points for the regularization, over the whole grid. `windows` `(B, N, K, D)`,
    mm, are the offsets of the samples of a window from each centre, None for patches.
    """

    fixed: Tensor
    moving: Tensor
    background: Tensor
    windows: Tensor | None = None


@dataclass(frozen=True)
class LandmarkPoints:
    """Corresponding points of B pairs, `(B, N, D)`, world mm; those of a pair without landmarks are NaN."""

    fixed: Tensor
    moving: Tensor


def loss_terms(
    maps: MapPair,
    images: ComparedImages,
    points: SamplePoints,
    settings: ObjectiveSettings,
    progress: float = 1.0,
    labels: ComparedLabels | None = None,
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss, means over the pairs; their sum is minimised.

    `similarity`, and `dice` of `labels`, are means over both directions (the one that exists, without an inverse map).
    With C channels the terms `similarity`, `similarity_2` ... are divided by C, so that their sum is the mean.
    Each other term has the name of its weight and is left out if that is 0; the settings define them. `progress`, from
    0 to 1, scales `icon`. A patch whose centre is mapped outside the other image does not count, or as `outside` says.
    """
    patches = settings.radius > 0 or any(channel.settings.radius > 0 for channel in images.channels)
    directions = [_MappedPoints(maps.forward, points.fixed, points, settings, patches)]
    if maps.inverse is not None:
        directions.append(_MappedPoints(maps.inverse, points.moving, points, settings, patches))
    terms = {}
    if weight := getattr(settings, "similarity_weight", 1.0) / (1 + len(images.channels)):
        terms["similarity"] = weight * _mean_dissimilarity(directions, images, settings)
        for number, channel in enumerate(images.channels, start=2):
            value = _mean_dissimilarity(directions, channel.images, channel.settings, further=True)
            terms[channel_term(number)] = weight * value
    if len(directions) == 2:
        terms |= _consistency(directions[0], directions[1], settings, progress)
    terms |= _regularization(directions, settings)
    terms |= {name: weight * maps.penalties[name] for name in PENALTIES if (weight := getattr(settings, name, 0.0))}
    if labels is not None:
        orders = zip(directions, (labels, labels.exchanged()), strict=False)
        values = [label_dissimilarity(each.mapped, each.centres, order) for each, order in orders]
        terms["dice"] = getattr(settings, "dice", 1.0) * torch.stack(values).mean()
    return terms


def channel_term(number: int) -> str:
    """Return the name of the term of a channel, counted from 1."""
    return "similarity" if number == 1 else f"similarity_{number}"


def landmark_distance(maps: MapPair, landmarks: LandmarkPoints) -> Tensor:
    """Return the mean distance, mm, of mapped landmarks from their partners: over the pairs and both directions.

    A pair without landmarks counts 0.
    """
    distances = [_distance(maps.forward, landmarks.fixed, landmarks.moving)]
    if maps.inverse is not None:
        distances.append(_distance(maps.inverse, landmarks.moving, landmarks.fixed))
    return torch.stack(distances).mean()


def fitted_maps(fields: FieldPair | ComposedFieldPair) -> MapPair:
    """Return the fields of a fit, or their compositions, as the maps of B = 1 pairs."""
    return fields.maps() if isinstance(fields, ComposedFieldPair) else single_maps(fields)


def add_gradient(
    fields: FieldPair | ComposedFieldPair,
    images: ComparedImages,
    points: SamplePoints,
    settings: ObjectiveSettings,
    progress: float,
) -> dict[str, Tensor]:
    """Add the gradient of the loss to the `.grad` of the fields' parameters; return the terms, as `loss_terms`."""
    terms = loss_terms(fitted_maps(fields), images, points, settings, progress)
    with fields.gradients_in_place():
        torch.stack(list(terms.values())).sum().backward()
    return {name: term.detach() for name, term in terms.items()}


class _MappedPoints:
    """One of two maps at a step's points: patch centres for the similarity; points with Jacobians for the rest.

    The latter are the background points and the first `regularization_points` of the centres.
    """

    def __init__(
        self, maps: Maps, centres: Tensor, points: SamplePoints, settings: ObjectiveSettings, patches: bool
    ) -> None:
        self.maps = maps
        self.centres = centres
        self.patch_jacobians: Tensor | None = None
        self.samples: Tensor | None = None if points.windows is None else centres.unsqueeze(2) + points.windows
        background = points.background
        shared = min(settings.regularization_points, centres.shape[1])
        if patches:
            # Patches need the Jacobians of all centres: the regularization reuses the first of them.
            every = torch.cat([background, centres], dim=1)
            first, count = background.shape[1], background.shape[1] + shared
            values, jacobians = maps.value_and_jacobian(every)
            self.mapped, self.patch_jacobians = values[:, first:], jacobians[:, first:]
            self.points, self.values, self.jacobians = every[:, :count], values[:, :count], jacobians[:, :count]
        else:
            self.mapped = maps(centres)
            self.points = torch.cat([background, centres[:, :shared]], dim=1)
            if any(getattr(settings, name) for name in REGULARIZATION_WEIGHTS):
                self.values, self.jacobians = maps.value_and_jacobian(self.points)

    def dissimilarity(
        self,
        source: Sequence[ImageSampler],
        target: Sequence[ImageSampler],
        offsets: Tensor,
        settings: ObjectiveSettings,
        further: bool,
    ) -> Tensor:
        """Return the mean over the pairs: patches of the image of the centres against those they are mapped to.

        A `further` channel may show less than the first: centres outside of it do not count either.
        """
        loss = losses.similarity(settings.similarity, settings.variance_floor)
        dark = settings.outside == "dark"
        # Windows are too wide for the Jacobian at their centre: each of their samples is mapped.
        samples = None if self.samples is None else self.maps(self.samples.flatten(1, 2)).view_as(self.samples)
        values = []
        for pair, (source_image, target_image) in enumerate(zip(source, target, strict=True)):
            mapped = self.mapped[pair]
            jacobians = None if self.patch_jacobians is None or not settings.radius else self.patch_jacobians[pair]
            inside = target_image.contains(mapped.detach()).float()
            if further:
                inside = inside * source_image.contains(self.centres[pair]).float()
            if self.samples is not None and samples is not None:
                windows = (source_image, self.samples[pair]), (target_image, samples[pair])
                fixed, warped = (_dark_outside(*each) if dark else each[0](each[1]) for each in windows)
            else:
                fixed = source_image.patches(self.centres[pair], offsets)
                warped = target_image.patches(mapped, offsets, jacobians)
                warped = warped * inside.unsqueeze(1) if dark else warped
            values.append(loss(fixed, warped, None if dark else inside))
        return torch.stack(values).mean()


def _dark_outside(image: ImageSampler, points: Tensor) -> Tensor:
    """Return the values of an image that is 0 outside of its grid."""
    return image(points) * image.contains(points.detach()).float()


def _mean_dissimilarity(
    directions: Sequence[_MappedPoints], images: ComparedImages, settings: ObjectiveSettings, further: bool = False
) -> Tensor:
    """Return the mean over the directions; the second one, if there is one, maps moving to fixed points."""
    orders = zip(directions, ((images.fixed, images.moving), (images.moving, images.fixed)), strict=False)
    values = [direction.dissimilarity(*order, images.offsets, settings, further) for direction, order in orders]
    return values[0] if len(values) == 1 else 0.5 * (values[0] + values[1])


def _consistency(
    forward: _MappedPoints, backward: _MappedPoints, settings: ObjectiveSettings, progress: float
) -> dict[str, Tensor]:
    """Return the terms that compare the composition of both maps, in both orders, with the identity."""
    if not any(getattr(settings, name) for name in INVERSE_WEIGHTS):
        return {}
    orders = [
        (outer.maps.value_and_jacobian(inner.values), inner)
        for inner, outer in ((forward, backward), (backward, forward))
    ]
    terms = {}
    if settings.gradicon:
        values = [losses.gradicon(jacobian, inner.jacobians) for (_, jacobian), inner in orders]
        terms["gradicon"] = 0.5 * settings.gradicon * (values[0] + values[1])
    if settings.icon:
        values = [losses.icon(composed, inner.points) for (composed, _), inner in orders]
        terms["icon"] = 0.5 * progress * settings.icon * (values[0] + values[1])
    return terms


def _regularization(directions: Sequence[_MappedPoints], settings: ObjectiveSettings) -> dict[str, Tensor]:
    """Return the terms that are means over the points of all maps."""
    terms: dict[str, Tensor] = {}
    by_name = {
        "folding": losses.folding,
        "diffusion": losses.diffusion,
        "total_variation": losses.total_variation,
        "volume": losses.volume_change,
    }
    for name, loss in by_name.items():
        if weight := getattr(settings, name):
            terms[name] = weight * loss(torch.cat([direction.jacobians for direction in directions]))
    if settings.bending:
        hessians = [
            losses.hessian_by_differences(each.maps.value_and_jacobian, each.points, settings.bending_step)
            for each in directions
        ]
        terms["bending"] = settings.bending * losses.bending(torch.cat(hessians))
    return terms


def _distance(maps: Maps, source: Tensor, target: Tensor) -> Tensor:
    """Return the mean over the pairs of the mean distance of their mapped landmarks."""
    is_known = source.isfinite().all(dim=-1, keepdim=True)
    mapped = maps(torch.where(is_known, source, 0.0))
    return torch.where(is_known, mapped - target, 0.0).norm(dim=-1).mean()
