"""Test warnings of landmarks in a wrong frame, in voxels, outside of their images, or with exchanged columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning
from nephi.geometry import Grid, PointPairs
from nephi.metrics import check_landmark_errors, check_landmarks, evaluate, landmark_errors
from nephi.phantoms.grids import rotation
from nephi.transforms import AffineTransform

Reading = Callable[[Tensor, Grid], Tensor]
SHAPE = (40, 36, 30)
LPS = torch.tensor([-1.0, -1.0, 1.0]).double()


@pytest.fixture
def grid() -> Grid:
    """Oblique, left-handed, far from the origin."""
    affine = torch.eye(4).double()
    affine[:3, :3] = rotation(0.1, -0.05, 0.1) @ torch.diag(torch.tensor([-2.0, 2.0, 2.5]).double())
    affine[:3, 3] = torch.tensor([70.0, -90.0, 150.0]).double()
    return Grid(SHAPE, affine)


@pytest.fixture
def points(grid: Grid) -> Tensor:
    unit_points = torch.rand(20, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return grid.voxel_to_world_points(3 + unit_points * (torch.tensor(SHAPE) - 7))


def pairs_of(points: Tensor) -> PointPairs:
    return PointPairs.from_coordinates(points, points + 1)


def test_points_inside_raise_no_warning(grid: Grid, points: Tensor) -> None:
    border = grid.corners_world()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_landmarks(pairs_of(points), grid, grid)
        check_landmarks(PointPairs.from_coordinates(border, border), grid, grid)
        check_landmarks(pairs_of(1000 + points), None, None)


@pytest.mark.parametrize(
    ("misread", "advice"),
    [
        (lambda p, g: LPS * p, "with x and y reversed they lie inside"),
        (lambda p, g: g.world_to_voxel_points(p), "look like voxels .* and --points-reference"),
        (lambda p, g: LPS * (g.world_to_voxel_points(p) + 1), "look like voxels"),
        (lambda p, g: LPS * g.world_to_voxel_points(p) * g.spacing, "look like mm from the image's first voxel"),
        (lambda p, g: p + 1000, "check that they belong to these images"),
    ],
)
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_another_frame_is_suggested(side: str, misread: Reading, advice: str, grid: Grid, points: Tensor) -> None:
    wrong = misread(points, grid)
    sides = (wrong, points) if side == "fixed" else (points, wrong)
    pairs = PointPairs.from_coordinates(*sides)
    with pytest.raises(
        DataError, match=f"landmarks: expected {side} points .* found 20 of 20 outside of it, .*{advice}"
    ):
        check_landmarks(pairs, grid, grid)
    with pytest.raises(DataError, match=advice):
        evaluate(AffineTransform.identity(3), grid=grid, moving_grid=grid, landmarks=pairs)


def test_some_points_outside_are_counted(grid: Grid, points: Tensor) -> None:
    points[7:10] += 500
    with pytest.warns(PlausibilityWarning, match=r"found 3 of 20 outside of it, the first is landmark 7 at \("):
        check_landmarks(pairs_of(points), grid, None)


def test_another_reading_is_suggested_where_it_fits_better(points: Tensor) -> None:
    """Without a better reading, errors that grew are attributed to the transform."""
    shift = torch.tensor([6.0, 4.0, 1.0]).double()
    transform = AffineTransform.translation(shift)

    def warning_of(fixed: Tensor, moving: Tensor) -> str:
        pairs = PointPairs.from_coordinates(fixed, moving)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_landmark_errors(transform, pairs, landmark_errors(transform, pairs))
        return " ".join(str(w.message) for w in caught)

    noise = 0.1 * torch.randn(20, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    moving = points + shift + noise
    assert warning_of(points, moving) == ""
    exchanged = warning_of(moving, points)
    assert "with fixed and moving points exchanged" in exchanged
    assert "check the columns or files, and that the transform maps fixed points to the moving image" in exchanged
    assert "with x and y reversed" in warning_of(LPS * points, LPS * moving)
    assert warning_of(points, points - torch.tensor([5.0, -3.0, 9.0]).double()) == ""
    assert "check their unit (mm)" in warning_of(points / 10, moving / 10)
    assert warning_of(1000 * points, 1000 * points) == ""  # a shift of 7 mm in points that are metres apart
