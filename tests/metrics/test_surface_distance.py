"""Surface distances compared with closed forms, all pairs of points, and distance transforms of SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.geometry import Grid
from nephi.metrics import surface_distances

SPACING = (0.7, 1.3, 2.9)
SHAPE = (14, 12, 9)


def oblique(shape: tuple[int, ...], shear: float = 0.0) -> Grid:
    """A turned grid with unequal edges."""
    turn = torch.linalg.qr(torch.tensor([[1.0, 0.4, 0.2], [-0.3, 1.0, 0.5], [0.1, -0.6, 1.0]], dtype=torch.float64))[0]
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = turn * torch.tensor(SPACING, dtype=torch.float64)
    affine[:3, 2] += shear * affine[:3, 0]
    affine[:3, 3] = torch.tensor([10.0, -50.0, 300.0], dtype=torch.float64)
    return Grid(shape, affine)


def two_labels(first: tuple, second: tuple, shape: tuple[int, ...] = SHAPE) -> list[torch.Tensor]:
    maps = [torch.zeros(shape, dtype=torch.int64) for _ in range(2)]
    maps[0][first], maps[1][second] = 1, 1
    return maps


def test_two_voxels() -> None:
    grid = oblique(SHAPE)
    found = surface_distances(*two_labels((2, 3, 4), (7, 1, 8)), grid, [1])[1]
    expected = math.hypot(5 * SPACING[0], 2 * SPACING[1], 4 * SPACING[2])
    assert (found.mean, found.p95) == pytest.approx((expected, expected))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_parallel_plates(axis: int) -> None:
    """Across the whole image, three voxels apart: every voxel is three edges from the other plate."""
    planes = [tuple(k if a == axis else slice(None) for a in range(3)) for k in (2, 5)]
    found = surface_distances(*two_labels(*planes), oblique(SHAPE), [1])[1]
    assert (found.mean, found.p95) == pytest.approx((3 * SPACING[axis],) * 2)


def test_a_shear_brings_plates_closer() -> None:
    """The distance of two lines along the third axis of a sheared 2-D lattice, 2 edges apart, is 2 a cos(angle)."""
    affine = torch.tensor([[1.5, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    maps = two_labels((2, slice(None)), (4, slice(None)), (7, 40))
    found = surface_distances(*maps, Grid((7, 40), affine), [1])[1]
    # Steps of (1, 1) along the line; 2 a = 3 = 2 steps less 1: the nearest centre is 1 or 2 steps away.
    assert found.p95 == pytest.approx(math.sqrt(5)) and found.mean == pytest.approx(math.sqrt(5), rel=0.02)


def test_balls_of_two_radii() -> None:
    """Concentric: the distance is the difference of the radii, up to a voxel."""
    grid = Grid.from_spacing((41, 31, 24), (1.0, 1.4, 1.8))
    radii = (grid.voxel_centres() - grid.centre_world()).norm(dim=-1)
    found = surface_distances((radii < 10).long(), (radii < 16).long(), grid, [1])[1]
    assert found.mean == pytest.approx(6.0, abs=0.4) and 6.0 < found.p95 < 7.8


def test_the_inside_has_no_surface() -> None:
    """Only faces count: a hole one voxel wide is a surface of its own, the solid block around it is not."""
    solid, hollow = two_labels((slice(2, 9),) * 3, (slice(2, 9),) * 3, (11, 11, 11))
    hollow[5, 5, 5] = 0
    grid = Grid.from_spacing((11, 11, 11), (1.0, 1.0, 1.0))
    found = surface_distances(solid, hollow, grid, [1])[1]
    count = 7**3 - 5**3  # of the block; the hole adds six voxels, two edges from the outer surface
    assert found.mean == pytest.approx(6 * 2 / (2 * count + 6)) and found.p95 == 0


def random_maps(dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(dimension)
    shape = SHAPE[:dimension]
    return tuple(torch.randint(0, 4, shape, generator=generator) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("dimension", [2, 3])
def test_equals_all_pairs_of_points_and_is_symmetric(dimension: int) -> None:
    first, second = random_maps(dimension)
    first[first == 2], second[-4:] = 1, 0
    grid = oblique(SHAPE, 0.4) if dimension == 3 else Grid.from_spacing(SHAPE[:2], (0.7, 1.9))
    found = surface_distances(first, second, grid, [1, 3])
    for label in (1, 3):
        points = []
        for labels in (first, second):
            inside = np.pad((labels == label).numpy(), 1)
            alone = np.ones(inside.shape, bool)
            for axis in range(dimension):
                for step in (-1, 1):
                    alone &= np.roll(inside, step, axis)
            centres = np.argwhere(inside & ~alone) - 1
            points.append(grid.voxel_to_world_points(torch.from_numpy(centres).double()))
        distances = torch.cdist(*points, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = [distances.amin(dim=axis) for axis in (1, 0)]
        assert found[label].mean == pytest.approx(float(torch.cat(nearest).mean()))
        assert found[label].p95 == pytest.approx(max(float(torch.quantile(each, 0.95)) for each in nearest))
    assert surface_distances(second, first, grid, [3])[3].p95 == found[3].p95


def test_equals_distance_transforms_of_simpleitk() -> None:
    """Solids away from the border, whose voxels ITK's contours leave out."""
    first, second = two_labels((slice(2, 8), slice(2, 7), slice(2, 6)), (slice(5, 12), slice(3, 10), slice(1, 5)))
    found = surface_distances(first, second, oblique(SHAPE), [1])[1]
    images = []
    for labels in (first, second):
        image = sitk.GetImageFromArray(labels.numpy().T.astype(np.uint8))
        image.SetSpacing(SPACING)
        images.append(sitk.LabelContour(image, False))
    directed = []
    for here, there in (images, images[::-1]):
        field = sitk.Abs(sitk.SignedMaurerDistanceMap(there, squaredDistance=False, useImageSpacing=True))
        directed.append(sitk.GetArrayFromImage(field)[sitk.GetArrayFromImage(here) > 0])
    assert found.mean == pytest.approx(np.concatenate(directed).mean(), rel=1e-5)
    assert found.p95 == pytest.approx(max(np.quantile(each, 0.95) for each in directed), rel=1e-5)


def test_a_missing_label_has_no_distance() -> None:
    found = surface_distances(*two_labels((2, 3, 4), (7, 1, 8)), oblique(SHAPE), [1, 5])
    assert math.isnan(found[5].mean) and math.isnan(found[5].p95) and found[1].mean > 0


def test_labels_of_atlases_are_told_apart() -> None:
    maps = two_labels((2, 3, 4), (2, 3, 4))
    for labels in maps:
        labels[9, 9, 8], labels[0, 0, 0] = 2**40, 2**40 + 1
    maps[1][0, 0, 0] = 0
    found = surface_distances(*maps, oblique(SHAPE), [1, 2**40, 2**40 + 1])
    assert found[1].mean == found[2**40].mean == 0 and math.isnan(found[2**40 + 1].mean)
