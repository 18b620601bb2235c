"""What makes the parts of an index go together."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from nephi.datasets.pair_names import LONGEST, RESERVED
from nephi.datasets.pair_rules import RULES
from nephi.errors import DataError

if TYPE_CHECKING:
    from nephi.datasets.index import DatasetImage, DatasetIndex, DatasetPair, DatasetSplit

LONGEST_ID = LONGEST // 2 - 2  # two of them name a pair
SPLITS = ("train", "val", "test")
ID = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?=[A-Za-z0-9._]))*"
)  # "--" joins two ids in the name of a landmark file


def check_index(index: DatasetIndex) -> None:
    """Raise `DataError` naming the entry, what was expected and what was found, when something does not fit."""
    if not index.name:
        raise DataError("name: expected the name of the data set, found nothing")
    if type(index.dimension) is not int or index.dimension not in (2, 3):
        raise DataError(f"dimension: expected 2 or 3, found {index.dimension!r}")
    if not index.images:
        raise DataError("images: expected at least one, found none")
    if not index.splits:
        raise DataError(f"splits: expected at least one of {', '.join(SPLITS)}, found none")
    _check_images(index.images)
    for name, split in index.splits.items():
        _check_split(index, name, split)
    _check_apart(index.splits)


def _check_images(images: tuple[DatasetImage, ...]) -> None:
    seen: dict[str, int] = {}
    folded: dict[str, int] = {}
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
                f"{entry}.id: expected at most {LONGEST_ID} characters, the last no '.', and no name of a device of "
                f"Windows, found {image.id[:LONGEST_ID]!r}; it becomes part of file names"
            )
        like = folded.setdefault(image.id.casefold(), position)
        if like != position and images[like].id != image.id:
            raise DataError(
                f"{entry}.id: {image.id!r} differs from {images[like].id!r} (images[{like}]) only in case, which some "
                "file systems ignore; rename one of them"
            )
        if image.id in seen:
            raise DataError(f"{entry}.id: {image.id!r} is that of images[{seen[image.id]}], too; give each its own")
        seen[image.id] = position
        for key in ("image", "mask", "labels"):
            _check_relative(f"{entry}.{key}", getattr(image, key))


def _check_relative(entry: str, path: str | None) -> None:
    if path is None:
        return
    if not path or "\\" in path or PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        raise DataError(f"{entry}: expected a path relative to the index, with '/', found {path!r}")


def _check_split(index: DatasetIndex, name: str, split: DatasetSplit) -> None:
    entry = f"splits.{name}"
    if name not in SPLITS:
        raise DataError(f"{entry}: expected {', '.join(SPLITS)}, found {name!r}")
    known = {image.subject for image in index.images}
    for subject in split.subjects:
        if subject not in known:
            raise DataError(f"{entry}.subjects: no image is of {subject!r}; take it out, or add its images")
    if len(set(split.subjects)) < len(split.subjects):
        raise DataError(f"{entry}.subjects: a subject is named twice; leave it once")
    if isinstance(split.pairs, str):
        if split.pairs not in RULES:
            raise DataError(f"{entry}.pairs: expected a list, or one of {', '.join(RULES)}, found {split.pairs!r}")
    else:
        _check_pairs(index, entry, split.subjects, split.pairs)
    if not index.pairs(name):
        raise DataError(
            f"{entry}: expected at least one pair, found none; add subjects or pairs, or take the split out"
        )


def _check_pairs(index: DatasetIndex, entry: str, subjects: tuple[str, ...], pairs: tuple[DatasetPair, ...]) -> None:
    seen: set[tuple[str, str]] = set()
    for position, pair in enumerate(pairs):
        here = f"{entry}.pairs[{position}]"
        for side in ("fixed", "moving"):
            image = index.by_id.get(getattr(pair, side))
            if image is None:
                raise DataError(f"{here}.{side}: expected the id of an image, found {getattr(pair, side)!r}")
            if image.subject not in subjects:
                raise DataError(f"{here}.{side}: {image.id!r} is of {image.subject!r}; add it to {entry}.subjects")
        if pair.fixed == pair.moving:
            raise DataError(f"{here}: expected two images, found {pair.fixed!r} twice")
        if (pair.fixed, pair.moving) in seen:
            raise DataError(f"{here}: the pair {pair.fixed!r}, {pair.moving!r} is listed before; leave it once")
        seen.add((pair.fixed, pair.moving))
        _check_relative(f"{here}.landmarks", pair.landmarks)


def _check_apart(splits: dict[str, DatasetSplit]) -> None:
    """A subject that is trained on and tested on makes the test worth nothing."""
    home: dict[str, str] = {}
    for name, split in splits.items():
        for subject in split.subjects:
            if subject in home:
                raise DataError(
                    f"splits.{name}.subjects: {subject!r} is in splits.{home[subject]}, too; leave it in one"
                )
            home[subject] = name
