"""The index of a data set: which images there are, whose they are, and which pairs belong to which split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nephi.datasets.index_checks import check_index
from nephi.datasets.pair_rules import RulePairs
from nephi.errors import UsageError


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
    """What a data set holds; see docs/reference/datasets.md for its file.

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
        check_index(self)

    @cached_property
    def by_id(self) -> dict[str, DatasetImage]:
        """Images by their ids."""
        return {image.id: image for image in self.images}

    def image(self, id: str) -> DatasetImage:
        """Return the image of that id. Raises `UsageError` when there is none."""
        if id not in self.by_id:
            raise UsageError(f"the data set {self.name!r} has no image {id!r}")
        return self.by_id[id]

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
