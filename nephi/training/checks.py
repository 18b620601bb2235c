"""Checks before a training begins, rather than after hours of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from nephi.datasets import DatasetIndex, read_dataset_index
from nephi.errors import DataError, UsageError
from nephi.io import image_grid, read_point_pairs
from nephi.models import RegistrationModel, StoredModel, model_bytes, model_class, model_table
from nephi.settings import check_weights, plain_table
from nephi.training.settings import TrainSettings
from nephi.training.settings_file import difference, result_settings, train_settings, value_at


def checked_index(settings: TrainSettings) -> DatasetIndex:
    """Read the index of a training's data, and the headers of the images in its splits `train` and `val`.

    Raises `DataError` or `UsageError` for an index that names missing files, has no split `train`, is of
    another dimension than the model's input, or names an image of another dimension or without the required mask.
    """
    if not settings.data.index:
        raise UsageError("data.index: expected the path of a data set's index, got none")
    index = read_dataset_index(settings.data.index)
    if "train" not in index.splits:
        raise DataError(
            f"{settings.data.index}: expected a split train, got {', '.join(index.splits)}; add one with its subjects"
        )
    if index.dimension != settings.input.dimension:
        raise UsageError(
            f"input.shape: expected {index.dimension} numbers, as the data set {index.name!r} is {index.dimension}-D, "
            f"got {settings.input.shape}"
        )
    check_images(index, settings, ("train", "val"))
    return index


def check_images(index: DatasetIndex, settings: TrainSettings, splits: Iterable[str]) -> None:
    """Raise `DataError` naming an image in one of the splits that is of another dimension, or lacks a required mask.

    Splits that the index does not have are left out.
    """
    for split in splits:
        for image in index.split_images(split) if split in index.splits else ():
            if settings.input.mask == "given" and image.mask is None:
                raise DataError(
                    f'{settings.data.index}: the image {image.id!r} has no mask, for input.mask = "given"; add it, or '
                    'choose "lungs" or "foreground", which are segmented automatically'
                )
            for relative in (image.image, image.mask if settings.input.mask != "none" else None, image.labels):
                if relative is None:
                    continue
                dimension = image_grid(index.path(relative)).dimension
                if dimension != index.dimension:
                    raise DataError(
                        f"{index.path(relative)}: expected a {index.dimension}-D image, as in the index, got a "
                        f"{dimension}-D one; remove it from the index, or replace it"
                    )


def with_training_pairs(settings: TrainSettings, index: DatasetIndex) -> TrainSettings:
    """Return the settings with the number of training pairs, for a model that depends on it.

    Raises `UsageError` when the settings name another number.
    """
    return replace(settings, model=settings.model.with_pairs(len(index.pairs("train"))))


def check_augmentation(settings: TrainSettings, model: RegistrationModel[Any]) -> None:
    """Raise `UsageError` for augmentation that moves the images of a model with parameters for single pairs.

    Also for an elastic displacement with far more nodes than the model's input has voxels.
    """
    finest = min(settings.input.spacing) / 8
    for warp in (settings.augmentation, settings.augmentation.both):
        if warp.elastic_spacing < finest:
            raise UsageError(
                f"{warp.table}.elastic_spacing: expected {finest:g} or more, an eighth of a voxel of input.spacing, "
                f"got {warp.elastic_spacing}"
            )
    moving_parts = settings.augmentation.moving_parts()
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
        with _in_phase(settings, number):
            check_weights(objective, outputs.inverse, outputs.penalties, name)


def check_phases(settings: TrainSettings, model: RegistrationModel[Any], start: StoredModel | None) -> None:
    """Raise `UsageError` for composed steps that `model` does not have, or that a later phase leaves out again.

    Steps that are left out have to be the identity, so that the stored model is the one that was validated: those that
    `start`, the model to fine-tune, has trained are used from the first phase on.
    """
    needed = 0 if start is None else min(start.settings.step_count, settings.model.step_count)
    before = "of the model to fine-tune"
    for number, phase in enumerate(settings.phases):
        with _in_phase(settings, number):
            model.use_steps(phase.network_steps, phase.frozen_steps)
            used = phase.network_steps or settings.model.step_count
            if used < needed:
                raise UsageError(f"network_steps: expected 0 or at least the {needed} steps {before}, got {used}")
            needed, before = used, "of the phase before"
    model.use_steps(0)


@contextmanager
def _in_phase(settings: TrainSettings, number: int) -> Iterator[None]:
    """Put the name of a phase before errors; the steps after the last phase have none."""
    try:
        yield
    except UsageError as error:
        if number == len(settings.phases):
            raise
        raise UsageError(f"phases[{number}]: {error}") from None


def check_labels(settings: TrainSettings, index: DatasetIndex) -> None:
    """Raise `UsageError` for a weight of labels, in any phase, where no pair has labels of both images."""
    for number, objective in enumerate(settings.objectives):
        with _in_phase(settings, number):
            if objective.dice and not _has_labels(index):
                raise UsageError(
                    "objective.dice: expected 0, as no pair of the split train has labels of both images, got "
                    f"{objective.dice:g}; name their files in {settings.data.index}"
                )


def _has_labels(index: DatasetIndex) -> bool:
    """Return whether a training pair has labels of both images."""
    labelled = {image.id for image in index.split_images("train") if image.labels is not None}
    return bool(labelled) and any({pair.fixed, pair.moving} <= labelled for pair in index.pairs("train"))


def check_landmark_files(settings: TrainSettings, index: DatasetIndex) -> None:
    """Raise `DataError` naming a file of landmarks that will be used and cannot be read, or is of another dimension."""
    splits = ["val"] if "val" in index.splits else []
    splits += ["train"] if any(objective.landmarks for objective in settings.objectives) else []
    for pair in (pair for name in splits if not isinstance(index.split(name).pairs, str) for pair in index.pairs(name)):
        if pair.landmarks is None:
            continue
        dimension = read_point_pairs(index.path(pair.landmarks)).fixed.dimension
        if dimension != index.dimension:
            raise DataError(
                f"{index.path(pair.landmarks)}: expected {index.dimension}-D points, as in the index, got "
                f"{dimension}-D ones"
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


def run_identity(
    settings: TrainSettings, index: DatasetIndex, model: StoredModel | None, processes: int
) -> dict[str, Any]:
    """Return, as plain tables, what must be the same for a run to be resumed."""
    described = {name: value for name, value in asdict(index).items() if name not in ("folder", "source")}
    return {
        "settings": result_settings(settings),
        "data": _digest(json.dumps(plain_table(described), sort_keys=True).encode()),
        "start": "" if model is None else _digest(model_bytes(model)),
        "processes": processes,
    }


def check_identity(saved: dict[str, Any], run: dict[str, Any]) -> None:
    """Raise `UsageError` naming what differs between the run that is resumed and the arguments."""
    settings = with_defaults(saved.get("settings", {}))
    name = difference(settings, run["settings"])
    if name is not None:
        before, now = value_at(settings, name), value_at(run["settings"], name)
        raise UsageError(
            f"{name}: the run was started with {before}, the configuration has {now}; change it back, or start a new "
            "run"
        )
    messages = {
        "data": "data.index: the run was started with another data set; pass that one, or start a new run",
        "start": "model: the run was started from another model; pass that one, or start a new run",
        "processes": f"processes: the run was started with {saved.get('processes')}, there are now {run['processes']}; "
        "start as many, so that its steps hold as many pairs",
    }
    for name, message in messages.items():
        if saved.get(name) != run[name]:
            raise UsageError(message)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_defaults(table: dict[str, Any]) -> dict[str, Any]:
    """Return saved settings with the defaults of those that were added later."""
    try:
        return result_settings(train_settings(table))
    except UsageError:
        return table
