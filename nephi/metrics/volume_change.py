"""Change of the volume of each label under a transform, from Jacobian determinants."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nephi.errors import DataError
from nephi.images import Image
from nephi.metrics.overlap import label_numbers
from nephi.metrics.regularity import is_folded

QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class VolumeChange:
    """Jacobian determinants J at the voxel centres of a label, and its volumes (2-D: areas).

    `before` is the volume of the label, `after` that of its image under the transform, `before * mean`: mm^3, in 2-D
    mm^2. `mean`, `p05`, `median` and `p95` are those of J, `folds` is the number of voxels with `J <= 0`.
    """

    voxels: int
    before: float
    after: float
    mean: float
    p05: float
    median: float
    p95: float
    folds: int


def volume_changes(determinants: Image, labels: Image) -> dict[int, VolumeChange]:
    """Return the change of volume of every label except 0, from an image of determinants on the grid of the labels.

    With the transform of a registration and labels of the fixed image, `before` is the volume in the fixed and `after`
    that in the moving image: the integral of the determinant over the label is the volume of its image (where nothing
    folds), approximated at voxel centres.

    Raises `DataError` for another grid, voxels that are no labels, and a label map of 0 only.
    """
    if not determinants.grid.same_as(labels.grid):
        raise DataError(f"{labels.name}: expected labels on the grid of the determinants, found another grid")
    numbers = label_numbers(labels).flatten()
    order = numbers.argsort(stable=True)
    order = order[int((numbers == 0).sum()) :]
    if len(order) == 0:
        raise DataError(f"{labels.name}: expected a label map, found only 0, the background")
    present, counts = numbers[order].unique_consecutive(return_counts=True)
    values = determinants.data.flatten()[order].split(counts.tolist())
    volume = abs(float(torch.linalg.det(labels.grid.affine[:-1, :-1])))
    return {label: _change(each, volume) for label, each in zip(present.tolist(), values, strict=True)}


def _change(determinants: torch.Tensor, voxel_volume: float) -> VolumeChange:
    """Return the statistics of the determinants in one label; quantiles by linear interpolation, as NumPy's."""
    ascending, before = determinants.double().sort().values, len(determinants) * voxel_volume
    mean = float(ascending.mean())
    p05, median, p95 = (_quantile(ascending, fraction) for fraction in QUANTILES)
    folds = int(is_folded(determinants).sum())
    return VolumeChange(len(ascending), before, before * mean, mean, p05, median, p95, folds)


def _quantile(ascending: torch.Tensor, fraction: float) -> float:
    """Return a quantile of sorted values of any number (`torch.quantile` takes 2^24 at most)."""
    position = fraction * (len(ascending) - 1)
    low = int(position)
    high = min(low + 1, len(ascending) - 1)
    return float(torch.lerp(ascending[low], ascending[high], position - low))
