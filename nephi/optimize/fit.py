"""Fitting a pair of neural fields to two aligned images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields import ComposedFieldPair, FieldPair
from nephi.kernels import kernel_threads, threads
from nephi.objective import (
    ComparedChannel,
    ComparedImages,
    SamplePoints,
    add_gradient,
    add_guide_gradient,
    fitted_maps,
    fused_objective,
)
from nephi.optimize.adam import Adam
from nephi.optimize.guides import pair_guides
from nephi.optimize.intensity_matching import match_intensities
from nephi.optimize.remove_folds import remove_folds
from nephi.optimize.schedule import Schedule
from nephi.preparation import Pair
from nephi.runtime import Progress, ProgressCallback, torch_threads
from nephi.sampling import GridPoints, PointSource, patch_offsets, point_source
from nephi.settings import FitObjectiveSettings, LevelSettings, Settings, accepts_any_contrast, check_weights

SAMPLED_AT_ONCE = 1_000_000  # points: few large operations are faster, more points need more memory


@contextmanager
def threads_of_fit(fields: FieldPair | ComposedFieldPair) -> Iterator[None]:
    """Let torch use as many threads as kernels inside the `with` block, if it evaluates the fields, else one.

    Networks without a kernel are large matrices, which torch multiplies on several threads. The rest of a fit is too
    little for them, and its sums by torch would depend on their number.
    """
    count = threads()
    evaluated_by_kernel = isinstance(fields, FieldPair) and fields.forward_field.compiled.arrays(fields.forward_field)
    with kernel_threads(count), torch_threads(1 if evaluated_by_kernel else count):
        yield


def fit_fields(
    pair: Pair,
    fields: FieldPair | ComposedFieldPair,
    settings: Settings,
    generator: torch.Generator,
    progress: ProgressCallback,
    done: int,
    total: int,
) -> list[dict[str, float]]:
    """Fit `fields` in place to a pair of images whose global alignment is already removed from the moving image.

    Coarse to fine over `settings.levels`; each step takes new random points, one gradient and one step of Adam. Returns
    the history, one row a step: the level (counted from 0), the loss, and its terms. `done` and `total` count the steps
    of the whole registration for `progress`. Raises `UsageError` for a weight of a term that the fields do not have,
    `DataError` when the loss is not finite.
    """
    objective = settings.objective
    check_weights(objective, fields.inverse_field is not None, fitted_maps(fields).penalties, "these fields")
    schedule = Schedule(settings)
    optimizer = Adam(fields.parameters(), settings.optimization.rate)
    fused = fused_objective(fields, objective, [channel.settings.objective for channel in pair.channels])
    all_guides = pair_guides(pair, settings.guidance)
    rows: list[Tensor] = []
    numbers: list[int] = []
    names: list[str] = []
    for number, level in enumerate(settings.levels):
        level_pair = pair
        if settings.optimization.match_intensities:
            level_pair = _with_matched_intensities(pair, objective.similarity, fields, level.smoothing, generator)
        images = _compared_images(level_pair, level, objective)
        guides = [guide.at_level(level.spacing) for guide in all_guides]
        for points in _sample_points(pair, objective, level.steps, generator):
            fraction, optimizer.rate = schedule.next_step()
            terms: Mapping[str, Tensor | float]
            if fused is not None and fused.supports(images, points):
                terms = fused.add_gradient(images, points, fraction)
            else:
                terms = add_gradient(fields, images, points, objective, fraction)
            terms = {**terms, **add_guide_gradient(fields, guides, generator)}
            names, row = list(terms), _loss_and_terms(terms)
            if row.device.type == "cpu" or schedule.is_check():  # on a GPU reading the loss waits for the device
                _require_finite(row)
            optimizer.step()
            rows.append(row)
            numbers.append(number)
            if schedule.is_check():
                progress(Progress("deformable", done + schedule.position, total, row[0].item()))
            if not schedule.advance(number, rows):
                break
    for parameter in fields.parameters():
        _require_finite(parameter)
    if objective.folding:
        _remove_folds(fields, pair, generator)
    fields.round_tables()
    names = ["level", "loss", *names]
    return [dict(zip(names, [n, *row.tolist()], strict=True)) for n, row in zip(numbers, rows, strict=True)]


def _remove_folds(fields: FieldPair | ComposedFieldPair, pair: Pair, generator: torch.Generator) -> None:
    remove_folds(fields.forward_field, pair.fixed, pair.fixed_mask, generator)
    if fields.inverse_field is not None:
        remove_folds(fields.inverse_field, pair.moving, pair.moving_mask, generator)


def _loss_and_terms(terms: Mapping[str, Tensor | float]) -> Tensor:
    if all(isinstance(term, float) for term in terms.values()):  # of the kernels: one tensor instead of one each
        values = torch.tensor(list(terms.values()), dtype=torch.float32)
    else:
        values = torch.stack([torch.as_tensor(term, dtype=torch.float32) for term in terms.values()])
    return torch.cat([values.sum()[None], values])


def _compared_images(pair: Pair, level: LevelSettings, objective: FitObjectiveSettings) -> ComparedImages:
    dimension = pair.fixed.dimension
    offsets = patch_offsets(dimension, objective.patch_radius(dimension), level.spacing).to(pair.fixed.data.device)
    spacing = level.spacing if objective.radius else 0.0
    fixed, moving = (pyramid.sampler(level.smoothing, spacing) for pyramid in (pair.fixed_levels, pair.moving_levels))
    channels = (
        ComparedChannel(_compared_images(channel.images, level, channel.settings.objective), channel.settings.objective)
        for channel in pair.channels
    )
    return ComparedImages([fixed], [moving], offsets, tuple(channels))


def _with_matched_intensities(
    pair: Pair,
    similarity: str,
    fields: FieldPair | ComposedFieldPair,
    smoothing: float,
    generator: torch.Generator,
) -> Pair:
    """Return the pair with matched intensities, as `match_intensities`, in channels that need the same contrast."""
    matched = pair if accepts_any_contrast(similarity) else match_intensities(pair, fields, smoothing, generator)
    channels = [
        channel
        if accepts_any_contrast(channel.settings.objective.similarity)
        else channel.with_images(match_intensities(channel.images, fields, smoothing, generator))
        for channel in pair.channels
    ]
    return replace(matched, channels=tuple(channels))


def _sample_points(
    pair: Pair, objective: FitObjectiveSettings, steps: int, generator: torch.Generator
) -> Iterator[SamplePoints]:
    """Yield the random points of each step of a level; many steps are sampled at once."""
    fixed = point_source(pair.fixed, pair.fixed_mask)
    # The images are aligned: without a mask of the moving image that of the fixed image is used.
    moving = fixed if pair.moving_mask is None else point_source(pair.moving, pair.moving_mask)
    counts = (_point_count(pair, objective), objective.background_points)
    sources: list[tuple[PointSource, int]] = [
        (fixed, counts[0]),
        (moving, counts[0]),
        (GridPoints(pair.fixed.grid), counts[1]),
    ]
    device, dimension = pair.fixed.data.device, pair.fixed.dimension
    block = max(1, min(steps, SAMPLED_AT_ONCE // max(counts)))
    for start in range(0, steps, block):
        size = min(block, steps - start)
        samples = [s.draw(size * n, generator).to(device).view(size, 1, n, dimension) for s, n in sources]
        yield from map(SamplePoints, *samples)


def _point_count(pair: Pair, objective: FitObjectiveSettings) -> int:
    if not objective.fraction:
        return objective.points
    return min(objective.points, max(1, int(objective.fraction * pair.fixed.grid.size)))


def _require_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise DataError("the fit diverged: the loss is not finite; lower optimization.rate in the settings")
