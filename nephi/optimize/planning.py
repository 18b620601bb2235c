"""Plan of a registration (`nephi register --dry-run`): sizes, settings and an estimate of the memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch

from nephi.argument_types import checked
from nephi.fields import field_size
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import ImageLike, ImagesLike, LabelsLike, PointPairsLike, channel_count
from nephi.optimize.initial_alignment import check_lengths, initial_alignment, read_initial, require_overlap
from nephi.preparation import Pair, Window, choose_initial, prepare_pair
from nephi.runtime import choose_device, peak_memory_mb, registration_threads, seeded_generator
from nephi.settings import SEARCHED, LevelSettings, Options, Settings, bounded_detail, chosen_settings, with_options
from nephi.transforms import Transform

# Measured: smoothing needs one and a half further volumes; a parameter has a gradient and two moments of Adam; the rest
# is for points, slabs and pictures.
VOLUMES_PER_SMOOTHING = 2.5
BYTES_PER_PARAMETER = 16
OTHER_MB = 60.0


@dataclass(frozen=True)
class PlannedImage:
    """One of the two images: name, grid, intensity `window`, and number of voxels in its mask (None: no mask)."""

    name: str
    grid: Grid
    window: Window
    mask_voxels: int | None


@dataclass(frozen=True)
class PlannedLevel:
    """A level of the fit: its settings (lengths in mm), and the shapes of both images at its resolution."""

    settings: LevelSettings
    fixed_shape: tuple[int, ...]
    moving_shape: tuple[int, ...]


@dataclass(frozen=True)
class PlannedChannel:
    """A further pair of images, and its similarity."""

    fixed: PlannedImage
    moving: PlannedImage
    similarity: str


@dataclass(frozen=True)
class PlannedGuidance:
    """Numbers of landmarks and of labels that guide a registration, and its further channels."""

    landmarks: int = 0
    labels: int = 0
    channels: tuple[PlannedChannel, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Device, images, settings and sizes of a registration.

    `settings` have all lengths in mm. `lattices` are the shapes of the latent grids of one field, coarse to fine; empty
    for fields without them. `memory_mb` estimates the peak resident memory in MB (10^6 bytes) of a process that
    registers and saves all outputs, within a third; None on systems that do not report memory. `guidance` is what
    guides the registration besides the first pair of images. `detail_length` is that of the pair, mm, and `detail_unit`
    the unit of the lengths of the fit before they were converted to mm; both 0 for settings without a `detail_unit`.
    """

    device: str
    fixed: PlannedImage
    moving: PlannedImage
    settings: Settings
    lattices: tuple[tuple[int, ...], ...]
    parameters: int
    levels: tuple[PlannedLevel, ...]
    memory_mb: float | None
    guidance: PlannedGuidance = PlannedGuidance()
    detail_length: float = 0.0
    detail_unit: float = 0.0

    @property
    def threads(self) -> int:
        """The number of CPU threads."""
        return registration_threads(self.settings.threads)


@checked
def plan(
    fixed: ImagesLike,
    moving: ImagesLike,
    *,
    preset: str = "generic",
    settings: Settings | str | Path | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    guide_landmarks: PointPairsLike | None = None,
    guide_labels: LabelsLike | None = None,
    initial: str | Path | Transform | None = None,
    seed: int = 0,
    device: str = "auto",
    **options: Unpack[Options],
) -> Plan:
    """Read and validate the arguments of `register`, and return its plan without fitting anything.

    Raises the same errors, except those that only the fit can detect.
    """
    device_name, initial, generator = str(choose_device(device)), read_initial(initial), seeded_generator(seed)
    settings = with_options(chosen_settings(settings, preset), options, channel_count(fixed))
    masks, guides = (fixed_mask, moving_mask), (guide_landmarks, guide_labels)
    wanted = settings.detail_unit
    pair, settings = prepare_pair(fixed, moving, *masks, settings, *guides)
    initial = choose_initial(pair, settings.affine.initial) if initial is None else initial
    if initial in SEARCHED:  # a search, which computes something, finds where the images overlap
        check_lengths(pair)
    else:
        start = initial_alignment(pair, initial, settings.guidance)
        require_overlap(pair, start, generator)
    images = plan_images(pair)
    if settings.transform != "deformable":
        return Plan(device_name, *images, settings, (), 0, (), estimate_memory_mb(pair, (), 0), plan_guidance(pair))
    size = field_size(settings.field, pair.fixed.grid)
    levels = tuple(plan_level(pair, level, settings.objective.radius) for level in settings.levels)
    memory_mb = estimate_memory_mb(pair, levels, size.parameters)
    guidance = plan_guidance(pair)
    detail = (
        (pair.detail_length, wanted * bounded_detail(pair.detail_length, pair.fixed.grid)) if wanted else (0.0, 0.0)
    )
    return Plan(device_name, *images, settings, size.lattices, size.parameters, levels, memory_mb, guidance, *detail)


def plan_guidance(pair: Pair) -> PlannedGuidance:
    """Return what guides the registration of a pair."""
    landmarks, labels = pair.guidance.landmarks, pair.guidance.labels
    channels = [
        PlannedChannel(*plan_images(channel.images), channel.settings.objective.similarity) for channel in pair.channels
    ]
    counts = 0 if landmarks is None else len(landmarks), 0 if labels is None else len(labels[0].labels)
    return PlannedGuidance(*counts, tuple(channels))


def plan_images(pair: Pair) -> tuple[PlannedImage, PlannedImage]:
    """Return the fixed and the moving image of a plan."""
    return (
        _plan_image(pair.fixed, pair.fixed_window, pair.fixed_mask),
        _plan_image(pair.moving, pair.moving_window, pair.moving_mask),
    )


def _plan_image(image: Image, window: Window, mask: Image | None) -> PlannedImage:
    return PlannedImage(image.name, image.grid, window, None if mask is None else int((mask.data > 0).sum()))


def plan_level(pair: Pair, level: LevelSettings, radius: int) -> PlannedLevel:
    """Return a level of a plan; `radius` is that of its patches."""
    spacing = level.spacing if radius else 0.0
    shapes = (pyramid.shape(level.smoothing, spacing) for pyramid in (pair.fixed_levels, pair.moving_levels))
    return PlannedLevel(level, *shapes)


def estimate_memory_mb(pair: Pair, levels: tuple[PlannedLevel, ...], parameters: int) -> float | None:
    """Estimate the peak memory in MB: that of the process after reading both images, and what a fit adds to it.

    None on systems that do not report the memory of a process.
    """
    now = peak_memory_mb()
    if now is None:
        return None
    stored_shapes = (pair.fixed.grid.shape, pair.moving.grid.shape)
    smoothed_voxels = [
        torch.Size(shape).numel()
        for level in levels
        for shape, stored in zip((level.fixed_shape, level.moving_shape), stored_shapes, strict=True)
        if level.settings.smoothing or shape != stored  # else the image itself is sampled
    ]
    # Each channel has smoothed images of its own, about as many voxels as those of the first.
    volumes = 4 * VOLUMES_PER_SMOOTHING * max(smoothed_voxels, default=0) * (1 + len(pair.channels))
    return now + (volumes + BYTES_PER_PARAMETER * parameters) / 1e6 + OTHER_MB
