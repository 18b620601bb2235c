"""What a registration would do, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nephi.fields import field_size
from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize.affine import initial_alignment, require_overlap
from nephi.preparation import Pair, Source, Window, choose_initial, prepare_pair
from nephi.runtime import choose_device, peak_memory_mb
from nephi.settings import LevelSettings, Settings
from nephi.settings import preset as preset_settings
from nephi.transforms import Transform

# Bytes, as measured: smoothing a volume needs another one and a half beside it; parameters have a gradient and Adam's
# two moments; points, slabs and pictures take what is left of any run.
BESIDE_SMOOTHING = 2.5
BYTES_PER_PARAMETER = 16
WORK_MB = 60.0


@dataclass(frozen=True)
class PlannedImage:
    """One of the two images: its name, grid, intensities `window` that are compared, and voxels inside its mask.

    `mask_voxels` is None without a mask.
    """

    name: str
    grid: Grid
    window: Window
    mask_voxels: int | None


@dataclass(frozen=True)
class PlannedLevel:
    """A level of the fit: its settings (lengths in mm), and the voxels of both images as it looks them up."""

    settings: LevelSettings
    fixed_shape: tuple[int, ...]
    moving_shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What `register` would do with the same arguments, on which device.

    `settings` have every length in mm. `lattices` are the nodes of the latent grids of one field, coarse to fine; there
    are none in fields of another kind. `memory_mb` estimates the peak resident memory in MB (10^6 bytes) of a process
    that registers and saves everything, None where the system does not tell; it is right to within a third.
    """

    device: str

    fixed: PlannedImage
    moving: PlannedImage
    settings: Settings
    lattices: tuple[tuple[int, ...], ...]
    parameters: int
    levels: tuple[PlannedLevel, ...]
    memory_mb: float | None


def plan(
    fixed: Source,
    moving: Source,
    *,
    preset: str = "generic",
    settings: Settings | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    initial: str | Transform | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """Read and check everything that `register` would, and say what it would do.

    The arguments are those of `register`, and so are the errors, but for those that only aligning can find.
    """
    where = str(choose_device(device))
    pair, chosen = prepare_pair(fixed, moving, fixed_mask, moving_mask, settings or preset_settings(preset))
    start = initial_alignment(pair, choose_initial(pair, chosen.affine.initial) if initial is None else initial)
    require_overlap(pair, start, torch.Generator().manual_seed(seed))
    sides = plan_images(pair)
    if chosen.transform != "deformable":
        return Plan(where, *sides, chosen, (), 0, (), estimate_memory_mb(pair, (), 0))
    size = field_size(chosen.field, pair.fixed.grid)
    levels = tuple(plan_level(pair, level, chosen.objective.radius) for level in chosen.levels)
    memory = estimate_memory_mb(pair, levels, size.parameters)
    return Plan(where, *sides, chosen, size.lattices, size.parameters, levels, memory)


def plan_images(pair: Pair) -> tuple[PlannedImage, PlannedImage]:
    """Return what is known of the fixed and of the moving image."""
    return (
        _side(pair.fixed, pair.fixed_window, pair.fixed_mask),
        _side(pair.moving, pair.moving_window, pair.moving_mask),
    )


def _side(image: Image, window: Window, mask: Image | None) -> PlannedImage:
    return PlannedImage(image.name, image.grid, window, None if mask is None else int((mask.data > 0).sum()))


def plan_level(pair: Pair, level: LevelSettings, radius: int) -> PlannedLevel:
    """Return what a level looks up; `radius` is that of its patches."""
    apart = level.spacing if radius else 0.0
    shapes = (pyramid.shape(level.smoothing, apart) for pyramid in (pair.fixed_levels, pair.moving_levels))
    return PlannedLevel(level, *shapes)


def estimate_memory_mb(pair: Pair, levels: tuple[PlannedLevel, ...], parameters: int) -> float | None:
    """Return what the process holds with both images read, and what will come on top."""
    now = peak_memory_mb()
    if now is None:
        return None
    own = (pair.fixed.grid.shape, pair.moving.grid.shape)
    made = [
        torch.Size(shape).numel()
        for level in levels
        for shape, stored in zip((level.fixed_shape, level.moving_shape), own, strict=True)
        if level.settings.smoothing or shape != stored  # unsmoothed voxels are looked up where they lie
    ]
    volumes = 4 * BESIDE_SMOOTHING * max(made, default=0)
    return now + (volumes + BYTES_PER_PARAMETER * parameters) / 1e6 + WORK_MB
