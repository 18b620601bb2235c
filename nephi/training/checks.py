"""What is found out before a training begins, not after hours of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

from nephi.datasets import DatasetIndex, read_dataset_index
from nephi.errors import DataError, UsageError
from nephi.io import image_grid, read_point_pairs
from nephi.models import StoredModel, model_bytes
from nephi.settings import plain_table
from nephi.tables import from_table
from nephi.training.settings import TrainSettings
from nephi.training.settings_file import difference, lasting_table, value_at

MAPS = ("rotation", "scale", "shear", "shift", "elastic")


def checked_index(settings: TrainSettings) -> DatasetIndex:
    """Read the index of a training's data, and the headers of the images it will use.

    Raises `DataError` or `UsageError` in one line for an index that names missing files, has no split `train`, is of
    another dimension than the frame, or names an image of another dimension or without the mask that is asked for.
    """
    if not settings.data.index:
        raise UsageError("data.index: expected the path of a data set's index, found nothing")
    index = read_dataset_index(settings.data.index)
    if "train" not in index.splits:
        raise DataError(
            f"{settings.data.index}: expected a split train, found {', '.join(index.splits)}; add one with its subjects"
        )
    if index.dimension != settings.frame.dimension:
        raise UsageError(
            f"frame.shape: expected {index.dimension} numbers, as the data set {index.name!r} is {index.dimension}-D, "
            f"got {settings.frame.shape}"
        )
    _check_images(index, settings)
    return index


def _check_images(index: DatasetIndex, settings: TrainSettings) -> None:
    for name in ("train", "val"):
        for image in index.split_images(name) if name in index.splits else ():
            if settings.frame.mask == "given" and image.mask is None:
                raise DataError(
                    f'{settings.data.index}: the image {image.id!r} has no mask, for frame.mask = "given"; add it, or '
                    'choose "lungs" or "foreground", which find one'
                )
            for relative in (image.image, image.mask if settings.frame.mask != "none" else None, image.labels):
                if relative is None:
                    continue
                found = image_grid(index.path(relative)).dimension
                if found != index.dimension:
                    raise DataError(
                        f"{index.path(relative)}: expected a {index.dimension}-D image, as the index says, found "
                        f"{found}-D; take it out, or make it one"
                    )


def with_pairs(settings: TrainSettings, index: DatasetIndex) -> TrainSettings:
    """Return the settings with the number of training pairs that an auto-decoder keeps values of.

    Raises `UsageError` when they name another number, or augmentation that makes other pairs of them.
    """
    model, count = settings.model, len(index.pairs("train"))
    if model.system != "auto-decoder":
        return settings
    if model.pairs not in (0, count):
        raise UsageError(
            f"model.pairs: expected {count}, the pairs of the split train, got {model.pairs}; leave it out"
        )
    both = settings.augment.both
    moves = {name: getattr(settings.augment, name) for name in ("flip", "permute", *MAPS)}
    moves |= {f"both.{name}": getattr(both, name) for name in MAPS}
    for name, moved in moves.items():
        if moved:
            raise UsageError(f"augment.{name}: an auto-decoder keeps values of each pair as it is; leave it out")
    return replace(settings, model=replace(model, pairs=count))


def check_landmark_files(settings: TrainSettings, index: DatasetIndex) -> None:
    """Raise `DataError` naming a file of landmarks that will be used and cannot be read, or is of another dimension."""
    splits = ["val"] if "val" in index.splits else []
    splits += ["train"] if settings.objective.landmarks else []
    for pair in (pair for name in splits if not isinstance(index.split(name).pairs, str) for pair in index.pairs(name)):
        if pair.landmarks is None:
            continue
        found = read_point_pairs(index.path(pair.landmarks)).fixed.dimension
        if found != index.dimension:
            raise DataError(
                f"{index.path(pair.landmarks)}: expected {index.dimension}-D points, as the index says, found {found}-D"
            )


def check_model(settings: TrainSettings, model: StoredModel) -> None:
    """Raise `UsageError` naming the first setting of frame or architecture that a model to go on from contradicts."""
    given = {"frame": asdict(settings.frame), "model": asdict(settings.model) | {"pairs": 0}}
    has = {"frame": asdict(model.frame), "model": asdict(model.settings) | {"pairs": 0}}
    name = difference(given, has)
    if name is not None:
        raise UsageError(
            f"{name}: the model has {value_at(has, name)}, the configuration {value_at(given, name)}; leave it out, or "
            "train a model of your own"
        )


def identity(settings: TrainSettings, index: DatasetIndex, model: StoredModel | None, processes: int) -> dict[str, Any]:
    """Return, as plain tables, what has to be the same for a run to be resumed."""
    described = {name: value for name, value in asdict(index).items() if name not in ("folder", "source")}
    return {
        "settings": lasting_table(settings),
        "data": _digest(json.dumps(plain_table(described), sort_keys=True).encode()),
        "start": "" if model is None else _digest(model_bytes(model)),
        "processes": processes,
    }


def check_identity(saved: dict[str, Any], run: dict[str, Any]) -> None:
    """Raise `UsageError` naming what differs between the run that is resumed and what is given."""
    settings = _completed(saved.get("settings", {}))
    name = difference(settings, run["settings"])
    if name is not None:
        before, now = value_at(settings, name), value_at(run["settings"], name)
        raise UsageError(
            f"{name}: the run was started with {before}, the configuration has {now}; set it back, or start a run anew"
        )
    told = {
        "data": "data.index: the run was started with another data set; give it that one, or start a run anew",
        "start": "model: the run was started from another model; give it that one, or start a run anew",
        "processes": f"processes: the run was started with {saved.get('processes')}, there are now {run['processes']}; "
        "start as many, so that its steps hold as many pairs",
    }
    for name, message in told.items():
        if saved.get(name) != run[name]:
            raise UsageError(message)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _completed(table: dict[str, Any]) -> dict[str, Any]:
    """Return settings that were saved, with the defaults of those that there were not yet."""
    try:
        return lasting_table(from_table(TrainSettings, table))
    except UsageError:
        return table
