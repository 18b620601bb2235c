"""Warnings of points that all lie outside a displacement field."""

import warnings
from collections.abc import Sequence

import pytest
import torch

from nephi.errors import DataWarning
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, Composite, ContinuedDisplacement, DisplacementField, warn_beyond_fields

FIELD = DisplacementField(
    torch.ones(4, 5, 6, 3, dtype=torch.float32), Grid.from_spacing((4, 5, 6), (2.0, 2.0, 2.0), (100.0, 0.0, 0.0))
)
SHIFT = AffineTransform.translation(torch.tensor([100.0, 0.0, 0.0]))


def corners(origin: Sequence[float]) -> torch.Tensor:
    return Grid.from_spacing((9, 9, 9), (1.0, 1.0, 1.0), origin).corners_world()


def test_points_outside_the_field() -> None:
    for chain in (FIELD, Composite([FIELD, SHIFT]), Composite([Composite([SHIFT, SHIFT]), FIELD])):
        expected = r"a\.nii: lies wholly outside the displacement field \(centres .* and 103, 4, 5, RAS mm\)"
        with pytest.warns(DataWarning, match=expected):
            warn_beyond_fields(chain, corners((0, 0, 0)), "a.nii")


def test_no_warning_if_a_point_is_inside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        warn_beyond_fields(FIELD, corners((93, -7, -7)), "a.nii")
        warn_beyond_fields(Composite([SHIFT, FIELD]), corners((0, 0, 0)), "a.nii")
        warn_beyond_fields(ContinuedDisplacement(FIELD.displacement, FIELD.grid), corners((0, 0, 0)), "a.nii")
        warn_beyond_fields(SHIFT, corners((0, 0, 0)), "a.nii")
        warn_beyond_fields(FIELD, torch.zeros(0, 3), "a.nii")
