"""Grid and values of SimpleITK, the reference for the readers of nephi."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nephi.geometry.frames import flip_matrix
from nephi.io import image_grid, read_image


def require_itk_placement(path: Path) -> Any:
    """Assert that grid and voxels of a file are those of SimpleITK; return its image."""
    itk_image = sitk.ReadImage(str(path))
    image = read_image(path)
    d = itk_image.GetDimension()
    affine = torch.eye(d + 1, dtype=torch.float64)
    direction = torch.tensor(itk_image.GetDirection(), dtype=torch.float64).reshape(d, d)
    affine[:d, :d] = direction * torch.tensor(itk_image.GetSpacing(), dtype=torch.float64)
    affine[:d, d] = torch.tensor(itk_image.GetOrigin(), dtype=torch.float64)
    torch.testing.assert_close(image.grid.affine, flip_matrix(d) @ affine, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(image_grid(path).affine, image.grid.affine)
    np.testing.assert_array_equal(image.data.numpy(), sitk.GetArrayFromImage(itk_image).T)
    return itk_image
