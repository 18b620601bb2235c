"""The index of a data set: which images there are, whose they are, and which pairs belong to which split."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from nephi.errors import DataError, UsageError
from nephi.learning.pair_rules import RULES, RulePairs

SPLITS = ("train", "val", "test")
ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?!-))*")  # "--" joins two ids in the name of a landmark file


@dataclass(frozen=True)
class DatasetSource:
    """Where the images come from: whom to cite, under which terms, and the `page` to read about them."""

    citation: str = ""
    terms: str = ""
    page: str = ""


@dataclass(frozen=True)
class DatasetImage:
    """One image: its `id`, whose it is, and its files, relative to the index.

    `mask` is above 0 where the anatomy of interest is, `labels` holds one integer a structure (0: none); both lie in
    the image's world, on its grid or on one of their own. `modality` is free text ("CT", "T1w").
    """

    id: str
    subject: str
    image: str
    mask: str | None = None
    labels: str | None = None
    modality: str | None = None


@dataclass(frozen=True)
class DatasetPair:
    """Two images by their ids, and the file of their landmarks (pairs, LPS mm), where there is one."""

    fixed: str
    moving: str
    landmarks: str | None = None


@dataclass(frozen=True)
class DatasetSplit:
    """The subjects of a split, and its pairs: listed, or by a rule.

    `within-subjects`: every ordered pair of two images of one subject; `between-subjects`: of different subjects.
    """

    subjects: tuple[str, ...]
    pairs: tuple[DatasetPair, ...] | str


@dataclass(frozen=True)
class DatasetIndex:
    """What a data set holds; see docs/datasets.md for its file.

    `dimension` D is that of every image, 2 or 3. `splits` has some of the keys `train`, `val` and `test`; a subject is
    in one of them at most, so that nothing is trained on what is tested. `folder` is where the file lies: paths of the
    entries are relative to it.

    Raises `DataError` naming the entry, what was expected and what was found, when the parts do not go together.
    """

    name: str
    dimension: int
    images: tuple[DatasetImage, ...]
    splits: dict[str, DatasetSplit]
    source: DatasetSource = field(default_factory=DatasetSource)
    folder: Path = Path(".")

    def __post_init__(self) -> None:
        if not self.name:
            raise DataError("name: expected the name of the data set, found nothing")
        if type(self.dimension) is not int or self.dimension not in (2, 3):
            raise DataError(f"dimension: expected 2 or 3, found {self.dimension!r}")
        if not self.images:
            raise DataError("images: expected at least one, found none")
        if not self.splits:
            raise DataError(f"splits: expected at least one of {', '.join(SPLITS)}, found none")
        _check_images(self.images)
        for name, split in self.splits.items():
            _check_split(self, name, split)
        _check_apart(self.splits)

    @cached_property
    def _by_id(self) -> dict[str, DatasetImage]:
        return {image.id: image for image in self.images}

    def image(self, id: str) -> DatasetImage:
        """Return the image of that id. Raises `UsageError` when there is none."""
        if id not in self._by_id:
            raise UsageError(f"the data set {self.name!r} has no image {id!r}")
        return self._by_id[id]

    def split(self, name: str) -> DatasetSplit:
        """Return the split of that name. Raises `UsageError` naming those there are when there is none."""
        if name not in self.splits:
            raise UsageError(
                f"the data set {self.name!r} has no split {name!r}: choose one of {', '.join(self.splits)}"
            )
        return self.splits[name]

    def split_images(self, name: str) -> tuple[DatasetImage, ...]:
        """Return the images of the subjects of a split, in the order of the index. Raises as `split`."""
        subjects = set(self.split(name).subjects)
        return tuple(image for image in self.images if image.subject in subjects)

    def pairs(self, name: str) -> Sequence[DatasetPair]:
        """Return the pairs of a split; those of a rule are made when asked for, not held. Raises as `split`."""
        pairs = self.split(name).pairs
        if not isinstance(pairs, str):
            return pairs
        return RulePairs(pairs, [(i.id, i.subject) for i in self.split_images(name)], DatasetPair)

    def path(self, relative: str) -> Path:
        """Return where a file of an entry is."""
        return self.folder / relative

    def files(self) -> Iterator[tuple[str, str]]:
        """Give each file that is named, with the entry that names it, for messages."""
        for position, image in enumerate(self.images):
            for key in ("image", "mask", "labels"):
                if (relative := getattr(image, key)) is not None:
                    yield f"images[{position}].{key}", relative
        for name, split in self.splits.items():
            for position, pair in enumerate(split.pairs if not isinstance(split.pairs, str) else ()):
                if pair.landmarks is not None:
                    yield f"splits.{name}.pairs[{position}].landmarks", pair.landmarks


def _check_images(images: tuple[DatasetImage, ...]) -> None:
    seen: dict[str, int] = {}
    for position, image in enumerate(images):
        entry = f"images[{position}]"
        for key in ("id", "subject"):
            if not ID.fullmatch(getattr(image, key)):
                raise DataError(
                    f"{entry}.{key}: expected letters, digits, '.', '_' or single '-', the first a letter or digit, "
                    f"found {getattr(image, key)!r}; it becomes part of file names"
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
        _check_pairs(index, entry, split)
    if not index.pairs(name):
        raise DataError(
            f"{entry}: expected at least one pair, found none; add subjects or pairs, or take the split out"
        )


def _check_pairs(index: DatasetIndex, entry: str, split: DatasetSplit) -> None:
    subjects = set(split.subjects)
    seen: set[tuple[str, str]] = set()
    for position, pair in enumerate(split.pairs):
        assert isinstance(pair, DatasetPair)
        here = f"{entry}.pairs[{position}]"
        for side in ("fixed", "moving"):
            image = index._by_id.get(getattr(pair, side))
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
