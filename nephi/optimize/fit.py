"""Fitting a pair of neural fields to two aligned images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields import ComposedFieldPair, FieldPair
from nephi.objective import Draw, Level, add_gradient, compiled_objective
from nephi.optimize.adam import Adam
from nephi.optimize.intensity_matching import match_intensities
from nephi.optimize.remove_folds import remove_folds
from nephi.optimize.schedule import Schedule
from nephi.preparation import Pair
from nephi.runtime import Progress, ProgressCallback
from nephi.sampling import GridPoints, PointSource, patch_offsets, point_source
from nephi.settings import FitObjectiveSettings, LevelSettings, Settings


def fit_fields(
    pair: Pair,
    fields: FieldPair | ComposedFieldPair,
    settings: Settings,
    generator: torch.Generator,
    progress: ProgressCallback,
    done: int,
    total: int,
) -> list[dict[str, float]]:
    """Fit `fields` in place to a pair whose global alignment is already taken off the moving image.

    Coarse to fine over `settings.levels`; at each step fresh points, one gradient, one Adam step. Returns the
    history, one row a step: the level (counted from 0), the loss, and its terms. `done` and `total` count the steps of
    the whole registration for `progress`.
    """
    schedule = Schedule(settings)
    optimiser = Adam(fields.parameters(), settings.optimization.rate)
    compiled = compiled_objective(fields, settings)
    rows: list[Tensor] = []
    numbers: list[int] = []
    names: list[str] = []
    for number, level_settings in enumerate(settings.levels):
        seen = pair
        if settings.optimization.match_intensities:
            seen = match_intensities(pair, fields, level_settings.smoothing, generator)
        level = _level(seen, level_settings, settings.objective)
        for draw in _draws(pair, settings, level_settings.steps, generator):
            share, optimiser.rate = schedule.begin(number)
            terms: Mapping[str, Tensor | float]
            try:
                if compiled is not None and compiled.serves(level, draw):
                    terms = compiled.add_gradient(level, draw, share)
                else:
                    terms = add_gradient(fields, level, draw, settings, share)
            except IndexError:  # images have no voxel at NaN
                raise _diverged() from None
            names, row = list(terms), _row(terms)
            if row.device.type == "cpu" or schedule.checks():  # elsewhere each look waits for the device
                _require_finite(row)
            optimiser.step()
            rows.append(row)
            numbers.append(number)
            if schedule.checks():
                progress(Progress("deformable", done + schedule.position, total, row[0].item()))
            if not schedule.goes_on(number, rows):
                break
    for parameter in fields.parameters():
        _require_finite(parameter)
    if settings.objective.folding:
        remove_folds(fields.forward_field, pair.fixed, pair.fixed_mask, generator)
        if fields.inverse_field is not None:
            remove_folds(fields.inverse_field, pair.moving, pair.moving_mask, generator)
    fields.round_tables()
    names = ["level", "loss", *names]
    return [dict(zip(names, [n, *row.tolist()], strict=True)) for n, row in zip(numbers, rows, strict=True)]


def _row(terms: Mapping[str, Tensor | float]) -> Tensor:
    """Return the loss and its terms."""
    values = torch.stack([torch.as_tensor(term, dtype=torch.float32) for term in terms.values()])
    return torch.cat([values.sum()[None], values])


def _level(pair: Pair, level: LevelSettings, objective: FitObjectiveSettings) -> Level:
    dimension = pair.fixed.dimension
    offsets = patch_offsets(dimension, objective.patch_radius(dimension), level.spacing).to(pair.fixed.data.device)
    apart = level.spacing if objective.radius else 0.0
    fixed, moving = (p.sampler(level.smoothing, apart) for p in (pair.fixed_levels, pair.moving_levels))
    return Level(fixed, moving, offsets)


def _draws(pair: Pair, settings: Settings, steps: int, generator: torch.Generator) -> Iterator[Draw]:
    """Draw all points of a level at once (few large operations), and hand them out step by step."""
    fixed = point_source(pair.fixed, pair.fixed_mask)
    # Without a mask of the moving image the fixed one serves: the images are aligned.
    moving = fixed if pair.moving_mask is None else point_source(pair.moving, pair.moving_mask)
    counts = (_point_count(pair, settings.objective), settings.objective.background_points)
    sources: list[tuple[PointSource, int]] = [
        (fixed, counts[0]),
        (moving, counts[0]),
        (GridPoints(pair.fixed.grid), counts[1]),
    ]
    device, dimension = pair.fixed.data.device, pair.fixed.dimension
    block = max(1, min(steps, 1_000_000 // max(counts)))
    for start in range(0, steps, block):
        size = min(block, steps - start)
        drawn = [s.draw(size * n, generator).to(device).view(size, n, dimension) for s, n in sources]
        for x, y, everywhere in zip(*drawn, strict=True):
            yield Draw(x, y, everywhere)


def _point_count(pair: Pair, objective: FitObjectiveSettings) -> int:
    if not objective.fraction:
        return objective.points
    return min(objective.points, max(1, int(objective.fraction * pair.fixed.grid.size)))


def _require_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise _diverged()


def _diverged() -> DataError:
    return DataError("the fit diverged: the loss is not finite; lower optimization.rate in the settings")
