"""Registering one pair of images."""

from __future__ import annotations

import torch

from nephi.errors import collected_warnings
from nephi.fields import FieldPair, FieldStep, StoredTransform, build_fields
from nephi.geometry import gradients_recorded
from nephi.optimize.affine import fit_affine, initial_alignment, require_overlap
from nephi.optimize.fit import fit_fields
from nephi.optimize.rotation_search import search_rotation
from nephi.preparation import Pair, Source, choose_initial, limit_to_overlap, pair_warnings, prepare_pair
from nephi.results import Registration, check_result
from nephi.runtime import (
    ProgressCallback,
    Usage,
    choose_device,
    cpu_threads,
    ignore_progress,
    peak_gpu_memory_mb,
    versions,
)
from nephi.settings import Settings, settings_table
from nephi.settings import preset as preset_settings
from nephi.transforms import AffineTransform, Transform


@gradients_recorded()
def register(
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
    progress: ProgressCallback = ignore_progress,
) -> Registration:
    """Register the moving image to the fixed one.

    Images and masks are `Image` objects or files. `settings`, when given, take the place of `preset`. `initial` is
    `moments`, `centers`, `none`, or an affine transform that takes fixed to moving points (world mm, RAS);
    None leaves it to the settings. The same seed, machine and number of threads give the same result, also inside
    `torch.no_grad()`, `torch.inference_mode()` or `torch.autocast()`, and whatever torch's default dtype is.

    Raises `DataError` for unsuitable images, `UsageError` for an unknown preset, device or initial alignment.
    """
    chosen = settings or preset_settings(preset)
    where = choose_device(device)
    usage = Usage()
    with collected_warnings() as found, cpu_threads(chosen.threads):
        with usage.stage("prepare"):
            pair, chosen = prepare_pair(fixed, moving, fixed_mask, moving_mask, chosen)
        generator = torch.Generator().manual_seed(seed)
        affine_steps, field_steps = _planned_steps(chosen)
        total = affine_steps + field_steps
        with usage.stage("affine"):
            pair, start, affine = _global_alignment(pair, chosen, initial, where, generator, progress, total)
        fields, history = None, []
        if chosen.transform == "deformable":
            with usage.stage("fit"):
                fields = build_fields(chosen.field, pair.fixed.grid, generator).to(where)
                aligned = pair.with_moving_transformed(affine.inverse().matrix).to(where)
                history = fit_fields(aligned, fields, chosen, generator, progress, affine_steps, total)
                fields = fields.cpu().requires_grad_(False)
        stored = _stored(pair, affine, fields, chosen, seed, where)
        check_result(pair, start, stored, chosen.affine.smoothing[-1], not isinstance(initial, Transform), seed)
    return Registration(
        stored, pair, chosen, seed, history, usage, peak_gpu_memory_mb(where), pair_warnings(pair, found)
    )


def _planned_steps(settings: Settings) -> tuple[int, int]:
    affine = 0 if settings.affine.kind == "none" else settings.affine.steps * len(settings.affine.smoothing)
    return affine, sum(level.steps for level in settings.levels) if settings.transform == "deformable" else 0


def _global_alignment(
    pair: Pair,
    settings: Settings,
    initial: str | Transform | None,
    device: torch.device,
    generator: torch.Generator,
    progress: ProgressCallback,
    total: int,
) -> tuple[Pair, AffineTransform, AffineTransform]:
    """Return the pair, its fixed mask kept to where the moving image lies, the affine fit's start, and its result.

    The start is that before the search of rotations.
    """
    initial = initial if initial is not None else choose_initial(pair, settings.affine.initial)
    start = initial_alignment(pair, initial)
    pair = limit_to_overlap(pair, start, require_overlap(pair, start, generator))
    kind = settings.affine.kind if settings.transform == "deformable" else settings.transform
    if kind == "none":
        return pair, start, start
    turned = start
    if initial in ("moments", "centers") and settings.affine.rotations > 1:
        turned = search_rotation(pair, start, settings.affine, generator)
    aligned = fit_affine(pair.to(device), turned, settings.affine, kind, generator, progress, total)
    require_overlap(pair, aligned, generator)
    return pair, start, aligned


def _stored(
    pair: Pair, affine: AffineTransform, fields: FieldPair | None, settings: Settings, seed: int, device: torch.device
) -> StoredTransform:
    return StoredTransform(
        affine=affine,
        fixed_grid=pair.fixed.grid,
        moving_grid=pair.moving.grid,
        steps=() if fields is None else (FieldStep(fields),),
        settings=settings_table(settings),
        about={"versions": versions(), "seed": seed, "device": device.type, "threads": torch.get_num_threads()},
    )
