"""Validation of a data set's index: ids, paths, subjects and pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

from nephi.datasets.entries import PAIR_RULES, DatasetImage, DatasetPair, DatasetSplit, split_pairs
from nephi.datasets.pair_names import MOST_BYTES, RESERVED
from nephi.errors import DataError

LONGEST_ID = MOST_BYTES // 2 - 2  # two ids form the name of a pair
SPLITS = ("train", "val", "test")
ID = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?=[A-Za-z0-9._]))*"
)  # no "--", which joins two ids in the name of a landmark file


def check_index(
    name: str, dimension: int, images: tuple[DatasetImage, ...], splits: Mapping[str, DatasetSplit]
) -> None:
    """Raise `DataError` naming the first entry that is invalid, what was expected and what was found."""
    if not name:
        raise DataError("name: expected the name of the data set, found an empty text")
    if type(dimension) is not int or dimension not in (2, 3):
        raise DataError(f"dimension: expected 2 or 3, found {dimension!r}")
    if not images:
        raise DataError("images: expected at least one, found none")
    if not splits:
        raise DataError(f"splits: expected at least one of {', '.join(SPLITS)}, found none")
    _check_images(images)
    for split_name, split in splits.items():
        _check_split(images, split_name, split)
    _check_disjoint(splits)


def _check_images(images: tuple[DatasetImage, ...]) -> None:
    first_use: dict[str, int] = {}  # position of the first image with an id, regardless of case
    for position, image in enumerate(images):
        entry = f"images[{position}]"
        for key in ("id", "subject"):
            if not ID.fullmatch(getattr(image, key)):
                raise DataError(
                    f"{entry}.{key}: expected letters, digits, '.', '_' or single '-', the first a letter or digit, "
                    f"found {getattr(image, key)!r}; it becomes part of file names"
                )
        if RESERVED.fullmatch(image.id) or image.id.endswith(".") or len(image.id) > LONGEST_ID:
            raise DataError(
                f"{entry}.id: expected at most {LONGEST_ID} characters, no '.' at the end, and no name that Windows "
                f"reserves for devices, found {image.id[:LONGEST_ID]!r}; it becomes part of file names"
            )
        first = first_use.setdefault(image.id.casefold(), position)
        if first != position and images[first].id == image.id:
            raise DataError(f"{entry}.id: {image.id!r} is already the id of images[{first}]; ids must be unique")
        if first != position:
            raise DataError(
                f"{entry}.id: {image.id!r} differs from {images[first].id!r} (images[{first}]) only in case, which "
                "some file systems ignore; rename one of them"
            )
        for key in ("image", "mask", "labels"):
            _check_relative(f"{entry}.{key}", getattr(image, key))


def _check_relative(entry: str, path: str | None) -> None:
    if path is None:
        return
    if not path or "\\" in path or PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        raise DataError(f"{entry}: expected a path relative to the index, with '/', found {path!r}")


def _check_split(images: tuple[DatasetImage, ...], name: str, split: DatasetSplit) -> None:
    entry = f"splits.{name}"
    if name not in SPLITS:
        raise DataError(f"{entry}: expected {', '.join(SPLITS)}, found {name!r}")
    subjects_with_images = {image.subject for image in images}
    for subject in split.subjects:
        if subject not in subjects_with_images:
            raise DataError(f"{entry}.subjects: {subject!r} has no image; remove it, or add its images")
    if len(set(split.subjects)) < len(split.subjects):
        repeated = next(subject for subject in split.subjects if split.subjects.count(subject) > 1)
        raise DataError(f"{entry}.subjects: {repeated!r} is listed more than once; list each subject once")
    if isinstance(split.pairs, str):
        if split.pairs not in PAIR_RULES:
            raise DataError(f"{entry}.pairs: expected a list, or one of {', '.join(PAIR_RULES)}, found {split.pairs!r}")
    else:
        _check_pairs(images, entry, split.subjects, split.pairs)
    if not split_pairs(split, images):
        raise DataError(f"{entry}: expected at least one pair, found none; add subjects or pairs, or remove the split")


def _check_pairs(
    images: tuple[DatasetImage, ...], split_entry: str, subjects: tuple[str, ...], pairs: tuple[DatasetPair, ...]
) -> None:
    by_id = {image.id: image for image in images}
    previous: set[tuple[str, str]] = set()
    for position, pair in enumerate(pairs):
        entry = f"{split_entry}.pairs[{position}]"
        for side in ("fixed", "moving"):
            image = by_id.get(getattr(pair, side))
            if image is None:
                raise DataError(f"{entry}.{side}: expected the id of an image, found {getattr(pair, side)!r}")
            if image.subject not in subjects:
                raise DataError(
                    f"{entry}.{side}: {image.id!r} is an image of {image.subject!r}; add it to {split_entry}.subjects"
                )
        if pair.fixed == pair.moving:
            raise DataError(f"{entry}: expected two different images, found {pair.fixed!r} twice")
        if (pair.fixed, pair.moving) in previous:
            raise DataError(f"{entry}: {pair.fixed!r} and {pair.moving!r} are listed before; list each pair once")
        previous.add((pair.fixed, pair.moving))
        _check_relative(f"{entry}.landmarks", pair.landmarks)


def _check_disjoint(splits: Mapping[str, DatasetSplit]) -> None:
    """Raise `DataError` for a subject in two splits: a test on training data is worth nothing."""
    split_of: dict[str, str] = {}
    for name, split in splits.items():
        for subject in split.subjects:
            if subject in split_of:
                raise DataError(
                    f"splits.{name}.subjects: {subject!r} is also in splits.{split_of[subject]}; a subject belongs to "
                    "one split only"
                )
            split_of[subject] = name
