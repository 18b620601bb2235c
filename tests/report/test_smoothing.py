"""Test that volume change is smoothed by a Gaussian of the logarithm, without touching folds and the outside."""

import numpy as np
import pytest
import torch

from nephi.fields import DisplacementStep, StoredTransform
from nephi.geometry import Grid
from nephi.report.smoothing import WIDTH, smoothed_determinants, smoothing_width
from nephi.transforms import AffineTransform, DisplacementField


def test_a_constant_is_unchanged_up_to_the_border() -> None:
    determinants = np.full((3, 9, 14), 0.7, np.float32)
    np.testing.assert_allclose(smoothed_determinants(determinants, 2.0), determinants, rtol=1e-5)


def test_a_point_becomes_a_gaussian_of_the_logarithm() -> None:
    """A product of two Gaussians of different widths around the only pixel with a change."""
    determinants = np.ones((1, 31, 41), np.float32)
    determinants[0, 15, 20] = np.e
    logs = np.log(smoothed_determinants(determinants, 1.5, 3.0))[0]
    rows, columns = np.arange(31) - 15, np.arange(41) - 20
    expected = np.exp(-0.5 * (rows[:, None] / 1.5) ** 2 - 0.5 * (columns / 3.0) ** 2)
    expected /= expected.sum()
    inner = (slice(6, 25), slice(10, 31))  # away from the border, and from the ends of the kernel
    np.testing.assert_allclose(logs[inner], expected[inner], atol=2e-4)


def test_folds_and_the_outside_stay_and_do_not_spread() -> None:
    determinants = np.full((1, 12, 12), 1.25, np.float32)
    determinants[0, :3], determinants[0, 7, 7] = np.nan, -2.0
    smoothed = smoothed_determinants(determinants, 2.0)
    assert np.isnan(smoothed[0, :3]).all() and smoothed[0, 7, 7] == -2.0
    rest = ~np.isnan(determinants) & (determinants > 0)
    np.testing.assert_allclose(smoothed[rest], 1.25, rtol=1e-5)
    everywhere = np.full((1, 4, 4), -1.0, np.float32)
    np.testing.assert_array_equal(smoothed_determinants(everywhere, 2.0), everywhere)


def test_the_width_is_half_a_cell_of_a_field_that_is_interpolated_linearly(grid: Grid) -> None:
    identity = AffineTransform.identity(grid.dimension)
    assert smoothing_width(StoredTransform(identity, grid, grid)) == 0.0
    displacement = torch.zeros(*grid.shape, grid.dimension)
    step = DisplacementStep.of(DisplacementField(displacement, grid))
    stored = StoredTransform(identity, grid, grid, (step,))
    assert smoothing_width(stored) == pytest.approx(WIDTH * float(grid.spacing.max()))
