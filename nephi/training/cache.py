"""Model inputs of a data set's images, kept in memory up to a limit."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from nephi.datasets import DatasetIndex
from nephi.geometry import PointPairs
from nephi.images import resample
from nephi.io import read_image, read_point_pairs
from nephi.metrics import label_numbers
from nephi.models import InputSettings, ModelInput, input_grid, to_model_input


class ModelInputCache:
    """The images and labels of a data set by the images' ids, read and resampled to the model's box on first use.

    Those used last are kept, as many as fit into `limit` bytes.
    """

    def __init__(self, index: DatasetIndex, settings: InputSettings, limit: float) -> None:
        self.index = index
        self.settings = settings
        self.limit = limit
        self._kept: OrderedDict[str, ModelInput] = OrderedDict()
        self._labels: dict[str, Tensor] = {}  # of the images that are kept
        self._bytes = 0
        self._landmarks: dict[str, PointPairs] = {}

    def __getitem__(self, id: str) -> ModelInput:
        """Return the model input of an image. Raises `DataError` naming the file of an unsuitable image or mask."""
        if id in self._kept:
            self._kept.move_to_end(id)
            return self._kept[id]
        model_input = self._read(id)
        self._kept[id] = model_input
        self._bytes += _size(model_input)
        self._forget()
        return model_input

    def labels(self, id: str) -> Tensor | None:
        """Return the labels of an image, int64 `(1, *shape)`, on the grid of its model input; None without any.

        Nearest neighbour; 0 beyond the border. Raises `DataError` naming the file of unsuitable labels.
        """
        relative = self.index.image(id).labels
        if relative is None or id in self._labels:
            return self._labels.get(id)
        image, model_input = read_image(self.index.path(relative)), self[id]
        label_numbers(image)  # raises
        grid = input_grid(self.settings).transformed(model_input.to_world)
        labels = label_numbers(resample(image, grid, lambda points: points, "nearest"))[None]
        if id in self._kept:
            self._labels[id] = labels
            self._bytes += labels.nbytes
            self._forget()
        return labels

    def _forget(self) -> None:
        """Remove the images that were used longest ago, with their labels, until the rest fits."""
        while self._bytes > self.limit and self._kept:
            id, model_input = self._kept.popitem(last=False)
            labels = self._labels.pop(id, None)
            self._bytes -= _size(model_input) + (0 if labels is None else labels.nbytes)

    def holds(self, count: int) -> bool:
        """Return whether `count` images of the mean size of those kept now fit into memory."""
        return bool(self._kept) and self._bytes / len(self._kept) * count <= self.limit

    def landmarks(self, relative: str) -> PointPairs:
        """Return the landmarks of a file of the index, read once. Raises `DataError` for an unsuitable file."""
        if relative not in self._landmarks:
            self._landmarks[relative] = read_point_pairs(self.index.path(relative))
        return self._landmarks[relative]

    def _read(self, id: str) -> ModelInput:
        entry = self.index.image(id)
        mask_file = entry.mask if self.settings.mask != "none" else None
        mask = None if mask_file is None else read_image(self.index.path(mask_file))
        return to_model_input(read_image(self.index.path(entry.image)), mask, self.settings)


def _size(model_input: ModelInput) -> int:
    return model_input.values.nbytes + (0 if model_input.mask is None else model_input.mask.nbytes)
