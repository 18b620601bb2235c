"""Where SimpleITK places a file's voxels, as the truth for our readers."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nephi.io import image_grid, read_image
from nephi.io.frames import flip_matrix


def placed_as_itk_does(path: Path) -> Any:
    """Assert that grid and voxels of a file are SimpleITK's; return SimpleITK's image."""
    foreign = sitk.ReadImage(str(path))
    image = read_image(path)
    d = foreign.GetDimension()
    affine = torch.eye(d + 1, dtype=torch.float64)
    direction = torch.tensor(foreign.GetDirection(), dtype=torch.float64).reshape(d, d)
    affine[:d, :d] = direction * torch.tensor(foreign.GetSpacing(), dtype=torch.float64)
    affine[:d, d] = torch.tensor(foreign.GetOrigin(), dtype=torch.float64)
    torch.testing.assert_close(image.grid.affine, flip_matrix(d) @ affine, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(image_grid(path).affine, image.grid.affine)
    np.testing.assert_array_equal(image.data.numpy(), sitk.GetArrayFromImage(foreign).T)
    return foreign
