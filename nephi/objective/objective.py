"""What a fit minimises: the loss of a pair of fields at one step's points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi import losses
from nephi.fields import ComposedField, ComposedFieldPair, FieldPair, NeuralField, single_maps
from nephi.images import ImageSampler
from nephi.settings import ObjectiveSettings, Settings


@dataclass(frozen=True)
class Level:
    """Both images as one level sees them, and the offsets of a patch's samples (mm)."""

    fixed: ImageSampler
    moving: ImageSampler
    offsets: Tensor


@dataclass(frozen=True)
class Draw:
    """Points of one step: patch centres in either image's mask, and regularity points over the whole grid."""

    fixed: Tensor
    moving: Tensor
    everywhere: Tensor


def loss_terms(
    fields: FieldPair | ComposedFieldPair, level: Level, draw: Draw, settings: Settings, share: float
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss of one step; `share` of the fit lies behind it.

    `similarity` is the mean of both directions (of the one there is, without an inverse field); `gradicon` and `icon`
    are means over both orders of composition; the others are means over both fields.
    """
    phi, inverse = fields.forward_field, fields.inverse_field
    first = _Direction(phi, draw.fixed, draw.everywhere, settings)
    alike = first.similarity(level.fixed, level.moving, level.offsets)
    if inverse is None:
        return {"similarity": alike, **_regularity([first], settings.objective), **_code_penalty(fields, settings)}
    second = _Direction(inverse, draw.moving, draw.everywhere, settings)
    alike = 0.5 * (alike + second.similarity(level.moving, level.fixed, level.offsets))
    terms = {"similarity": alike}
    round_trips = [a.round_trip(b.field) for a, b in ((first, second), (second, first))]
    weights = settings.objective
    if weights.gradicon:
        products = [losses.gradicon(j, d.jacobians) for d, (_, j) in zip((first, second), round_trips, strict=True)]
        terms["gradicon"] = 0.5 * weights.gradicon * (products[0] + products[1])
    if weights.icon:
        gaps = [losses.icon(back, d.points) for d, (back, _) in zip((first, second), round_trips, strict=True)]
        terms["icon"] = 0.5 * share * weights.icon * (gaps[0] + gaps[1])
    return {**terms, **_regularity([first, second], weights), **_code_penalty(fields, settings)}


class _Direction:
    """One field at one step's points: patches for the similarity, and a subset with Jacobians for the regularity."""

    def __init__(
        self, field: NeuralField | ComposedField, centres: Tensor, everywhere: Tensor, settings: Settings
    ) -> None:
        self.field = field
        self.settings = settings
        self.centres = centres
        self.carriers: Tensor | None = None  # Jacobians that carry the patches along
        count = min(settings.objective.regularization_points, len(centres))
        if settings.objective.radius:
            # Patches need Jacobians anyway: the regularity reuses the first of them.
            points = torch.cat([everywhere, centres])
            first, count = len(everywhere), len(everywhere) + count
            values, jacobians = field.value_and_jacobian(points)
            self.moved, self.carriers = values[first:], jacobians[first:]
            self.points, self.values, self.jacobians = points[:count], values[:count], jacobians[:count]
        else:
            self.moved = field(centres)
            self.points = torch.cat([everywhere, centres[:count]])
            self.values, self.jacobians = field.value_and_jacobian(self.points)

    def similarity(self, here: ImageSampler, there: ImageSampler, offsets: Tensor) -> Tensor:
        """Compare patches of the image the points were drawn in with the patches the field carries them to."""
        weights = there.contains(self.moved.detach()).float()
        settings = self.settings.objective
        drawn, met = here.patches(self.centres, offsets), there.patches(self.moved, offsets, self.carriers)
        return losses.similarity(settings.similarity, settings.variance_floor)(drawn, met, weights)

    def round_trip(self, other: NeuralField | ComposedField) -> tuple[Tensor, Tensor]:
        """Return where the other field takes the moved regularity points, and its Jacobian there."""
        return other.value_and_jacobian(self.values)


def add_gradient(
    fields: FieldPair | ComposedFieldPair, level: Level, draw: Draw, settings: Settings, share: float
) -> dict[str, Tensor]:
    """Add the gradient of a step's loss to the parameters' `.grad`; return the terms, as `loss_terms`."""
    terms = loss_terms(fields, level, draw, settings, share)
    with fields.gradients_in_place():
        torch.stack(list(terms.values())).sum().backward()
    return {name: term.detach() for name, term in terms.items()}


def _regularity(directions: list[_Direction], weights: ObjectiveSettings) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    jacobians = torch.cat([d.jacobians for d in directions])
    for name, weight, loss in (
        ("folding", weights.folding, losses.folding),
        ("diffusion", weights.diffusion, losses.diffusion),
        ("volume", weights.volume, losses.volume_change),
    ):
        if weight:
            terms[name] = weight * loss(jacobians)
    if weights.bending:
        hessians = [
            losses.hessian_by_differences(d.field.value_and_jacobian, d.points, weights.bending_step)
            for d in directions
        ]
        terms["bending"] = weights.bending * losses.bending(torch.cat(hessians))
    return terms


def _code_penalty(fields: FieldPair | ComposedFieldPair, settings: Settings) -> dict[str, Tensor]:
    if not settings.objective.codes:
        return {}
    penalties = (fields.maps() if isinstance(fields, ComposedFieldPair) else single_maps(fields)).penalties
    return {name: settings.objective.codes * value for name, value in penalties.items()}
