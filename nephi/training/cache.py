"""Images as a network sees them, kept in memory while there is room."""

from __future__ import annotations

from collections import OrderedDict

from nephi.datasets import DatasetIndex
from nephi.geometry import PointPairs
from nephi.io import read_image, read_point_pairs
from nephi.models import FrameSettings, Seen, bring


class SeenImages:
    """The images of a data set by their ids, brought to the frame when they are asked for.

    Those used last are kept, as many as fit into `limit` bytes.
    """

    def __init__(self, index: DatasetIndex, frame: FrameSettings, limit: float) -> None:
        self.index = index
        self.frame = frame
        self.limit = limit
        self._kept: OrderedDict[str, Seen] = OrderedDict()
        self._bytes = 0
        self._landmarks: dict[str, PointPairs] = {}

    def __getitem__(self, id: str) -> Seen:
        """Return what the network sees of an image. Raises `DataError` naming the file for what cannot be shown."""
        if id in self._kept:
            self._kept.move_to_end(id)
            return self._kept[id]
        seen = self._brought(id)
        self._kept[id] = seen
        self._bytes += _size(seen)
        while self._bytes > self.limit and self._kept:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return seen

    def landmarks(self, relative: str) -> PointPairs:
        """Return the landmarks of a file the index names, kept once read. Raises `DataError` for an unsuitable file."""
        if relative not in self._landmarks:
            self._landmarks[relative] = read_point_pairs(self.index.path(relative))
        return self._landmarks[relative]

    def _brought(self, id: str) -> Seen:
        entry = self.index.image(id)
        asked = entry.mask if self.frame.mask != "none" else None
        mask = None if asked is None else read_image(self.index.path(asked))
        return bring(read_image(self.index.path(entry.image)), mask, self.frame)


def _size(seen: Seen) -> int:
    return seen.values.nbytes + (0 if seen.mask is None else seen.mask.nbytes)
