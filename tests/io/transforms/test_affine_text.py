"""Matrices in text, which do not state their convention, and FreeSurfer's LTA files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io import FieldConvention, read_foreign_transform, write_matrix_text
from nephi.transforms import AffineTransform

MATRIX = "1.1 0.1 0 5\n0 0.9  0.05\t-6\r\n-0.1 0 1.2 7.5e0\n0 0 0 1\n\n"
VALUES = [[1.1, 0.1, 0, 5], [0, 0.9, 0.05, -6], [-0.1, 0, 1.2, 7.5], [0, 0, 0, 1]]


def matrix_of(path: Path, convention: FieldConvention | None = None) -> torch.Tensor:
    read = read_foreign_transform(path, convention)
    assert isinstance(read, AffineTransform)
    return read.matrix


@pytest.mark.parametrize("wrong", ["1,1", "1.l", "O.9e1", "nan", "-inf", "0x1", "1_1"])
@pytest.mark.parametrize("suffix", [".mat", ".txt"])
def test_damaged_numbers_are_named(tmp_path: Path, wrong: str, suffix: str) -> None:
    """Such a file is read as a matrix, not as a MATLAB file or as ITK's text."""
    path = tmp_path / f"a{suffix}"
    path.write_text(MATRIX.replace("1.1", wrong))
    with pytest.raises(DataError, match=rf"a{suffix}: line 1: expected decimal numbers in the matrix, found '{wrong}'"):
        read_foreign_transform(path, FieldConvention("greedy"))
    with pytest.raises(DataError, match=r"FLIRT, greedy and NiftyReg"):
        read_foreign_transform(path)


@pytest.mark.parametrize("name", ["greedy", "niftyreg"])
@pytest.mark.parametrize("suffix", [".mat", ".txt", "", ".mtx"])
def test_fixed_to_moving_in_ras(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(MATRIX)
    assert matrix_of(path, FieldConvention(name)).tolist() == VALUES


@pytest.mark.parametrize("convention", [None, "itk", "spm", "learn2reg", "slicer"])
def test_a_matrix_without_a_tool_is_refused(tmp_path: Path, convention: str | None) -> None:
    (tmp_path / "a.mat").write_text(MATRIX)
    with pytest.raises(
        DataError, match=r"a\.mat: .*FLIRT, greedy and NiftyReg .*--fsl-fixed .*--transform-format greedy"
    ):
        read_foreign_transform(tmp_path / "a.mat", FieldConvention(convention) if convention else None)


def test_flirt_in_closed_form(tmp_path: Path, grid_3d: Grid) -> None:
    """FLIRT's shift by (3, 4, 5) of the moving image along the axes, x reversed where the affine has det > 0."""
    (tmp_path / "a.mat").write_text("1 0 0 3\n0 1 0 4\n0 0 1 5\n0 0 0 1\n")
    moved = matrix_of(tmp_path / "a.mat", FieldConvention("fsl", grid_3d, grid_3d))
    reverse = torch.linalg.det(grid_3d.affine[:3, :3]) > 0
    steps = torch.tensor([3.0 if reverse else -3.0, -4, -5], dtype=torch.float64)
    expected = torch.eye(4, dtype=torch.float64)
    expected[:3, 3] = grid_3d.direction @ steps
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-9)


def test_flirt_needs_both_images(tmp_path: Path, grid_2d: Grid, grid_3d: Grid) -> None:
    (tmp_path / "a.mat").write_text(MATRIX)
    for given in ((None, None), (grid_3d, None), (None, grid_3d)):
        with pytest.raises(UsageError, match=r"a\.mat: .*--fsl-fixed \(-ref\) and --fsl-moving"):
            read_foreign_transform(tmp_path / "a.mat", FieldConvention("fsl", *given))
    with pytest.raises(DataError, match=r"a\.mat: expected a 4x4 matrix and 3-D images"):
        read_foreign_transform(tmp_path / "a.mat", FieldConvention("fsl", grid_2d, grid_2d))


def test_two_dimensions(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_text("0 1 3\n-1 0 4\n0 0 1\n")
    assert matrix_of(tmp_path / "a.mat", FieldConvention("greedy")).tolist() == [[0, 1, 3], [-1, 0, 4], [0, 0, 1]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("5\n", "5,5\n", "expected"),
        ("5\n", "nan\n", "expected"),
        ("-6\r", "x\r", "line 2: expected decimal numbers in the matrix, found 'x'"),
        ("-6\r", "1e999\r", "line 2: expected finite numbers"),
        ("-6\r", "\r", "expected 4 rows of 4 numbers, found rows of 4, 3, 4, 4"),
        ("0 0 0 1", "", "expected 4 rows of 4 numbers, found rows of 4, 4, 4"),
        ("0 0 0 1", "0 0 0 1\n0 0 0 1", "expected 4 rows of 4 numbers"),
        ("0 0 0 1", "0 0 1 1", "expected a last row of zeros and a one"),
        ("0 0.9  0.05\t-6", "2.2 0.2 0 5", "singular"),
        ("\n\n", "\n" * 20000, "expected a 4x4 matrix, found 20"),
    ],
)
def test_invalid_matrices_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = MATRIX.replace(old, new, 1)
    assert text != MATRIX
    (tmp_path / "a.mat").write_bytes(text.encode())
    with pytest.raises(DataError, match=rf"a\.mat: .*{message}"):
        read_foreign_transform(tmp_path / "a.mat", FieldConvention("greedy"))


LTA = """\
# transform file /data/x.lta
# created by someone
type      = 0 # LINEAR_VOX_TO_VOX
nxforms   = 1
mean      = 0.0000 0.0000 0.0000
sigma     = 1.0000
1 4 4
1.1 0.1 0 5
0 0.9 0.05 -6
-0.1 0 1.2 7.5
0 0 0 1
src volume info
valid = 1  # volume info valid
filename = /data/moving with = sign.mgz
volume = 10 20 30
voxelsize = 2 3 4
xras   = -1 0 0
yras   = 0 0 -1
zras   = 0 1 0
cras   = 1 2 3
dst volume info
valid = 1  # volume info valid
filename = /data/fixed.mgz
volume = 11 21 31
voxelsize = 1 1.5 2
xras   = 0.8 0.6 0
yras   = -0.6 0.8 0
zras   = 0 0 1
cras   = -4 5 -6
subject fsaverage
fscale 0.150000
"""


def test_lta_in_closed_form(tmp_path: Path) -> None:
    source = np.array([[-2.0, 0, 0, 11], [0, 0, 4, -58], [0, -3, 0, 33], [0, 0, 0, 1]])
    direction = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * [1, 1.5, 2]
    target = np.eye(4)
    target[:3, :3] = direction
    target[:3, 3] = np.array([-4, 5, -6]) - direction @ [5.5, 10.5, 15.5]
    (tmp_path / "a.lta").write_text(LTA)
    expected = source @ np.linalg.inv(np.array(VALUES)) @ np.linalg.inv(target)
    np.testing.assert_allclose(matrix_of(tmp_path / "a.lta"), expected, rtol=0, atol=1e-9)
    (tmp_path / "a.lta").write_text(LTA.replace("0 0 0 1\n", "0 0 0 9.999999403953552e-01\n"))
    np.testing.assert_allclose(matrix_of(tmp_path / "a.lta"), expected, rtol=0, atol=1e-9)
    (tmp_path / "a.lta").write_text(LTA.replace("= 0 # LINEAR_VOX_TO_VOX", "= 1").replace("valid = 1", "valid = 0"))
    np.testing.assert_allclose(matrix_of(tmp_path / "a.lta"), np.linalg.inv(np.array(VALUES)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type      = 0", "type      = 14", r"found 14 \(REGISTER_DAT\); convert it with FreeSurfer's lta_convert"),
        ("type      = 0", "type      = x", r"found x \(unknown\)"),
        ("type      = 0", "", "expected a linear transform of FreeSurfer"),
        ("nxforms   = 1", "nxforms   = 2", r"expected one transform \(nxforms = 1\), found '2'"),
        ("nxforms   = 1\n", "", "found 'none'"),
        ("0 0 0 1\n", "", "expected 4 rows of 4 numbers"),
        ("0 0 0 1\n", "0 0 0 2\n", "expected 4 rows of 4 numbers"),
        ("7.5", "7.5 1", "expected 4 rows of 4 numbers"),
        ("7.5", "7,5", "line 10: expected decimal numbers in the matrix, found '7,5'"),
        ("7.5", "1e999", "line 10: expected finite numbers"),
        ("valid = 1", "valid = 0", "found none of src; convert it with FreeSurfer's lta_convert"),
        ("src volume info", "", "line 21: expected valid once|found none of src"),
        ("cras   = 1 2 3", "cras   = 1 2", "expected three numbers for cras of src, found 2"),
        ("cras   = 1 2 3", "", "expected three numbers for cras of src, found 0"),
        ("xras   = -1 0 0", "xras   = nan 0 0", "found 'nan'"),
        ("xras   = -1 0 0", "xras   = 0 0 -1", "singular"),
        ("voxelsize = 2 3 4", "voxelsize = 2 3 0", "singular"),
        ("cras   = 1 2 3", "cras   = 1 2 3\ncras   = 1 2 3", "expected cras once"),
    ],
)
def test_invalid_lta_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in LTA
    (tmp_path / "a.lta").write_text(LTA.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"a\.lta: .*({message})"):
        read_foreign_transform(tmp_path / "a.lta")


@pytest.mark.parametrize("length", range(0, LTA.index("subject") - 12, 23))
def test_truncated_lta_files(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.lta").write_text(LTA[:length])
    with pytest.raises(DataError, match=r"a\.lta: "):
        read_foreign_transform(tmp_path / "a.lta")


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors of Windows write one before the text."""
    (tmp_path / "a.mat").write_text(MATRIX, encoding="utf-8-sig")
    assert matrix_of(tmp_path / "a.mat", FieldConvention("greedy")).tolist() == VALUES
    (tmp_path / "a.lta").write_text(LTA.partition("\n")[2].partition("\n")[2], encoding="utf-8-sig")
    matrix_of(tmp_path / "a.lta")
    text = "Transform: TranslationTransform_double_3_3\nParameters: 1 2 3\nFixedParameters:\n"
    (tmp_path / "a.tfm").write_text(text, encoding="utf-8-sig")
    assert matrix_of(tmp_path / "a.tfm")[:3, 3].tolist() == [-1, -2, 3]


@pytest.mark.parametrize("name", ["greedy", "niftyreg", "fsl"])
def test_written_matrices_read_back(tmp_path: Path, grid_3d: Grid, name: str) -> None:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] += 0.1 * torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moving = Grid.from_spacing((4, 5, 6), (1.0, 2.0, 3.0), (7.0, -8.0, 9.0))
    convention = FieldConvention(name, grid_3d, moving)
    write_matrix_text(tmp_path / "affine.mat", AffineTransform(matrix), convention)
    torch.testing.assert_close(matrix_of(tmp_path / "affine.mat", convention), matrix)


def test_a_matrix_has_no_other_convention(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="convention: expected one of fsl, greedy, niftyreg, got spm"):
        write_matrix_text(tmp_path / "affine.mat", AffineTransform.identity(3), FieldConvention("spm"))
    with pytest.raises(UsageError, match="expected both images"):
        write_matrix_text(tmp_path / "affine.mat", AffineTransform.identity(3), FieldConvention("fsl"))
