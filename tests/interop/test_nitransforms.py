"""nitransforms reads exports of nephi, and nephi reads files of nitransforms."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import nephi

from .scenes import Scene

REASON = "needs nitransforms, of the extra `interop`"


@pytest.fixture(autouse=True)
def needs_nitransforms() -> None:
    pytest.importorskip("nitransforms", reason=REASON)


def load(path: Path) -> Any:
    from nitransforms.io.itk import ITKDisplacementsField
    from nitransforms.nonlinear import DenseFieldTransform

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Incorrect intent identified"
        return DenseFieldTransform(ITKDisplacementsField.from_filename(path))


def test_exports(scene_3d: Scene) -> None:
    from nitransforms.resampling import apply

    path = scene_3d.export("w.nii.gz", "itk")
    theirs, centres = load(path), scene_3d.voxel_centres()
    moved = torch.from_numpy(np.asarray(theirs.map(centres.numpy()))).double()
    torch.testing.assert_close(moved, scene_3d.deformation(centres), rtol=0, atol=1e-3)
    torch.testing.assert_close(moved, nephi.read_transform(path)(centres), rtol=0, atol=1e-3)
    warped = apply(theirs, str(scene_3d.moving_file), reference=str(scene_3d.fixed_file), order=1, prefilter=False)
    scene_3d.require_equal(warped.get_fdata())


def test_fields_of_nitransforms(scene_3d: Scene) -> None:
    from nitransforms.io.itk import ITKDisplacementsField

    centres = scene_3d.grid.voxel_centres().double()
    displacement = (scene_3d.deformation(centres) - centres).float().numpy()
    image = nibabel.Nifti1Image(displacement, scene_3d.grid.affine.numpy())
    path = scene_3d.folder / "theirs.nii.gz"
    nibabel.save(ITKDisplacementsField.to_image(image), path)
    ours = nephi.read_transform(path)
    torch.testing.assert_close(ours(centres), scene_3d.deformation(centres), rtol=0, atol=1e-3)
