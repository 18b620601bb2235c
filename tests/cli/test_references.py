"""References of which only the grid is used (series, fields, colour images); images of other formats and pipes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import nephi

from .conftest import Call

GRID = nephi.Grid.from_spacing((9, 8, 7), (2.0, 3.0, 2.5), (-10.0, 5.0, 30.0))
SERIES, SERIES_OF_ITK, FIELD, COLOUR = "series.nii.gz", "series.nrrd", "field.nii.gz", "colour.nii"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image, an affine transform, and other files with the grid of the image."""
    data = torch.arange(GRID.size, dtype=torch.int16).reshape(GRID.shape)
    image = nephi.Image(data, GRID)
    shift = nephi.AffineTransform.translation(torch.tensor([2.0, -3.0, 2.5], dtype=torch.float64))
    nephi.write_image(image, tmp_path / "image.nii.gz")
    nephi.io.write_affine(tmp_path / "shift.tfm", shift)
    nephi.io.write_series(tmp_path / SERIES, [image, image, image], 3)
    nephi.export_transform(shift, GRID, tmp_path / FIELD)
    colour = np.zeros(GRID.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, GRID.affine.numpy()), tmp_path / COLOUR)
    volume = sitk.ReadImage(str(tmp_path / "image.nii.gz"))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(tmp_path / SERIES_OF_ITK))
    return tmp_path


@pytest.mark.parametrize("reference", [SERIES, SERIES_OF_ITK, FIELD, COLOUR])
def test_only_the_grid_of_a_reference_is_used(call: Call, folder: Path, reference: str) -> None:
    transform, image = folder / "shift.tfm", folder / "image.nii.gz"
    commands = {
        "apply": ("-i", image, "-o", "OUT.nii.gz"),
        "jacobian": ("-o", "OUT.nii.gz"),
        "export": ("--format", "itk", "-o", "OUT.mha"),
    }
    for command, rest in commands.items():
        written = []
        for grid_file in (image, folder / reference):
            arguments = [str(a).replace("OUT", str(folder / command)) for a in rest]
            outcome = call(command, "-t", transform, "-r", grid_file, *arguments, "-q")
            assert (outcome.code, outcome.err) == (0, "")
            written.append(Path(arguments[-1]).read_bytes())
        assert written[0] == written[1]


def test_images_of_other_formats(call: Call, folder: Path) -> None:
    """NIfTI pair, Analyze and `.mgz` with the same voxels give the same result, Analyze with a warning."""
    voxels: Any = nibabel.load(folder / "image.nii.gz")
    array = np.asarray(voxels.dataobj)
    nibabel.save(nibabel.Nifti1Pair(array, GRID.affine.numpy()), folder / "pair.img")
    nibabel.save(nibabel.MGHImage(array, GRID.affine.numpy()), folder / "free.mgz")
    analyze = nibabel.AnalyzeImage(array, None)
    analyze.header.set_zooms(GRID.spacing.tolist())
    analyze.to_filename(folder / "old.img")
    for name in ("pair.hdr", "pair.img", "free.mgz", "old.hdr"):
        out = folder / "out.nii.gz"
        outcome = call("apply", "-t", "identity", "-i", folder / name, "-r", folder / name, "-o", out, "-q")
        assert outcome.code == 0
        assert outcome.err.count("nephi: warning: ") == outcome.err.count("\n") == (name == "old.hdr")
        warped: Any = nibabel.load(out)
        np.testing.assert_array_equal(np.asarray(warped.dataobj), array)


@pytest.mark.parametrize("packed", [True, False])
def test_an_image_through_a_pipe(folder: Path, packed: bool) -> None:
    source = folder / "image.nii.gz"
    if not packed:
        nephi.write_image(nephi.read_image(source), folder / "plain.nii")
        source = folder / "plain.nii"
    program = "from nephi.cli.main import main; main()"
    command = [sys.executable, "-c", program, "apply", "-t", "identity", "-i", "/dev/stdin", "-r"]
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(source.read_bytes())
    completed = subprocess.run(
        [*command, f"/dev/fd/{reader}", "-o", str(folder / "out.nii.gz")],
        input=source.read_bytes(),
        pass_fds=[reader],
        capture_output=True,
        timeout=120,
    )
    os.close(reader)
    assert completed.returncode == 0, completed.stderr
    assert torch.equal(nephi.read_image(folder / "out.nii.gz").data, nephi.read_image(source).data)
