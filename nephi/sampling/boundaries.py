"""Random points around the boundaries of labels; the cost hardly depends on the image and the number of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Image

MOST_VOXELS = 4096  # of the boundary of a label; enough that steps rarely meet the same one
SLAB = 2_000_000  # voxels that are compared with their neighbours at a time


@dataclass(frozen=True, eq=False)
class LabelBoundaries:
    """A label map, whole numbers, and voxels at the boundaries of its labels.

    `labels` `(L,)`, ascending and without 0, are those that the map contains. The voxels of label l are the rows
    `starts[l]` to `starts[l + 1]` of `voxels` `(V, D)`, int32; of large boundaries a random part.
    """

    image: Image
    labels: Tensor
    starts: Tensor
    voxels: Tensor

    def with_grid(self, grid: Grid) -> LabelBoundaries:
        """Return the same voxels on another grid."""
        return replace(self, image=self.image.with_grid(grid))

    def to(self, device: torch.device) -> LabelBoundaries:
        """Return the label map on `device`; boundaries stay on the CPU, where points are sampled."""
        return replace(self, image=replace(self.image, data=self.image.data.to(device)))

    def of_labels(self, labels: Tensor) -> LabelBoundaries:
        """Return the boundaries of some `labels`, ascending, all of which the map contains."""
        rows = torch.searchsorted(self.labels, labels)
        parts = [self.voxels[self.starts[row] : self.starts[row + 1]] for row in rows.tolist()]
        starts = torch.tensor([0, *(len(part) for part in parts)], dtype=torch.int64).cumsum(0)
        return replace(self, labels=labels, starts=starts, voxels=torch.cat(parts))

    def draw(self, rows: Tensor, count: int, spread: float, generator: torch.Generator) -> Tensor:
        """Sample `(len(rows), count, D)` float32 world points around the boundaries of the labels in these rows.

        Each is a point of a random boundary voxel, moved by a Gaussian of standard deviation `spread` mm along each
        axis, so that half of them lie outside the label.
        """
        first, sizes = self.starts[rows, None], (self.starts[rows + 1] - self.starts[rows])[:, None]
        unit = torch.rand(len(rows), count, generator=generator, dtype=torch.float64)
        chosen = self.voxels[first + (unit * sizes).long()].double()
        chosen += torch.rand(chosen.shape, generator=generator, dtype=torch.float64) - 0.5
        moved = spread * torch.randn(chosen.shape, generator=generator, dtype=torch.float64)
        return (self.image.grid.voxel_to_world_points(chosen) + moved).float()


def label_boundaries(image: Image, generator: torch.Generator) -> LabelBoundaries:
    """Find the boundaries of the labels in an image of whole numbers, 0 the background.

    A voxel lies at the boundary of its label if a neighbour along an axis has another one. The border of the image is
    no boundary; a label that fills the image has none and is left out. Slabs of voxels are read one after the other,
    and of each label a uniform random choice of `MOST_VOXELS` is kept.
    """
    data = image.data
    kept = _Voxels.empty()
    for start, stop in image.grid.slabs(SLAB):
        low, high = max(0, start - 1), min(data.shape[-1], stop + 1)
        slab = data[..., low:high]
        positions = _is_boundary(slab)[..., start - low : stop - low].nonzero()
        own = slab[..., start - low : stop - low][tuple(positions.unbind(1))].long()
        positions[:, -1] += start
        priorities = torch.rand(len(own), generator=generator, dtype=torch.float64)
        kept = kept.joined(_Voxels(own, priorities, positions.to(torch.int32)))
    labels, counts = kept.labels.unique_consecutive(return_counts=True)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return LabelBoundaries(image, labels, starts, kept.voxels)


def _is_boundary(data: Tensor) -> Tensor:
    """Return where a label other than 0 has a neighbour of another label."""
    result = torch.zeros(data.shape, dtype=torch.bool)
    for axis, size in enumerate(data.shape):
        lower, upper = data.narrow(axis, 0, size - 1), data.narrow(axis, 1, size - 1)
        differs = lower != upper
        result.narrow(axis, 0, size - 1).logical_or_(differs)
        result.narrow(axis, 1, size - 1).logical_or_(differs)
    return result & (data != 0)


@dataclass(frozen=True, eq=False)
class _Voxels:
    """Voxels ordered by their labels and, within these, by random priorities; at most `MOST_VOXELS` of a label."""

    labels: Tensor
    priorities: Tensor
    voxels: Tensor

    @classmethod
    def empty(cls) -> _Voxels:
        integers = torch.zeros(0, dtype=torch.int64)
        return cls(integers, integers.double(), integers.to(torch.int32))

    def joined(self, other: _Voxels) -> _Voxels:
        """Return the voxels of both, of each label those of the lowest priorities."""
        labels, priorities = torch.cat([self.labels, other.labels]), torch.cat([self.priorities, other.priorities])
        voxels = torch.cat([self.voxels, other.voxels]) if len(self.voxels) else other.voxels
        order = priorities.argsort()
        order = order[labels[order].argsort(stable=True)]
        labels, priorities, voxels = labels[order], priorities[order], voxels[order]
        _, counts = labels.unique_consecutive(return_counts=True)
        firsts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        kept = torch.arange(len(labels), dtype=torch.int64) - firsts < MOST_VOXELS
        return _Voxels(labels[kept], priorities[kept], voxels[kept])
