"""Registering a pair of images by a trained model: one forward pass."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from nephi.errors import UsageError
from nephi.fields import FieldStep, Step, StoredTransform
from nephi.learning.frame import FrameSettings, Seen, bring
from nephi.learning.model import NephiSystem
from nephi.learning.model_file import StoredModel, model_bytes, read_model
from nephi.learning.predicted import predicted_steps
from nephi.learning.refinement import Refinement, refine, shortened
from nephi.optimize import (
    Pair,
    ProgressCallback,
    Registration,
    Settings,
    Source,
    Usage,
    choose_device,
    cpu_threads,
    peak_gpu_memory_mb,
    prepare,
    settings_table,
    silent,
    versions,
)
from nephi.optimize import preset as preset_settings
from nephi.transforms import AffineTransform


def predict(
    fixed: Source,
    moving: Source,
    *,
    model: StoredModel | str | Path,
    preset: str | None = None,
    settings: Settings | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    refinement: Refinement = Refinement(),  # noqa: B008 (frozen)
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> Registration:
    """Register the moving image to the fixed one by what a trained `model` says.

    One forward pass: no affine search and no optimisation, only the centres of the images or of their masks are brought
    together, as the model's frame says. `refinement` then takes steps of the ordinary fit from there, on a copy: the
    model never changes. Its similarity, regularity and levels, and how intensities are compared, come from `settings`
    or a `preset`; without either from `generic`, with the window and the mask of the model's frame. Images, masks and
    what comes back are as those of `register`.

    Raises `DataError` for unsuitable images and files that are no model, `UsageError` for an unknown preset or device,
    for settings that are not of a deformable registration, and to refine what has no codes.
    """
    stored = model if isinstance(model, StoredModel) else read_model(model)
    where = choose_device(device)
    require_refinable(stored, refinement)
    usage = Usage()
    chosen = prediction_settings(stored, settings or (preset_settings(preset) if preset else None), refinement)
    with cpu_threads(chosen.threads):
        with usage.stage("prepare"):
            pair, chosen = prepared(fixed, moving, fixed_mask, moving_mask, stored, chosen)
            given = fixed_mask is not None, moving_mask is not None
            seen = _seen(pair, given, chosen, stored.frame)
        with usage.stage("predict"):
            steps = predicted_steps(stored, *seen, where)
        history: list[dict[str, float]] = []
        shift = AffineTransform.translation(seen[1].centre - seen[0].centre)
        if refinement.steps:
            with usage.stage("fit"):
                generator = torch.Generator().manual_seed(seed)
                pairs = [step.pair for step in steps if isinstance(step, FieldStep)]
                history = refine(pairs, shift, pair, refinement.what, chosen, generator, progress)
        about = {
            "versions": versions(),
            "seed": seed,
            "device": where.type,
            "threads": torch.get_num_threads(),
            "model": model_digest(stored),
            "refinement": vars(refinement),
        }
        grids = pair.fixed.grid, pair.moving.grid
        transform = StoredTransform(shift, *grids, resting(steps), settings_table(chosen), about)
    return Registration(transform, pair, chosen, seed, history, usage, peak_gpu_memory_mb(where))


def model_digest(model: StoredModel) -> str:
    """Return what tells a model from others: the beginning of its SHA-256."""
    return hashlib.sha256(model_bytes(model)).hexdigest()[:16]


def require_refinable(model: StoredModel, refinement: Refinement) -> None:
    """Raise `UsageError` for a refinement of a model without codes: asked before the work."""
    if refinement.steps and not isinstance(model.system, NephiSystem):
        raise UsageError(
            f"refine: a model of system {model.settings.system!r} predicts a displacement for every voxel and no "
            "fields that could be fitted further; leave it out, or choose a model of system 'nephi'"
        )


def prediction_settings(model: StoredModel, settings: Settings | None, refinement: Refinement) -> Settings:
    """Return what a prediction is told, from `settings` for a fit: no affine search, the end of the schedule.

    Raises `UsageError` for those of an affine or rigid registration.
    """
    if settings is None:
        settings, frame = preset_settings("generic"), model.frame
        mask = frame.mask if frame.mask in ("lungs", "foreground") else "none"
        image = replace(settings.image, window=frame.window, percentiles=frame.percentiles, mask=mask)
        settings = replace(settings, image=image)
    if settings.transform != "deformable":
        raise UsageError(f"transform: a model predicts deformable transforms, got {settings.transform!r}")
    settings = replace(settings, affine=replace(settings.affine, kind="none"))
    return shortened(settings, refinement.steps) if refinement.steps else settings


def prepared(
    fixed: Source,
    moving: Source,
    fixed_mask: Source | None,
    moving_mask: Source | None,
    model: StoredModel,
    settings: Settings,
) -> tuple[Pair, Settings]:
    """Return the pair, checked as for a fit, and the settings in mm, with the model's fields."""
    pair, settings = prepare(fixed, moving, fixed_mask, moving_mask, settings)
    if isinstance(model.system, NephiSystem):  # whose lengths are in mm whatever unit the others count in
        settings = replace(settings, field=model.settings.field)
    return pair, settings


def resting(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return steps whose fields are in main memory and no longer fitted."""
    for step in steps:
        if isinstance(step, FieldStep):
            step.pair.cpu().requires_grad_(False)
    return steps


def _seen(pair: Pair, given: tuple[bool, bool], settings: Settings, frame: FrameSettings) -> tuple[Seen, Seen]:
    # A mask that was found for the fit is the network's, too, if it was found by the same rule: lungs take a second.
    same = settings.image.mask == frame.mask
    masks = [
        mask if told or same else None for told, mask in zip(given, (pair.fixed_mask, pair.moving_mask), strict=True)
    ]
    return bring(pair.fixed, masks[0], frame), bring(pair.moving, masks[1], frame)
