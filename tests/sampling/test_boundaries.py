"""Boundaries of labels: against a definition voxel by voxel, in slabs, thinned, and the points around them."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Image
from nephi.sampling import LabelBoundaries, label_boundaries

AFFINE = {
    2: [[1.1, 0.3, -20.0], [-0.2, 0.8, 7.0], [0.0, 0.0, 1.0]],
    3: [[1.1, 0.3, 0.1, -20.0], [-0.2, 0.8, 0.2, 7.0], [0.1, -0.1, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0]],
}


def label_map(dimension: int, dtype: torch.dtype = torch.int16) -> Image:
    """Blocks of the labels 0, 3, 7 and 40 in an oblique image."""
    shape = (12, 9, 14)[:dimension]
    blocks = tuple(-(-n // 4) for n in shape)
    coarse = (7 * torch.arange(math.prod(blocks), dtype=torch.int64) // 2 % 4).view(blocks)
    data = torch.tensor([0, 3, 7, 40], dtype=dtype)[coarse]
    for axis, size in enumerate(shape):
        data = data.repeat_interleave(4, dim=axis).narrow(axis, 0, size)
    return Image(data.contiguous(), Grid(shape, torch.tensor(AFFINE[dimension], dtype=torch.float64)))


def expected_boundary(image: Image) -> dict[int, set[tuple[int, ...]]]:
    """Look at every neighbour of every voxel."""
    data, result = image.data, dict[int, set[tuple[int, ...]]]()
    for voxel in itertools.product(*map(range, data.shape)):
        label = int(data[voxel])
        neighbours = [
            tuple(v + step * (axis == k) for k, v in enumerate(voxel))
            for axis in range(data.ndim)
            for step in (-1, 1)
            if 0 <= voxel[axis] + step < data.shape[axis]
        ]
        if label and any(int(data[n]) != label for n in neighbours):
            result.setdefault(label, set()).add(voxel)
    return result


def by_label(boundaries: LabelBoundaries) -> dict[int, list[tuple[int, ...]]]:
    rows = zip(boundaries.labels.tolist(), boundaries.starts[:-1], boundaries.starts[1:], strict=True)
    return {label: [tuple(v) for v in boundaries.voxels[a:b].tolist()] for label, a, b in rows}


@pytest.mark.parametrize("slab", [30, 10**6])
@pytest.mark.parametrize("dimension", [2, 3])
def test_boundaries_are_those_of_the_definition(dimension: int, slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.sampling.boundaries.SLAB", slab)
    image = label_map(dimension)
    found = by_label(label_boundaries(image, torch.Generator().manual_seed(0)))
    assert {label: set(voxels) for label, voxels in found.items()} == expected_boundary(image)
    assert all(len(voxels) == len(set(voxels)) for voxels in found.values())


def test_large_boundaries_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the slabs: a voxel of the first and of the last slab are kept equally often."""
    monkeypatch.setattr("nephi.sampling.boundaries.SLAB", 300)
    monkeypatch.setattr("nephi.sampling.boundaries.MOST_VOXELS", 10)
    data = torch.zeros(30, 40, dtype=torch.uint8)
    data[10:20] = 5  # 40 voxels in each of two rows
    image = Image(data, Grid((30, 40), torch.eye(3, dtype=torch.float64)))
    means = []
    for seed in range(50):
        boundaries = label_boundaries(image, torch.Generator().manual_seed(seed))
        assert len(boundaries.voxels) == 10 and set(boundaries.voxels[:, 0].tolist()) <= {10, 19}
        means.append(float(boundaries.voxels[:, 1].double().mean()))
    spread = (40**2 / 12 / (10 * 50)) ** 0.5
    assert sum(means) / len(means) == pytest.approx(19.5, abs=4 * spread)


@pytest.mark.parametrize("dimension", [2, 3])
def test_points_lie_in_boundary_voxels_or_around_them(dimension: int) -> None:
    boundaries = label_boundaries(label_map(dimension), torch.Generator().manual_seed(0))
    rows = torch.tensor([2, 0])
    points = boundaries.draw(rows, 200, 0.0, torch.Generator().manual_seed(1))
    assert points.shape == (2, 200, dimension) and points.dtype == torch.float32
    voxels = boundaries.image.grid.world_to_voxel_points(points.double()).round().long()
    known = by_label(boundaries)
    for label, own in zip((40, 3), voxels, strict=True):
        assert {tuple(v) for v in own.tolist()} <= set(known[label])
    moved = boundaries.draw(rows, 200, 2.0, torch.Generator().manual_seed(1)) - points
    assert float(moved.std()) == pytest.approx(2.0, rel=0.15)


def test_boundaries_of_some_labels() -> None:
    boundaries = label_boundaries(label_map(3), torch.Generator().manual_seed(0))
    some = boundaries.of_labels(torch.tensor([3, 40]))
    expected = by_label(boundaries)
    assert by_label(some) == {3: expected[3], 40: expected[40]}


def test_an_image_without_boundaries_has_no_labels() -> None:
    for value in (0, 4):
        image = Image(torch.full((6, 5), value, dtype=torch.uint8), Grid((6, 5), torch.eye(3, dtype=torch.float64)))
        found = label_boundaries(image, torch.Generator().manual_seed(0))
        assert len(found.labels) == 0 and len(found.voxels) == 0 and found.starts.tolist() == [0]


def test_order_of_memory_does_not_matter() -> None:
    image = label_map(3)
    turned: Tensor = image.data.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    one, other = (label_boundaries(i, torch.Generator().manual_seed(0)) for i in (image, image.with_data(turned)))
    assert {k: set(v) for k, v in by_label(one).items()} == {k: set(v) for k, v in by_label(other).items()}
