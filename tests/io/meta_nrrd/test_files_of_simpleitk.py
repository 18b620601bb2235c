"""MetaImage and NRRD files that SimpleITK wrote, of every voxel type."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix
from nephi.io import read_image

from .itk_placement import require_itk_placement


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["UInt8", "Int8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "Float32", "Float64"])
def test_values_and_grid_are_exact(tmp_path: Path, grid: Grid, suffix: str, compressed: bool, kind: str) -> None:
    d, path = grid.dimension, tmp_path / f"a.{suffix}"
    voxels = sitk.GetImageFromArray(np.arange(grid.size).reshape(grid.shape[::-1]) % 120)
    image = sitk.Cast(voxels, getattr(sitk, f"sitk{kind}"))
    lps = flip_matrix(d) @ grid.affine
    image.SetOrigin(lps[:d, d].tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((lps[:d, :d] / grid.spacing).reshape(-1).tolist())
    sitk.WriteImage(image, str(path), useCompression=compressed)
    require_itk_placement(path)
    torch.testing.assert_close(read_image(path).grid.affine, grid.affine)
    assert read_image(path).warnings == ()
