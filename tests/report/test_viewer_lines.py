"""Test the viewer's lines and its map of local displacements without a browser."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from nephi.errors import UsageError
from nephi.fields import StoredTransform
from nephi.geometry import Grid
from nephi.images import Image
from nephi.report.viewer.lines import COLOURS, Contour, LinePictures, outline
from nephi.report.viewer.maps import deformation_maps
from nephi.report.viewer.study import read_study
from nephi.results import Registration
from nephi.transforms import AffineTransform

from .viewers import save_with_images

SHIFT = 6.0  # mm along the first axis


def shifted(grid: Grid) -> AffineTransform:
    matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
    matrix[0, -1] = SHIFT
    return AffineTransform(matrix)


def box(grid: Grid, low: float, high: float) -> Image:
    """A mask of the points between two planes across the first axis."""
    x = grid.voxel_centres()[..., 0]
    return Image(((x > low) & (x < high)).to(torch.uint8), grid)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Picture.open(io.BytesIO(png)))


def test_an_outline_is_one_pixel_wide_and_separates_labels() -> None:
    labels = np.zeros((7, 8), np.int64)
    labels[1:6, 1:5], labels[1:6, 5:7] = 1, 2
    expected = np.zeros((7, 8), bool)
    expected[1:6, 1:7] = True
    expected[2:5, 2:4] = False
    np.testing.assert_array_equal(outline(labels), expected)
    assert not outline(np.zeros((3, 3), np.int64)).any()


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 12)])
def test_contours_of_the_moving_side_are_warped(shape: tuple[int, ...]) -> None:
    """phi(x) = x + 6: the moving region from 14 to 26 mm covers the fixed one from 8 to 20 mm."""
    grid = Grid.from_spacing(shape, (1.0,) * len(shape))
    stored = StoredTransform(shifted(grid), grid, grid)
    contours = [Contour(box(grid, 7.5, 20.5), "fixed"), Contour(box(grid, 13.5, 26.5), "moving")]
    lines = LinePictures(stored, contours)
    name = "plane" if len(shape) == 2 else "axial"
    view = lines.table()["views"][name]
    drawn = pixels(lines.picture(name, 5.0, ["contours"]))
    assert drawn[..., 3].any()
    middle = np.flatnonzero(drawn[drawn.shape[0] // 2, :, 3])
    pixel = (view["start"][0] - view["end"][0]) / drawn.shape[1]
    positions = view["start"][0] - (middle + 0.5) * pixel
    assert positions.max() == pytest.approx(20.5, abs=2 * pixel) and positions.min() == pytest.approx(
        7.5, abs=2 * pixel
    )
    assert {tuple(colour) for colour in drawn[drawn[..., 3] == 255][:, :3].tolist()} == {COLOURS["fixed"]}  # covered
    other = LinePictures(StoredTransform(AffineTransform.identity(len(shape)), grid, grid), contours[1:])
    drawn = pixels(other.picture(name, 5.0, ["contours"]))
    columns = np.flatnonzero(drawn[drawn.shape[0] // 2, :, 3])
    assert (view["start"][0] - (columns + 0.5) * pixel).max() == pytest.approx(26.5, abs=2 * pixel)
    assert {tuple(colour) for colour in drawn[drawn[..., 3] == 255][:, :3].tolist()} == {COLOURS["moving"]}


def test_the_deformation_grid_of_an_affine_map_is_regular() -> None:
    grid = Grid.from_spacing((40, 30), (1.0, 1.0))
    lines = LinePictures(StoredTransform(shifted(grid), grid, grid), [])
    drawn = pixels(lines.picture("plane", 0.0, ["grid"]))[..., 3]
    view = lines.table()["views"]["plane"]
    pixel = (view["start"][0] - view["end"][0]) / drawn.shape[1]
    columns = np.flatnonzero(np.median(drawn, axis=0) > 100)  # horizontal lines cover few rows
    positions = view["start"][0] - (columns + 0.5) * pixel
    assert len(columns) > 10
    assert np.abs(positions / lines.spacing - np.round(positions / lines.spacing)).max() < 1.5 * pixel / lines.spacing


def test_unknown_views_and_kinds_are_refused(grid: Grid) -> None:
    lines = LinePictures(StoredTransform(AffineTransform.identity(grid.dimension), grid, grid), [])
    with pytest.raises(UsageError, match="view: expected one of "):
        lines.picture("oblique", 0.0, ["grid"])
    with pytest.raises(UsageError, match="kinds: expected some of grid, contours, got folds"):
        lines.picture("plane" if grid.dimension == 2 else "axial", 0.0, ["folds"])


def test_the_local_displacement_of_an_affine_map_is_zero(grid: Grid) -> None:
    maps = deformation_maps(shifted(grid), grid)
    assert float(maps["local"].image.data.abs().max()) < 1e-3
    torch.testing.assert_close(maps["displacement"].image.data, torch.full(grid.shape, SHIFT), atol=1e-3, rtol=0)


def test_masks_of_the_registration_are_shown_unless_labels_are_given(flat_affine: Registration, tmp_path: Path) -> None:
    from nephi.io import write_image

    save_with_images(flat_affine, tmp_path)
    paths = tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"
    assert read_study(tmp_path / "result", *paths, None).contours == ()
    mask = flat_affine.pair.fixed.with_data((flat_affine.pair.fixed.data > 100).to(torch.uint8))
    write_image(mask, tmp_path / "result" / "fixed_mask.nii.gz")  # as `nephi demo` stores it
    (contour,) = read_study(tmp_path / "result", *paths, None).contours
    assert contour.side == "fixed" and torch.equal(contour.image.data.bool(), mask.data.bool())
    labels = mask.with_data(3 * mask.data.to(torch.int16))
    write_image(labels, tmp_path / "labels.nii.gz")
    (contour,) = read_study(tmp_path / "result", *paths, None, {"fixed": tmp_path / "labels.nii.gz"}).contours
    assert int(contour.image.data.max()) == 3
