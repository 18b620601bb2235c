"""The entries of a data set's index: source, images, pairs and splits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import overload

PAIR_RULES = ("within-subjects", "between-subjects")


@dataclass(frozen=True)
class DatasetSource:
    """Origin of the images: the `citation`, the `terms` of use, and a web `page`."""

    citation: str = ""
    terms: str = ""
    page: str = ""


@dataclass(frozen=True)
class DatasetImage:
    """One image: its `id`, its `subject`, and its files, relative to the index.

    `mask` is above 0 where the anatomy of interest is, `labels` holds one integer per structure (0: none); both lie in
    the image's world, on its grid or on another one. `modality` is free text ("CT", "T1w").
    """

    id: str
    subject: str
    image: str
    mask: str | None = None
    labels: str | None = None
    modality: str | None = None


@dataclass(frozen=True)
class DatasetPair:
    """Ids of the fixed and the moving image, and the file of their landmarks (LPS, mm), if there is one."""

    fixed: str
    moving: str
    landmarks: str | None = None


@dataclass(frozen=True)
class DatasetSplit:
    """The subjects of a split, and its pairs: a list, or the name of a rule.

    `within-subjects`: every ordered pair of two images of the same subject; `between-subjects`: of different subjects.
    """

    subjects: tuple[str, ...]
    pairs: tuple[DatasetPair, ...] | str


class RulePairs(Sequence[DatasetPair]):
    """All ordered pairs of `images` that a rule of `PAIR_RULES` selects, computed on access instead of stored.

    2,000 subjects have four million pairs. They are ordered by the fixed image, then by the moving image; images of one
    subject follow each other.
    """

    def __init__(self, rule: str, images: Sequence[DatasetImage]) -> None:
        subjects = list(dict.fromkeys(image.subject for image in images))
        # Sorted by subject, each subject's images are one block, so a position gives the pair by arithmetic.
        rank = {subject: position for position, subject in enumerate(subjects)}
        self._images = sorted(images, key=lambda image: rank[image.subject])
        self._within = rule == "within-subjects"
        sizes = [0] * len(subjects)
        for image in images:
            sizes[rank[image.subject]] += 1
        starts = list(accumulate(sizes, initial=0))
        self._blocks = [(starts[rank[image.subject]], sizes[rank[image.subject]]) for image in self._images]
        partners = [size - 1 if self._within else len(self._images) - size for _, size in self._blocks]
        self._ends = list(accumulate(partners))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, position: int) -> DatasetPair: ...

    @overload
    def __getitem__(self, position: slice) -> list[DatasetPair]: ...

    def __getitem__(self, position: int | slice) -> DatasetPair | list[DatasetPair]:
        if isinstance(position, slice):
            return [self[k] for k in range(*position.indices(len(self)))]
        k = position + len(self) if position < 0 else position
        if not 0 <= k < len(self):
            raise IndexError(f"pair {position} of {len(self)}")
        fixed = bisect_right(self._ends, k)
        k -= self._ends[fixed - 1] if fixed else 0
        start, size = self._blocks[fixed]
        # The k-th partner counts from `first` and skips the image itself, or the block of its subject.
        first, skipped, count = (start, fixed, 1) if self._within else (0, start, size)
        moving = first + k if first + k < skipped else first + k + count
        return DatasetPair(self._images[fixed].id, self._images[moving].id)


def split_pairs(split: DatasetSplit, images: Sequence[DatasetImage]) -> Sequence[DatasetPair]:
    """Return the pairs of a split, listed or by its rule, among the `images` of a data set."""
    if not isinstance(split.pairs, str):
        return split.pairs
    subjects = set(split.subjects)
    return RulePairs(split.pairs, [image for image in images if image.subject in subjects])
