"""Registering a pair of images by a trained model: one forward pass."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from nephi.errors import collected_warnings
from nephi.fields import ComposedFieldPair, FieldStep, Step, StoredTransform, fields_from_maps
from nephi.geometry import gradients_recorded
from nephi.inference.inputs import PredictionInputs, joins, prediction_inputs, prediction_settings, refinable_model
from nephi.inference.predicted import predicted_steps
from nephi.inference.refinement import Refinement, refine
from nephi.models import StoredModel, model_bytes
from nephi.optimize import ProgressCallback, ignore_progress
from nephi.preparation import Source, pair_warnings
from nephi.results import Registration, check_folding
from nephi.runtime import Usage, choose_device, cpu_threads, peak_gpu_memory_mb, versions
from nephi.settings import Settings, settings_table
from nephi.transforms import AffineTransform


@gradients_recorded()
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
    progress: ProgressCallback = ignore_progress,
) -> Registration:
    """Register the moving image to the fixed one by what a trained `model` says.

    One forward pass: no affine search and no optimisation, only the centres of the images or of their masks are brought
    together, as the model's frame says. `refinement` then takes steps of the ordinary fit from there, on a copy: the
    model never changes. Its similarity, regularity and levels, and how intensities are compared, come from `settings`
    or a `preset`; without either from `generic`, with the window and the mask of the model's frame. Of a model of
    several steps, refined with all its parameters, the deformation is first read into one field of the settings.
    Images, masks and what comes back are as those of `register`, but that masks may lie on grids of their own.

    Raises `DataError` for unsuitable images and files that are no model, `UsageError` for an unknown preset or device,
    for settings that are not of a deformable registration, and to refine what has no codes.
    """
    stored, where = refinable_model(model, refinement), choose_device(device)
    chosen, usage = prediction_settings(stored, preset, settings), Usage()
    with collected_warnings() as found, cpu_threads(chosen.threads):
        with usage.stage("prepare"):
            inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen, refinement)
        with usage.stage("predict"):
            steps = predicted_steps(stored, *inputs.seen, where)
        history: list[dict[str, float]] = []
        if refinement.steps:
            with usage.stage("fit"):
                generator = torch.Generator().manual_seed(seed)
                if joins(stored, chosen, refinement):
                    steps = _joined(inputs, steps, generator)
                history = _refined(inputs, steps, refinement.what, generator, progress)
        about = {
            "versions": versions(),
            "seed": seed,
            "device": where.type,
            "threads": torch.get_num_threads(),
            "model": model_digest(stored),
            "refinement": vars(refinement),
            "settings_digest": settings_digest(chosen, refinement),
        }
        result = _stored(inputs, steps, about)
        check_folding(inputs.pair, result.transform, torch.Generator().manual_seed(seed))
    return Registration(
        result,
        inputs.pair,
        inputs.settings,
        seed,
        history,
        usage,
        peak_gpu_memory_mb(where),
        pair_warnings(inputs.pair, found),
    )


def model_digest(model: StoredModel) -> str:
    """Return what tells a model from others: the beginning of its SHA-256."""
    return hashlib.sha256(model_bytes(model)).hexdigest()[:16]


def settings_digest(settings: Settings, refinement: Refinement) -> str:
    """Return what tells the settings of predictions from others, as far as results depend on them.

    The settings are those before they are suited to a pair. Without a refinement those of the images alone count; there
    is no affine search, and threads change nothing.
    """
    without = ("threads", "affine", *(() if refinement.steps else ("field", "objective", "optimization", "levels")))
    told = {name: value for name, value in settings_table(settings).items() if name not in without}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _shift(inputs: PredictionInputs) -> AffineTransform:
    """Return what comes after the fields: from the fixed to the moving centre."""
    fixed, moving = inputs.seen
    return AffineTransform(moving.to_world @ torch.linalg.inv(fixed.to_world))


def _refined(
    inputs: PredictionInputs,
    steps: tuple[Step, ...],
    what: str,
    generator: torch.Generator,
    progress: ProgressCallback,
) -> list[dict[str, float]]:
    pairs = [step.pair for step in steps if isinstance(step, FieldStep)]
    return refine(pairs, _shift(inputs), inputs.pair, what, inputs.settings, generator, progress)


def _joined(inputs: PredictionInputs, steps: tuple[Step, ...], generator: torch.Generator) -> tuple[Step, ...]:
    """Return one step that does what all of them do at its finest nodes, with the fields of the settings."""
    grid, settings = inputs.pair.fixed.grid, inputs.settings.field
    there = [step.pair for step in steps if isinstance(step, FieldStep)]
    device = there[0].forward_field.device
    chain = ComposedFieldPair([pair.cpu() for pair in there])
    assert chain.inverse_field is not None
    fields = fields_from_maps(settings, grid, chain.forward_field, chain.inverse_field, generator)
    return (FieldStep(fields.to(device), settings, grid),)


def _stored(inputs: PredictionInputs, steps: tuple[Step, ...], about: dict[str, Any]) -> StoredTransform:
    for step in steps:
        if isinstance(step, FieldStep):
            step.pair.cpu().requires_grad_(False)
    pair = inputs.pair
    table = settings_table(inputs.settings)
    return StoredTransform(_shift(inputs), pair.fixed.grid, pair.moving.grid, steps, table, about)
