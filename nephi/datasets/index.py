"""The index of a data set: its images, their subjects, and the pairs of each split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nephi.datasets.entries import DatasetImage, DatasetPair, DatasetSource, DatasetSplit, split_pairs
from nephi.datasets.index_checks import check_index
from nephi.errors import UsageError


@dataclass(frozen=True)
class DatasetIndex:
    """The contents of a data set; docs/reference/datasets.md describes its file.

    `dimension` D is that of every image, 2 or 3. `splits` has some of the keys `train`, `val` and `test`; a subject
    belongs to at most one of them, so that no test subject is used in training. Paths of the entries are relative to
    `folder`, which holds the index file.

    Raises `DataError` naming the entry, what was expected and what was found, if the entries are inconsistent.
    """

    name: str
    dimension: int
    images: tuple[DatasetImage, ...]
    splits: dict[str, DatasetSplit]
    source: DatasetSource = field(default_factory=DatasetSource)
    folder: Path = Path(".")

    def __post_init__(self) -> None:
        check_index(self.name, self.dimension, self.images, self.splits)

    @cached_property
    def by_id(self) -> dict[str, DatasetImage]:
        """Images by their ids."""
        return {image.id: image for image in self.images}

    def image(self, id: str) -> DatasetImage:
        """Return the image with this id. Raises `UsageError` for an unknown id."""
        if id not in self.by_id:
            raise UsageError(f"the data set {self.name!r} has no image {id!r}")
        return self.by_id[id]

    def split(self, name: str) -> DatasetSplit:
        """Return the split of this name. Raises `UsageError` listing the splits of the data set for another name."""
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
        """Return the pairs of a split; those of a rule are computed on access. Raises as `split`."""
        return split_pairs(self.split(name), self.images)

    def path(self, relative: str) -> Path:
        """Return the path of a file of an entry."""
        return self.folder / relative

    def files(self) -> Iterator[tuple[str, str]]:
        """Iterate over all files as (entry, relative path); the entry, e.g. `images[0].mask`, is for messages."""
        for position, image in enumerate(self.images):
            for key in ("image", "mask", "labels"):
                if (relative := getattr(image, key)) is not None:
                    yield f"images[{position}].{key}", relative
        for name, split in self.splits.items():
            for position, pair in enumerate(split.pairs if not isinstance(split.pairs, str) else ()):
                if pair.landmarks is not None:
                    yield f"splits.{name}.pairs[{position}].landmarks", pair.landmarks
