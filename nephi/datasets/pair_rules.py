"""All the pairs that a rule makes of a list of images, as a sequence that holds none of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar, overload

RULES = ("within-subjects", "between-subjects")
Pair = TypeVar("Pair")


class RulePairs(Sequence[Pair], Generic[Pair]):
    """Ordered pairs of `images`, given as (id, subject): of one subject, or of different ones.

    They come image by image, in the order given, each with all its partners. 2,000 subjects make four million pairs
    between them; pair k is worked out from k instead.
    """

    def __init__(self, rule: str, images: Sequence[tuple[str, str]], make: Callable[[str, str], Pair]) -> None:
        subjects = list(dict.fromkeys(subject for _, subject in images))
        # Sorted by subject, those of one lie in a row, and partners are found by counting.
        rank = {subject: position for position, subject in enumerate(subjects)}
        self._images = sorted(images, key=lambda image: rank[image[1]])
        self._make = make
        self._within = rule == "within-subjects"
        sizes = [0] * len(subjects)
        for _, subject in images:
            sizes[rank[subject]] += 1
        starts = list(accumulate(sizes, initial=0))
        self._blocks = [(starts[rank[subject]], sizes[rank[subject]]) for _, subject in self._images]
        partners = [size - 1 if self._within else len(self._images) - size for _, size in self._blocks]
        self._ends = list(accumulate(partners))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, position: int) -> Pair: ...

    @overload
    def __getitem__(self, position: slice) -> list[Pair]: ...

    def __getitem__(self, position: int | slice) -> Pair | list[Pair]:
        if isinstance(position, slice):
            return [self[k] for k in range(*position.indices(len(self)))]
        k = position + len(self) if position < 0 else position
        if not 0 <= k < len(self):
            raise IndexError(f"pair {position} of {len(self)}")
        fixed = bisect_right(self._ends, k)
        k -= self._ends[fixed - 1] if fixed else 0
        start, size = self._blocks[fixed]
        # Partners are counted on from `first`, leaving out the image itself, or its subject's block.
        first, left_out, gap = (start, fixed, 1) if self._within else (0, start, size)
        moving = first + k if first + k < left_out else first + k + gap
        return self._make(self._images[fixed][0], self._images[moving][0])
