"""Images, grids and points in any form that public functions accept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nephi import DataError, Grid, Image, PointPairs, Points, UsageError, write_image, write_point_pairs, write_points
from nephi.io import as_grid, as_image, as_images, as_path, as_point_pairs, as_points

IMAGE = Image(torch.arange(6, dtype=torch.uint8).reshape(2, 3), Grid.from_spacing((2, 3), (1.5, 2.0), (4.0, 5.0)))
VALUES = [None, {}, 1, True, 1j, b"x", np.zeros(3), np.array([None, {}]), torch.zeros(3, dtype=torch.float32)]


def forms(tmp_path: Path) -> list[Any]:
    """Return the image as a path, and as images of the libraries that are installed."""
    write_image(IMAGE, tmp_path / "image.nii")
    return [tmp_path / "image.nii", str(tmp_path / "image.nii"), IMAGE, IMAGE.to_sitk()]


def test_images_and_grids(tmp_path: Path) -> None:
    for source in forms(tmp_path):
        image = as_image(source, "fixed")
        assert torch.equal(image.data, IMAGE.data) and image.grid.same_as(IMAGE.grid, 1e-5)
        assert as_grid(source).same_as(IMAGE.grid, 1e-5)
    assert as_image(IMAGE) is IMAGE and as_grid(IMAGE.grid) is IMAGE.grid
    assert as_image(IMAGE.to_sitk(), "fixed").name == "fixed"
    assert [image.name for image in as_images([IMAGE, IMAGE.to_sitk()], "moving")] == ["image", "moving[1]"]
    with pytest.raises(UsageError, match="moving: expected an image, or a list"):
        as_images([], "moving")


def test_images_of_nibabel_and_ants() -> None:
    pytest.importorskip("nibabel")
    assert torch.equal(as_image(IMAGE.to_nibabel()).data, IMAGE.data)
    ants = pytest.importorskip("ants", reason="antspyx is not installed: a double of its images would prove nothing")
    foreign = ants.from_numpy(IMAGE.numpy(), origin=(-4.0, -5.0), spacing=(1.5, 2.0), direction=-np.eye(2))
    assert torch.equal(as_image(foreign).data, IMAGE.data) and as_grid(foreign).same_as(IMAGE.grid, 1e-5)


def test_subclasses_of_other_libraries() -> None:
    nibabel = pytest.importorskip("nibabel")

    class Own(nibabel.Nifti1Image):  # type: ignore[misc,name-defined]
        pass

    assert as_image(Own(IMAGE.numpy(), np.eye(4))).data.shape == (2, 3)


def test_points(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]
    write_points(tmp_path / "points.csv", Points(rows))  # type: ignore[arg-type]
    for source in (rows, tuple(rows), np.array(rows), np.array(rows, "f4"), torch.tensor(rows, dtype=torch.float64)):
        assert as_points(source).coordinates.tolist() == rows
    assert as_points(tmp_path / "points.csv").coordinates.tolist() == rows
    assert np.asarray(Points(np.array(rows))).tolist() == rows  # type: ignore[arg-type]
    assert as_points([[1, 2], [3, 4]]).coordinates.dtype == torch.float64


def test_pairs_of_points(tmp_path: Path) -> None:
    fixed, moving = [[1.0, 2.0], [3.0, 4.0]], np.array([[5.0, 6.0], [7.0, 8.0]])
    pairs = as_point_pairs((fixed, moving))
    assert pairs.fixed.coordinates.tolist() == fixed and pairs.moving.coordinates.tolist() == moving.tolist()
    assert PointPairs(fixed, moving).fixed.coordinates.tolist() == fixed  # type: ignore[arg-type]
    write_point_pairs(tmp_path / "pairs.csv", pairs)
    assert as_point_pairs(str(tmp_path / "pairs.csv")).moving.coordinates.tolist() == moving.tolist()
    assert as_point_pairs(pairs) is pairs
    with pytest.raises(DataError, match="as many fixed as moving"):
        as_point_pairs((fixed, moving[:1]))


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("convert", [as_image, as_grid, as_points, as_point_pairs, as_path])
def test_anything_else_is_refused_by_name(convert: Any, value: Any) -> None:
    with pytest.raises((UsageError, DataError), match=r"^(thing|points): expected|^expected points of shape"):
        convert(value, "thing")


def test_a_missing_file_is_refused_by_path(tmp_path: Path) -> None:
    for convert in (as_image, as_grid, as_points, as_point_pairs):
        with pytest.raises(DataError, match=r"none\.nii"):
            convert(str(tmp_path / "none.nii"))
