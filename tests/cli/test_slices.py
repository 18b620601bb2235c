"""Single slices at different heights, in two formats, one through a pipe: results have the height of the fixed one."""

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from .conftest import BRIEF, Call

AFFINE = np.array([[-1.5, 0, 0, 30.0], [0, -1.5, 0, 28.0], [0, 0, 4, 81.0], [0, 0, 0, 1]])


def blobs(shift: float) -> Any:
    x, y = np.meshgrid(np.arange(40), np.arange(36), indexing="ij")
    centres = [(12, 10), (25, 22), (15, 28), (31, 12)]
    heights = [400, 700, 900, 500]
    parts = [
        h * np.exp(-((x - a - shift) ** 2 + (y - b) ** 2) / 40) for (a, b), h in zip(centres, heights, strict=True)
    ]
    return sum(parts).astype(np.int16)[..., None]


def test_results_have_the_height_of_the_fixed_slice(call: Call, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(blobs(0.0), AFFINE), tmp_path / "fixed.nii.gz")
    moving = sitk.GetImageFromArray(blobs(2.0).T)
    moving.SetSpacing((1.5, 1.5, 4.0))
    moving.SetOrigin((-30, -28, 10))
    sitk.WriteImage(moving, str(tmp_path / "moving.mha"))
    (tmp_path / "brief.toml").write_text(BRIEF)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write((tmp_path / "fixed.nii.gz").read_bytes())
    out = tmp_path / "out"
    outcome = call(
        "register",
        *("-f", f"/dev/fd/{reader}", "-m", tmp_path / "moving.mha", "-o", out, "--config", tmp_path / "brief.toml"),
        *("--threads", "1", "-q"),
    )
    os.close(reader)
    assert outcome.code == 0, outcome.err
    for name, shape in (("warped.nii.gz", (40, 36, 1)), ("warp.nii.gz", (40, 36, 1, 1, 2))):
        written: Any = nibabel.load(out / name)
        assert written.shape == shape
        np.testing.assert_allclose(written.affine, AFFINE, atol=1e-5)
    fixed, warped = (sitk.ReadImage(str(p)) for p in (tmp_path / "fixed.nii.gz", out / "warped.nii.gz"))
    sitk.Subtract(fixed, warped)  # SimpleITK requires equal origins
