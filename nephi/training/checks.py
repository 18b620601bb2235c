"""Checks of settings and model before a training begins, rather than after hours of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nephi.errors import UsageError
from nephi.models import RegistrationModel, StoredModel, model_class, model_table
from nephi.settings import check_weights, plain_table
from nephi.training.phases import in_phase
from nephi.training.reference_points import follows_keypoints
from nephi.training.settings import WITHOUT_PHASES, TrainSettings
from nephi.training.settings_file import difference, value_at


def check_augmentation(settings: TrainSettings, model: RegistrationModel[Any]) -> None:
    """Raise `UsageError` for augmentation that moves the images of a model with parameters for single pairs.

    Also for an elastic displacement with far more nodes than the model's input has voxels, and for none that moves
    images whose keypoints are to follow it.
    """
    finest = min(settings.input.spacing) / 8
    for warp in (settings.augmentation, settings.augmentation.both):
        if warp.elastic_spacing < finest:
            raise UsageError(
                f"{warp.table}.elastic_spacing: expected {finest:g} or more, an eighth of a voxel of input.spacing, "
                f"got {warp.elastic_spacing}"
            )
    moving_parts = settings.augmentation.moving_parts()
    if follows_keypoints(settings) and not moving_parts:
        raise UsageError(
            "objective.keypoints: expected 0 without an [augmentation] that moves the images, as keypoints would learn "
            "to stay where they are; set augmentation.rotation, scale, shear or shift"
        )
    if moving_parts and model.pair_parameters():
        raise UsageError(
            f"augmentation.{moving_parts[0]}: expected none, as model.kind = {settings.model.kind!r} has parameters of "
            "each pair without augmentation; leave it out"
        )


def check_objective(settings: TrainSettings) -> None:
    """Raise `UsageError` naming a weight of the objective, in any phase, that the model cannot use."""
    outputs = model_class(settings.model).outputs(settings.model)
    name = f"model.kind = {settings.model.kind!r}"
    for number, objective in enumerate(settings.objectives):
        with in_phase(number, settings.phases):
            check_weights(objective, outputs.inverse, outputs.penalties, name)
            if objective.keypoints and not outputs.keypoints:
                raise UsageError(
                    f"objective.keypoints: expected 0 for {name} (no keypoints), got {objective.keypoints}"
                )


def check_phases(settings: TrainSettings, model: RegistrationModel[Any], start: StoredModel | None) -> None:
    """Raise `UsageError` for composed steps that `model` does not have, or that a later phase leaves out again.

    Steps that are left out have to be the identity, so that the stored model is the one that was validated: those that
    `start`, the model to fine-tune, has trained are used from the first phase on.
    """
    needed = 0 if start is None else min(start.settings.step_count, settings.model.step_count)
    before = "of the model to fine-tune"
    for number, phase in enumerate(settings.phases):
        with in_phase(number, settings.phases):
            if phase.network_steps > settings.model.step_count > 1:
                raise UsageError(
                    f"network_steps: expected 0 to {settings.model.step_count}, the steps of the model, got "
                    f"{phase.network_steps}; change it, or {WITHOUT_PHASES}"
                )
            model.use_steps(phase.network_steps, phase.frozen_steps)
            used = phase.network_steps or settings.model.step_count
            if used < needed:
                raise UsageError(f"network_steps: expected 0 or at least the {needed} steps {before}, got {used}")
            needed, before = used, "of the phase before"
    model.use_steps(0)


def check_windows(settings: TrainSettings) -> None:
    """Raise `UsageError` for windows, in any phase, within a voxel or beyond the model's box."""
    spacing, shape = settings.input.spacing, settings.input.shape
    low, high = min(spacing) / 2, max(n * s for n, s in zip(shape, spacing, strict=True))
    for number, objective in enumerate(settings.objectives):
        with in_phase(number, settings.phases):
            if objective.window and not low <= objective.window <= high:
                raise UsageError(
                    f"objective.window: expected {low:g} to {high:g} mm, half a voxel to the edge of the box of "
                    f"[input], got {objective.window:g}"
                )


def check_model(settings: TrainSettings, model: StoredModel) -> None:
    """Raise `UsageError` naming the first setting of input or architecture that differs from a model to fine-tune.

    A model that has further composed steps after those of the model to fine-tune does not differ from it.
    """
    first_steps = settings.model.with_pairs(0).first_steps(model.settings.step_count)
    configured = plain_table({"input": asdict(settings.input), "model": model_table(first_steps)})
    stored = plain_table({"input": asdict(model.input), "model": model_table(model.settings.with_pairs(0))})
    name = difference(configured, stored)
    if name is not None:
        raise UsageError(
            f"{name}: the model has {value_at(stored, name)}, the configuration {value_at(configured, name)}; "
            "leave it out, or train a new model"
        )
