"""Checks of the data of a training before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from nephi.datasets import DatasetIndex, read_dataset_index
from nephi.errors import DataError, UsageError
from nephi.io import image_grid, read_image, read_point_pairs
from nephi.metrics import label_numbers
from nephi.training.phases import in_phase
from nephi.training.settings import TrainSettings


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


def check_labels(settings: TrainSettings, index: DatasetIndex) -> None:
    """Raise `UsageError` for a weight of labels, in any phase, where no pair has a label in common.

    Reads label files until such a pair is found; raises `DataError` for one that holds no labels.
    """
    used = [number for number, objective in enumerate(settings.objectives) if objective.dice]
    if not used or _has_common_label(index):
        return
    with in_phase(used[0], settings.phases):
        raise UsageError(
            "objective.dice: expected 0, as no pair of the split train has a label that both images contain, got "
            f"{settings.objectives[used[0]].dice:g}; name their label files in {settings.data.index}"
        )


def _has_common_label(index: DatasetIndex) -> bool:
    """Return whether both images of a training pair contain the same label."""
    files = {image.id: image.labels for image in index.split_images("train") if image.labels is not None}

    @cache
    def labels_of(id: str) -> frozenset[int]:
        return frozenset(label_numbers(read_image(index.path(files[id]))).unique().tolist()) - {0}

    labelled = (pair for pair in index.pairs("train") if files and {pair.fixed, pair.moving} <= files.keys())
    return any(labels_of(pair.fixed) & labels_of(pair.moving) for pair in labelled)


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
