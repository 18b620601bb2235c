"""Test checkerboards, differences, colours of volume change, grid lines and sprite sheets against known results."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from nephi.report.colours import CHANGE, FOLD, FOLDED, LEVELS, OUTSIDE, ChangeScale, hexadecimal, interpolate_colours
from nephi.report.figures import checkerboard, difference
from nephi.report.html import grey_sheet, indexed_sheet
from nephi.report.pictures import draw_grid_lines


def decode(uri: str) -> Image.Image:
    head, data = uri.split(",", 1)
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_checkerboard_alternates_squares() -> None:
    one, other = np.full((4, 6), 1, np.uint8), np.full((4, 6), 2, np.uint8)
    expected = [[1, 1, 2, 2, 1, 1]] * 2 + [[2, 2, 1, 1, 2, 2]] * 2
    np.testing.assert_array_equal(checkerboard(one, other, 2), expected)
    np.testing.assert_array_equal(checkerboard(one, one, 2), one)


def test_difference_does_not_overflow() -> None:
    one, other = np.array([[0, 250, 7]], np.uint8), np.array([[255, 5, 7]], np.uint8)
    np.testing.assert_array_equal(difference(one, other), [[255, 245, 0]])
    np.testing.assert_array_equal(difference(other, one), [[255, 245, 0]])


class TestVolumeChange:
    scale = ChangeScale(2.0)

    def index(self, *determinants: float) -> list[int]:
        row = np.full((1, 4 * len(determinants)), np.nan, np.float32)  # separated, as folds mark their neighbours
        row[0, ::4] = determinants
        return self.scale.indices(row)[0, ::4].tolist()

    def test_scale_is_logarithmic_around_no_change(self) -> None:
        middle = (LEVELS + 1) // 2
        assert self.index(1.0, 2.0, 0.5, math.nan) == [middle, LEVELS, 1, OUTSIDE]
        assert self.index(4.0, 0.01) == [LEVELS, 1]
        up, down = self.index(2**0.5, 2**-0.5)
        assert up - middle == middle - down == pytest.approx((LEVELS - 1) / 4, abs=0.5)

    def test_palette_has_distinct_colours_for_folds_and_outside(self) -> None:
        palette = self.scale.palette()
        assert palette.shape == (LEVELS + 2, 4)
        assert palette[OUTSIDE, 3] == 0 and (palette[1:, 3] == 255).all()
        assert tuple(palette[FOLDED, :3]) == FOLD
        assert tuple(palette[(LEVELS + 1) // 2, :3]) == CHANGE[2][1]
        assert not (palette[1:FOLDED, :3] == FOLD).all(axis=1).any()

    def test_folds_are_marked_with_their_neighbours(self) -> None:
        determinants = np.ones((1, 7, 7), np.float32)
        determinants[0, 3, 3] = 0.0
        determinants[0, 0, 6] = -2.0
        folded = self.scale.indices(determinants)[0] == FOLDED
        expected = np.zeros((7, 7), bool)
        for row, column in [(3, 3), (2, 3), (4, 3), (3, 2), (3, 4), (0, 6), (0, 5), (1, 6)]:
            expected[row, column] = True
        np.testing.assert_array_equal(folded, expected)

    def test_small_positive_determinants_are_no_folds(self) -> None:
        assert self.index(1e-6, 1e-30) == [1, 1]

    def test_limit_follows_the_determinants(self) -> None:
        assert ChangeScale.for_determinants(np.array([1.0, 1.1, np.nan, -3.0], np.float32)).limit == 1.25
        assert ChangeScale.for_determinants(np.array([0.3, 1.1], np.float32)).limit == 4.0
        assert ChangeScale.for_determinants(np.array([1e-3], np.float32)).limit == 8.0
        assert ChangeScale.for_determinants(np.array([np.nan, -1.0], np.float32)).limit == 1.25

    def test_colours_are_interpolated_between_stops(self) -> None:
        stops = ((0.0, (0, 0, 0)), (1.0, (100, 200, 50)))
        np.testing.assert_array_equal(interpolate_colours(np.array([0.0, 0.5, 1.0]), stops)[1], [50, 100, 25])
        assert hexadecimal((255, 0, 16)) == "#ff0010"


class TestGridLines:
    def coordinates(self, height: int, width: int) -> np.ndarray:
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        return np.stack([columns, rows], axis=-1)

    def test_lines_without_deformation_are_straight(self) -> None:
        lines = draw_grid_lines(self.coordinates(21, 31), 10.0)
        assert (lines[:, [0, 10, 20, 30]] == 255).all() and (lines[[0, 10, 20], :] == 255).all()
        assert (lines[5, [5, 15, 25]] == 0).all()

    def test_lines_run_where_the_mapped_coordinate_is_a_multiple_of_the_spacing(self) -> None:
        """Scaled by 2 and shifted by 3 mm: lines at 2 x + 3 = 0, 10, 20, ..."""
        lines = draw_grid_lines(2 * self.coordinates(6, 40) + 3, 10.0)
        column = lines[:, :].min(axis=0)
        assert set(np.flatnonzero(column == column.max())) <= {
            3,
            4,
            8,
            9,
            13,
            14,
            18,
            19,
            23,
            24,
            28,
            29,
            33,
            34,
            38,
            39,
        }

    def test_lines_stay_one_pixel_wide(self) -> None:
        for scale in (0.5, 1.0, 3.0):
            lines = draw_grid_lines(scale * self.coordinates(41, 200), scale * 40.0)[20] / 255.0
            assert lines[60:100].tolist() == pytest.approx([0.0] * 19 + [0.25, 1.0, 0.25] + [0.0] * 18, abs=0.01)

    def test_constant_coordinates_and_a_single_row_are_drawn(self) -> None:
        assert draw_grid_lines(np.zeros((4, 4, 2), np.float32), 10.0).shape == (4, 4)
        assert draw_grid_lines(self.coordinates(1, 8), 4.0).shape == (1, 8)


def test_tiles_are_arranged_in_reading_order() -> None:
    tiles = np.stack([np.full((8, 16), 40 * i, np.uint8) for i in range(5)])
    sheet = grey_sheet(tiles)
    assert (sheet.rows, sheet.columns) == (2, 3)
    image = np.asarray(decode(sheet.uri))
    assert image.shape == (16, 48)
    for i in range(5):
        row, column = divmod(i, 3)
        tile = image[8 * row : 8 * row + 8, 16 * column : 16 * column + 16]
        assert np.abs(tile.astype(int) - 40 * i).max() <= 1  # JPEG blocks do not cross tiles


def test_indexed_tiles_keep_their_colours() -> None:
    palette = np.array([[0, 0, 0, 0], [255, 0, 255, 255], [1, 2, 3, 128]], np.uint8)
    tiles = np.array([[[0, 1], [2, 1]]], np.uint8)
    image = np.asarray(decode(indexed_sheet(tiles, palette).uri).convert("RGBA"))
    np.testing.assert_array_equal(image, palette[tiles[0]])
