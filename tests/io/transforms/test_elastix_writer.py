"""Parameter files of elastix that nephi writes: read back on oblique grids, and their text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io import read_foreign_transform, write_elastix_affine, write_elastix_spline
from nephi.io.transforms.elastix_file import ElastixFile
from nephi.transforms import AffineTransform, BSplineField, Composite


def affine(dimension: int) -> AffineTransform:
    generator = torch.Generator().manual_seed(3)
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[:-1] += 0.2 * torch.rand(dimension, dimension + 1, generator=generator, dtype=torch.float64)
    return AffineTransform(matrix)


def test_affine_and_splines_read_back(tmp_path: Path, grid: Grid, points_in: Callable[..., torch.Tensor]) -> None:
    first = affine(grid.dimension)
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(*grid.shape, grid.dimension, generator=generator, dtype=torch.float32)
    splines = BSplineField(coefficients, grid)
    write_elastix_affine(tmp_path / "TransformParameters.0.txt", first, grid)
    write_elastix_spline(tmp_path / "TransformParameters.1.txt", splines, grid, "TransformParameters.0.txt")
    points = first.inverse()(points_in(grid, margin=-1.001))
    torch.testing.assert_close(read_foreign_transform(tmp_path / "TransformParameters.0.txt")(points), first(points))
    chain = read_foreign_transform(tmp_path / "TransformParameters.1.txt")
    torch.testing.assert_close(chain(points), Composite([first, splines])(points), rtol=1e-6, atol=1e-5)


def test_a_translation_is_in_lps(tmp_path: Path, grid_3d: Grid) -> None:
    shift = AffineTransform.translation(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    write_elastix_affine(tmp_path / "T.0.txt", shift, grid_3d)
    file = ElastixFile(tmp_path / "T.0.txt")
    assert file.numbers("TransformParameters") == [1, 0, 0, 0, 1, 0, 0, 0, 1, -1, -2, 3]
    assert file.numbers("Size") == list(grid_3d.shape)
    assert file.word("InitialTransformParameterFileName") == "NoInitialTransform"


def test_a_sheared_grid_is_refused(tmp_path: Path, sheared_grid: Grid) -> None:
    with pytest.raises(DataError, match=r"T.txt: expected"):
        write_elastix_affine(tmp_path / "T.txt", affine(3), sheared_grid)
    assert list(tmp_path.iterdir()) == []
