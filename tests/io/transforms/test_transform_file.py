"""Write and read affine files, and reject damaged transform files."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError, UsageError
from nephi.io import read_foreign_transform, write_affine
from nephi.transforms import AffineTransform

HEADER = "#Insight Transform File V1.0\n"
AFFINE = """#Transform {index}
Transform: AffineTransform_double_3_3
Parameters: 1 0.1 0 0 1 0 0 0 {zz} 5 6 7
FixedParameters: 1 2 3
"""


def matrix(dimension: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(dimension)
    result = torch.eye(dimension + 1, dtype=torch.float64)
    result[:-1] += torch.randn(dimension, dimension + 1, generator=generator, dtype=torch.float64) / 5
    result[:-1, -1] *= 100
    return result


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat", ".h5", ".hdf5"])
def test_round_trip(tmp_path: Path, dimension: int, suffix: str) -> None:
    affine = AffineTransform(matrix(dimension))
    write_affine(tmp_path / f"a{suffix}", affine)
    back = read_foreign_transform(tmp_path / f"a{suffix}")
    assert isinstance(back, AffineTransform)
    torch.testing.assert_close(back.matrix, affine.matrix, rtol=0, atol=1e-12)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    for name in ("a.xfm", "a.nii", "a"):
        with pytest.raises(UsageError, match=r"expected an affine transform to be written as \.tfm"):
            write_affine(tmp_path / name, AffineTransform.identity(3))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tfm"
    path.write_text("old")

    def fail(_: object, name: str) -> None:
        Path(name).write_text("half", encoding="utf-8")
        raise RuntimeError("ITK ERROR: TxtTransformIO(0x5581): disk on fire\nmore")

    monkeypatch.setattr(sitk, "WriteTransform", fail)
    with pytest.raises(DataError, match=r"a\.tfm: could not be written \(disk on fire\)$"):
        write_affine(path, AffineTransform.identity(3))
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def refused(path: Path, contents: str, message: str) -> None:
    path.write_text(contents, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{path.name}: .*{message}"):
        read_foreign_transform(path)


def test_errors_about_singular_matrices_name_the_file(tmp_path: Path) -> None:
    refused(tmp_path / "flat.tfm", HEADER + AFFINE.format(index=0, zz=0), "the affine matrix is singular")


def test_several_transforms_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    both = HEADER + AFFINE.format(index=0, zz=1) + AFFINE.format(index=1, zz=2)
    refused(tmp_path / "two.tfm", both, "found several transforms")
    assert capfd.readouterr() == ("", "")  # the warning of ITK is collected
    sitk.ReadTransform(str(tmp_path / "two.tfm"))
    assert "more than one transform" in capfd.readouterr().err  # and ITK prints again after the block


@pytest.mark.parametrize("lines", [1, 2, 3, 4])
def test_truncated_text_files_are_refused(tmp_path: Path, lines: int) -> None:
    """ITK replaces missing numbers by those of the identity."""
    text = HEADER + AFFINE.format(index=0, zz=1)
    cut = "".join(text.splitlines(keepends=True)[:lines])
    refused(tmp_path / "a.tfm", cut, "")
    refused(tmp_path / "b.tfm", text.replace("FixedParameters: 1 2 3", "FixedParameters:"), "")
    (tmp_path / "whole.tfm").write_text(text.rstrip())
    read_foreign_transform(tmp_path / "whole.tfm")


def test_truncated_matlab_files_are_refused(tmp_path: Path) -> None:
    write_affine(tmp_path / "a.mat", AffineTransform(matrix(3)))
    whole = (tmp_path / "a.mat").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "a.mat").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.mat: (expected a level-4 MATLAB|the file is empty)"):
            read_foreign_transform(tmp_path / "a.mat")


def test_unsupported_kinds_are_named(tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.BSplineTransform(3, 2), str(tmp_path / "a.h5"))
    with pytest.raises(DataError, match=r"a\.h5: expected cubic B-splines, found order 2"):
        read_foreign_transform(tmp_path / "a.h5")


def test_minc_files_of_other_tools_are_refused(tmp_path: Path) -> None:
    matrix_lines = "Transform_Type = Linear;\nLinear_Transform =\n 1 0 0 4\n 0 1 0 5\n 0 0 1 6;\n"
    refused(tmp_path / "a.xfm", "MNI Transform File\n\n" + matrix_lines, "whose frame is unknown")
    (tmp_path / "b.xfm").write_text("MNI Transform File\n%ITK-XFM writer\n\n" + matrix_lines)
    read = read_foreign_transform(tmp_path / "b.xfm")
    assert isinstance(read, AffineTransform)
    np.testing.assert_allclose(read.matrix[:3, 3], [-4, -5, 6])
