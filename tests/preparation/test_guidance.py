"""Guiding landmarks and labels: reading, validation, and their place after an alignment."""

from pathlib import Path

import pytest
import torch

from nephi.errors import DataError, PlausibilityWarning, UsageError
from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.io import write_image, write_point_pairs
from nephi.preparation import prepare_pair, read_guidance
from nephi.settings import GuidanceSettings, Settings

SHAPE = (20, 16, 12)
GRID = Grid(SHAPE, torch.diag(torch.tensor([2.0, 1.5, 3.0, 1.0], dtype=torch.float64)))
FIXED, MOVING = (
    Image(torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)), GRID, name=f"image {seed}")
    for seed in (0, 1)
)
POINTS = torch.tensor([[4.0, 6.0, 9.0], [20.0, 12.0, 15.0], [30.0, 3.0, 30.0]], dtype=torch.float64)
PAIRS = PointPairs.from_coordinates(POINTS, POINTS + 1)


def labels(*values: int, grid: Grid = GRID, dtype: torch.dtype = torch.uint8) -> Image:
    data = torch.zeros(grid.shape, dtype=dtype)
    for row, label in enumerate(values):
        data[2 + 3 * row : 4 + 3 * row, 3:9] = label
    return Image(data, grid, name="labels of " + ", ".join(map(str, values)))


def test_files_and_objects_are_the_same(tmp_path: Path) -> None:
    write_point_pairs(tmp_path / "pairs.csv", PAIRS)
    for name, image in (("fixed", labels(1, 2)), ("moving", labels(2, 1))):
        write_image(image, tmp_path / f"{name}.nii.gz")
    files = tmp_path / "fixed.nii.gz", str(tmp_path / "moving.nii.gz")
    by_file = read_guidance(tmp_path / "pairs.csv", files, FIXED, MOVING)
    by_object = read_guidance(PAIRS, (labels(1, 2), labels(2, 1)), FIXED, MOVING)
    assert by_file.landmarks is not None and by_file.labels is not None and by_object.labels is not None
    torch.testing.assert_close(by_file.landmarks.moving.coordinates, POINTS + 1)
    for one, other in zip(by_file.labels, by_object.labels, strict=True):
        assert one.labels.tolist() == other.labels.tolist() == [1, 2]
        assert torch.equal(one.voxels, other.voxels)


def test_labels_on_another_grid_in_only_one_image_and_of_other_types() -> None:
    coarse = Grid((10, 8, 6), torch.diag(torch.tensor([4.0, 3.0, 6.0, 1.0], dtype=torch.float64)))
    guidance = read_guidance(None, (labels(5, 6, 7), labels(7, 5, grid=coarse, dtype=torch.float64)), FIXED, MOVING)
    assert guidance.labels is not None
    assert [side.labels.tolist() for side in guidance.labels] == [[5, 7], [5, 7]]
    assert guidance.labels[1].image.data.dtype == torch.int32


def test_moving_side_follows_an_alignment() -> None:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, 3] = torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64)
    guidance = read_guidance(PAIRS, (labels(1), labels(1)), FIXED, MOVING).with_moving_transformed(matrix)
    assert guidance.landmarks is not None and guidance.labels is not None
    torch.testing.assert_close(guidance.landmarks.fixed.coordinates, POINTS)
    torch.testing.assert_close(guidance.landmarks.moving.coordinates, POINTS + 1 + matrix[:3, 3])
    torch.testing.assert_close(guidance.labels[1].image.grid.origin, GRID.origin + matrix[:3, 3])
    torch.testing.assert_close(guidance.labels[0].image.grid.origin, GRID.origin)


def test_settings_hold_weights_only_where_they_are_used() -> None:
    settings = Settings(guidance=GuidanceSettings(landmarks=3.0))
    assert prepare_pair(FIXED, MOVING, None, None, settings)[1].guidance == GuidanceSettings()
    assert prepare_pair(FIXED, MOVING, None, None, settings, PAIRS)[1].guidance.landmarks == 3.0


def test_landmarks_that_cannot_guide() -> None:
    flat = PointPairs.from_coordinates(POINTS[:, :2], POINTS[:, :2])
    with pytest.raises(DataError, match="guide_landmarks: expected 3-D pairs"):
        read_guidance(flat, None, FIXED, MOVING)
    with pytest.raises(DataError, match="guide_landmarks: landmarks: expected moving points inside"):
        read_guidance(PointPairs.from_coordinates(POINTS, POINTS + 500), None, FIXED, MOVING)
    with pytest.raises(UsageError, match=r"guide_landmarks: expected nephi.PointPairs, a path, or .* got torch"):
        read_guidance(POINTS, None, FIXED, MOVING)  # type: ignore[arg-type]


def test_labels_that_cannot_guide() -> None:
    with pytest.raises(UsageError, match="guide_labels: expected two label maps"):
        read_guidance(None, labels(1), FIXED, MOVING)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"share a label with a boundary, found 1, 2 and 3"):
        read_guidance(None, (labels(1, 2), labels(3)), FIXED, MOVING)
    with pytest.raises(DataError, match="labels above 0 that do not fill the whole image, found none"):
        read_guidance(None, (labels(), labels(1)), FIXED, MOVING)
    with pytest.raises(DataError, match="found fractions"):
        read_guidance(None, (FIXED, labels(1)), FIXED, MOVING)
    with pytest.raises(DataError, match="found negative numbers"):
        read_guidance(None, (labels(1).with_data(-labels(1, dtype=torch.int16).data), labels(1)), FIXED, MOVING)
    far = Grid(SHAPE, GRID.affine + 1000 * (torch.arange(4) == 3) * (torch.arange(4)[:, None] < 3))
    with pytest.raises(DataError, match="labels of 1: expected labels of image 0, found 0 % of their boundaries"):
        read_guidance(None, (labels(1, grid=far), labels(1)), FIXED, MOVING)


def test_labels_mostly_outside_are_doubted() -> None:
    affine = GRID.affine.clone()
    affine[0, 3] += 34.5
    with pytest.warns(PlausibilityWarning, match="expected labels of image 1"):
        read_guidance(None, (labels(1, 2), labels(1, 2, grid=Grid(SHAPE, affine))), FIXED, MOVING)
