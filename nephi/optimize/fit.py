"""Fitting a pair of neural fields to two aligned images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi import losses
from nephi.errors import DataError
from nephi.fields import FieldPair, NeuralField
from nephi.images import Image, ImageSampler, smoothed
from nephi.optimize.adam import Adam
from nephi.optimize.affine import point_source
from nephi.optimize.pair import Pair
from nephi.optimize.progress import Progress, ProgressCallback
from nephi.optimize.schedule import Schedule
from nephi.optimize.settings import FitSettings, LevelSettings, RegularitySettings, Settings
from nephi.sampling import GridPoints, PointSource, patch_offsets


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


def fit_fields(
    pair: Pair,
    fields: FieldPair,
    settings: Settings,
    generator: torch.Generator,
    progress: ProgressCallback,
    done: int,
    total: int,
) -> list[dict[str, float]]:
    """Fit `fields` in place to a pair whose global alignment is already taken off the moving image.

    Coarse to fine over `settings.levels`; at each step fresh points, one backward pass, one Adam step. Returns the loss
    history, one row a step. `done` and `total` count the steps of the whole registration for `progress`.
    """
    schedule = Schedule(settings)
    optimiser = Adam(fields.parameters(), settings.fit.rate)
    rows: list[Tensor] = []
    names: list[str] = []
    for number, level_settings in enumerate(settings.levels):
        level = _level(pair, level_settings, settings.fit)
        draws = _draws(pair, settings, level_settings.steps, generator)
        for draw in draws:
            share, optimiser.rate = schedule.begin(number)
            terms = _loss_terms(fields, level, draw, settings, share)
            loss = torch.stack(list(terms.values())).sum()
            optimiser.minimise(loss)
            names = list(terms)
            rows.append(torch.stack([loss.detach(), *(t.detach() for t in terms.values())]))
            if schedule.checks():
                _report(rows[-1], progress, done + schedule.position, total)
            if not schedule.goes_on(number, rows):
                break
    fields.round_tables()
    return [dict(zip(["loss", *names], row.tolist(), strict=True)) for row in rows]


def _level(pair: Pair, level: LevelSettings, fit: FitSettings) -> Level:
    def look(image: Image, window: tuple[float, float]) -> ImageSampler:
        # Unsmoothed voxels stay in their own type; the window then acts at lookup.
        return (
            ImageSampler(smoothed(image, level.smoothing, window)) if level.smoothing else ImageSampler(image, window)
        )

    offsets = patch_offsets(pair.fixed.dimension, fit.radius, level.spacing).to(pair.fixed.data.device)
    return Level(look(pair.fixed, pair.fixed_window), look(pair.moving, pair.moving_window), offsets)


def _draws(pair: Pair, settings: Settings, steps: int, generator: torch.Generator) -> Iterator[Draw]:
    """Draw all points of a level at once (few large operations), and hand them out step by step."""
    fixed = point_source(pair.fixed, pair.fixed_mask)
    # Without a mask of the moving image the fixed one serves: the images are aligned.
    moving = fixed if pair.moving_mask is None else point_source(pair.moving, pair.moving_mask)
    counts = (_patch_count(pair, settings.fit), settings.regularity.everywhere)
    sources: list[tuple[PointSource, int]] = [
        (fixed, counts[0]),
        (moving, counts[0]),
        (GridPoints(pair.fixed.grid), counts[1]),
    ]
    block = max(1, min(steps, 1_000_000 // max(counts)))
    for start in range(0, steps, block):
        size = min(block, steps - start)
        drawn = [s.draw(size * n, generator).to(pair.fixed.data.device).view(size, n, -1) for s, n in sources]
        for x, y, everywhere in zip(*drawn, strict=True):
            yield Draw(x, y, everywhere)


def _patch_count(pair: Pair, fit: FitSettings) -> int:
    return min(fit.patches, max(1, int(fit.share * pair.fixed.grid.size))) if fit.share else fit.patches


def _loss_terms(fields: FieldPair, level: Level, draw: Draw, settings: Settings, share: float) -> dict[str, Tensor]:
    """Return the weighted terms of the loss of one step; `share` of the fit lies behind it."""
    phi, inverse = fields.forward_field, fields.inverse_field
    first = _Direction(phi, draw.fixed, draw.everywhere, settings)
    alike = first.similarity(level.fixed, level.moving, level.offsets)
    if inverse is None:
        return {"similarity": alike, **_regularity([first], settings.regularity), **_code_penalty(fields, settings)}
    second = _Direction(inverse, draw.moving, draw.everywhere, settings)
    alike = 0.5 * (alike + second.similarity(level.moving, level.fixed, level.offsets))
    terms = {"similarity": alike}
    round_trips = [a.round_trip(b.field) for a, b in ((first, second), (second, first))]
    weights = settings.regularity
    if weights.gradicon:
        products = [losses.gradicon(j, d.jacobians) for d, (_, j) in zip((first, second), round_trips, strict=True)]
        terms["gradicon"] = weights.gradicon * (products[0] + products[1])
    if weights.icon:
        gaps = [losses.icon(back, d.points) for d, (back, _) in zip((first, second), round_trips, strict=True)]
        terms["icon"] = share * weights.icon * (gaps[0] + gaps[1])
    return {**terms, **_regularity([first, second], weights), **_code_penalty(fields, settings)}


class _Direction:
    """One field at one step's points: patches for the similarity, and a subset with Jacobians for the regularity."""

    def __init__(self, field: NeuralField, centres: Tensor, everywhere: Tensor, settings: Settings) -> None:
        self.field = field
        self.settings = settings
        self.centres = centres
        self.carriers: Tensor | None = None  # Jacobians that carry the patches along
        count = min(settings.regularity.points, len(centres))
        if settings.fit.radius:
            # Patches need Jacobians anyway: the regularity reuses the first of them.
            values, jacobians = field.value_and_jacobian(torch.cat([centres, everywhere]))
            self.moved, self.carriers = values[: len(centres)], jacobians[: len(centres)]
            self.points = torch.cat([centres[:count], everywhere])
            self.values = torch.cat([values[:count], values[len(centres) :]])
            self.jacobians = torch.cat([jacobians[:count], jacobians[len(centres) :]])
        else:
            self.moved = field(centres)
            self.points = torch.cat([centres[:count], everywhere])
            self.values, self.jacobians = field.value_and_jacobian(self.points)

    def similarity(self, here: ImageSampler, there: ImageSampler, offsets: Tensor) -> Tensor:
        """Compare patches of the image the points were drawn in with the patches the field carries them to."""
        weights = there.contains(self.moved.detach()).float()
        return losses.similarity(self.settings.fit.similarity)(
            here.patches(self.centres, offsets), there.patches(self.moved, offsets, self.carriers), weights
        )

    def round_trip(self, other: NeuralField) -> tuple[Tensor, Tensor]:
        """Return where the other field takes the moved regularity points, and its Jacobian there."""
        return other.value_and_jacobian(self.values)


def _regularity(directions: list[_Direction], weights: RegularitySettings) -> dict[str, Tensor]:
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


def _code_penalty(fields: FieldPair, settings: Settings) -> dict[str, Tensor]:
    if not settings.regularity.codes or fields.codes is None:
        return {}
    return {"codes": settings.regularity.codes * fields.codes.magnitude()}


def _report(row: Tensor, progress: ProgressCallback, step: int, total: int) -> None:
    loss = row[0].item()
    if not math.isfinite(loss):
        raise DataError("the fit diverged: the loss is not finite; lower fit.rate in the settings")
    progress(Progress("deformable", step, total, loss))
