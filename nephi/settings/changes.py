"""Changes of settings: another similarity, lengths in millimetres."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from nephi.argument_types import checked
from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.losses import LOCAL, similarity_factors
from nephi.settings.objective import TrainingObjectiveSettings
from nephi.settings.registration import Settings

MOST_CELLS = {2: 2**16, 3: 2**17}  # of the detail length in an image: 256 or 51 along each edge
COARSEST = 1 / 24  # of the longest edge, for images that are smooth or hold hardly any structure


@checked
def with_similarity(settings: Settings, name: str) -> Settings:
    """Return the settings with another similarity of the fit, and a matching one of the global alignment.

    MIND needs patches of radius 2. With a measure for images of different contrast (`mind`, `nmi`) the global alignment
    uses `nmi`.
    Raises `UsageError` for an unknown name or sum.
    """
    names = similarity_factors(name).keys()
    radius = 2 if "mind" in names else settings.objective.radius
    objective = replace(settings.objective, similarity=name, radius=radius)
    global_similarity = "nmi" if accepts_any_contrast(name) else "mse" if names == {"mse"} else "ncc"
    affine = replace(settings.affine, similarity=global_similarity)
    return replace(settings, objective=objective, affine=affine)


def accepts_any_contrast(name: str) -> bool:
    """Return whether a similarity compares images of different contrasts: `mind` or `nmi`, also in a sum."""
    return bool(similarity_factors(name).keys() & {"mind", "nmi"})


def for_channel(settings: Settings, number: int) -> Settings:
    """Return the settings of a channel, counted from 0: the similarity and window of its table replace the others."""
    if not settings.channels:
        return settings
    channel = settings.channels[number]
    if channel.similarity:
        settings = with_similarity(settings, channel.similarity)
    if channel.window:  # given for these intensities, whatever the units of the settings
        settings = replace(settings, image=replace(settings.image, window=channel.window, units=""))
    return settings


def with_training_similarity(objective: TrainingObjectiveSettings, name: str) -> TrainingObjectiveSettings:
    """Return the objective of a training with another similarity, compared at points, on patches or in windows.

    MIND needs patches of radius 2; other local measures keep the patches or windows, and get patches of radius 1 where
    there are none; measures of single points lose their windows. Raises `UsageError` for an unknown name or sum.
    """
    names, radius, window = similarity_factors(name).keys(), objective.radius, objective.window
    if "mind" in names:
        radius, window = 2, 0.0
    elif not names & {*LOCAL}:
        window = 0.0
    elif not objective.has_patches:
        radius = 1
    return replace(objective, similarity=name, radius=radius, window=window)


def in_millimetres(settings: Settings, grid: Grid, detail: float = 0.0) -> Settings:
    """Return the settings for a fixed image on `grid` with every length in mm: `length_unit` 1, `detail_unit` 0.

    `detail` is the pair's detail length in mm, for settings with a `detail_unit`; `UsageError` without it.
    """
    unit = settings.length_unit or _longest_edge(grid) / 256
    fit_unit = settings.detail_unit * bounded_detail(detail, grid) if settings.detail_unit else unit
    if settings.length_unit == 1 and not settings.detail_unit:
        return settings
    field, objective, guidance = settings.field, settings.objective, settings.guidance
    return replace(
        settings,
        length_unit=1.0,
        detail_unit=0.0,
        affine=replace(settings.affine, smoothing=tuple(unit * s for s in settings.affine.smoothing)),
        field=replace(
            field,
            spacings=tuple(fit_unit * s for s in field.spacings),
            code_spacing=fit_unit * field.code_spacing,
            amplitude=field.amplitude * (fit_unit if field.amplitude_unit == "mm" else 1),
        ),
        objective=replace(
            objective,
            icon=objective.icon / fit_unit**2,
            bending=objective.bending * fit_unit**2,
            bending_step=objective.bending_step * fit_unit,
        ),
        guidance=replace(guidance, landmarks=guidance.landmarks / unit, accuracy=guidance.accuracy * unit),
        levels=tuple(
            replace(v, smoothing=fit_unit * v.smoothing, spacing=fit_unit * v.spacing) for v in settings.levels
        ),
    )


def bounded_detail(detail: float, grid: Grid) -> float:
    """Return the detail length within the bounds of a fixed image on `grid`, mm.

    Not below the edge of a cube (2-D: square) of which `MOST_CELLS` fill the image, so that the number of latent values
    is bounded; not above `COARSEST` of the longest edge. Raises `UsageError` for a length that is not above 0.
    """
    if not detail > 0:
        raise UsageError(f"detail: expected the detail length of the images, above 0 mm, got {detail}")
    volume = math.prod((grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).tolist())
    least = (volume / MOST_CELLS[grid.dimension]) ** (1 / grid.dimension)
    return max(least, min(detail, COARSEST * _longest_edge(grid)))


def _longest_edge(grid: Grid) -> float:
    return float((grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).max())
