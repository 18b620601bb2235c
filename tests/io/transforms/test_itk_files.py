"""ITK's transform files in text, MATLAB and MINC: damaged and hostile files are errors that name the file."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nephi.io import read_foreign_transform
from nephi.transforms import AffineTransform, DisplacementField

from .itk_files import FIXED_3D, MATRIX, refused

HEADER = "#Insight Transform File V1.0\n#Transform 0\n"
EULER = "Transform: Euler3DTransform_double_3_3\nParameters: 0.1 0.2 0.3 1 2 3\nFixedParameters: 4 5 6 0\n"
AFFINE = "Transform: AffineTransform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 5 6 7\nFixedParameters: 1 2 3\n"
SHIFT = "Transform: TranslationTransform_double_2_2\nParameters: 1 2\nFixedParameters:\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("5 6 7", "5 6", "expected 12 parameters of AffineTransform in 3-D, found 11"),
        ("5 6 7", "5 6 7 8", "expected 12 parameters of AffineTransform in 3-D, found 13"),
        ("5 6 7", "5,5 6 7", "line 4: expected decimal numbers in Parameters, found '5,5'"),
        ("5 6 7", "5 x 7", "found 'x'"),
        ("5 6 7", "5 6 7e", "found '7e'"),
        ("5 6 7", "5 6 1-2", "found '1-2'"),
        ("5 6 7", "5 6 1_0", "found '1_0'"),
        ("5 6 7", "5 6 0x10", "found '0x10'"),
        ("5 6 7", "5 6 nan", "found 'nan'"),
        ("5 6 7", "5 6 inf", "found 'inf'"),
        ("5 6 7", "5 6 ٣", "found '٣'"),
        ("1 0 0 0", "1e999 0 0 0", "expected finite numbers in Parameters, found '1e999'"),
        ("1 0 0 0", "nan 0 0 0", "found 'nan'"),
        ("FixedParameters: 1 2 3\n", "", "expected FixedParameters of AffineTransform, found none"),
        ("Parameters: 1 0 0 0 1 0 0 0 1 5 6 7\n", "", "expected Parameters of AffineTransform, found none"),
        ("1 2 3", "1 2", "expected 3 fixed parameters of AffineTransform in 3-D, found 2"),
        ("1 2 3", "1 2 3\nFixedParameters: 1 2 3", "line 6: expected FixedParameters once"),
        ("1 2 3", "1 2 3\nsome text", "line 6: expected `name: value`, found 'some text'"),
        (
            "1 2 3",
            "1 2 3\n# MRtrix\n1 0 0 5",
            r"line 7: .* found only numbers; matrices of other tools \(MRtrix, AFNI",
        ),
        ("1 2 3", "1 2 3\nCentre: 1 2 3", "line 6: expected Transform, Parameters or FixedParameters, found 'Centre'"),
        ("Transform: ", "ComponentTransformFile: /etc/passwd\nTransform: ", "found 'ComponentTransformFile'"),
        (
            "AffineTransform_double_3_3",
            "AffineTransform",
            "expected a class such as .*, found 'AffineTransform'",
        ),
        ("AffineTransform_double_3_3", "nan", "expected a class such as"),
        ("AffineTransform_double_3_3", "A" * 10000, "expected a class such as"),
        ("AffineTransform_double_3_3", "AffineTransform_double_4_4", "in 2-D or 3-D, found 4-D"),
        ("AffineTransform_double_3_3", "AffineTransform_double_3_2", "found 3-D to 2-D"),
        ("AffineTransform_double_3_3", "Euler2DTransform_double_3_3", "in 2-D, found 3-D"),
        (
            "AffineTransform_double_3_3",
            "FooTransform_double_3_3",
            "B-splines or a chain of these, found a FooTransform",
        ),
        ("AffineTransform_double_3_3", "ThinPlateSplineKernelTransform_double_3_3", "found a ThinPlateSplineKernel"),
    ],
)
def test_text(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "a.tfm"
    path.write_text(HEADER + AFFINE, encoding="utf-8")
    read_foreign_transform(path)
    path.write_text(HEADER + AFFINE.replace(old, new, 1), encoding="utf-8")
    refused(path, message)


@pytest.mark.parametrize("start", ["nan", "1e999", "-", ":", "Transform:", "Parameters: 1", "\x00\x01", "\xff"])
def test_text_with_other_first_lines(tmp_path: Path, start: str) -> None:
    (tmp_path / "a.tfm").write_text(start, encoding="latin-1")
    refused(tmp_path / "a.tfm", "expected")
    (tmp_path / "b.tfm").write_text(f"{start}\n{HEADER}{AFFINE}", encoding="latin-1")
    refused(tmp_path / "b.tfm", "expected")


def test_syntax_that_itk_allows_in_text(tmp_path: Path) -> None:
    """Windows line ends, blanks, comments, the order of the lines, and the spelling of numbers."""
    text = (
        "\r\n# a comment: 1\r\n  Transform :  AffineTransform_float_3_3 \r\nFixedParameters: +1. 2e0 3\r\n"
        "Parameters: 1 0\t0 -0 1.0E+0 0 0 .0 1 5 6 7"
    )
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "b.tfm").write_text(HEADER + AFFINE)
    first, second = (read_foreign_transform(tmp_path / name) for name in ("a.txt", "b.tfm"))
    assert isinstance(first, AffineTransform) and isinstance(second, AffineTransform)
    torch.testing.assert_close(first.matrix, second.matrix)


def test_euler_transforms_of_old_versions(tmp_path: Path) -> None:
    """Three fixed parameters, the centre, as ITK wrote before it added the order of the rotations."""
    (tmp_path / "new.tfm").write_text(HEADER + EULER)
    (tmp_path / "old.tfm").write_text(HEADER + EULER.replace("4 5 6 0", "4 5 6"))
    new, old = (read_foreign_transform(tmp_path / f"{name}.tfm") for name in ("new", "old"))
    assert isinstance(new, AffineTransform) and isinstance(old, AffineTransform)
    torch.testing.assert_close(new.matrix, old.matrix)
    (tmp_path / "none.tfm").write_text(HEADER + EULER.replace("4 5 6 0", "4 5"))
    refused(tmp_path / "none.tfm", "expected 3 or 4 fixed parameters of Euler3DTransform in 3-D, found 2")


def test_versors_that_are_too_long(tmp_path: Path) -> None:
    text = "Transform: VersorTransform_double_3_3\nParameters: {} 0 0\nFixedParameters: 0 0 0\n"
    (tmp_path / "half_turn.tfm").write_text(text.format("1.0000000001"))
    half_turn = read_foreign_transform(tmp_path / "half_turn.tfm")
    assert isinstance(half_turn, AffineTransform)
    torch.testing.assert_close(half_turn.matrix.diagonal(), torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    (tmp_path / "long.tfm").write_text(text.format("1.2"))
    refused(tmp_path / "long.tfm", r"expected a versor of length at most 1, found 1\.2")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("", "expected a composite of transforms, found an empty one"),
        (AFFINE + SHIFT, "expected a composite of single transforms in 3-D, found a TranslationTransform in 2-D"),
        (AFFINE + "Transform: CompositeTransform_double_3_3\n" + AFFINE, "found a CompositeTransform in 3-D"),
    ],
)
def test_invalid_composites_are_refused(tmp_path: Path, members: str, message: str) -> None:
    (tmp_path / "a.tfm").write_text(HEADER + "Transform: CompositeTransform_double_3_3\n" + members)
    refused(tmp_path / "a.tfm", message)


@pytest.mark.parametrize("line", ["\n", " \n", "#\n", "(\n", "( \n", "(a" + " " * 200 + "\n", ")\n", "0 "])
@pytest.mark.parametrize("suffix", [".txt", ".tfm"])
def test_many_lines_take_linear_time(tmp_path: Path, line: str, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_text(line * 60_000)
    start = time.perf_counter()
    refused(tmp_path / f"a{suffix}", "expected")
    assert time.perf_counter() - start < 5


def test_one_long_line_takes_linear_time(tmp_path: Path) -> None:
    for line in ("(a" + " " * 1_000_000, '(a "' + ") " * 500_000, "(" + "a" * 1_000_000, "(a " + "//" * 500_000):
        (tmp_path / "a.txt").write_text('(Transform "EulerTransform")\n' + line)
        start = time.perf_counter()
        refused(tmp_path / "a.txt", "expected")
        assert time.perf_counter() - start < 5


Grid = tuple[list[int], list[float]]


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 3.0, "expected 54 parameters of DisplacementFieldTransform in 3-D, found 72"),
        (0, 0.0, "expected whole, positive sizes"),
        (0, -4.0, "expected whole, positive sizes"),
        (0, 1e300, "expected whole, positive sizes"),
        (0, 2.0**30, "expected 19327352832 parameters"),
        (0, 4.5, "expected whole, positive sizes"),
        (6, 0.0, "expected positive spacings"),
        (6, -1.0, "expected positive spacings"),
        (9, 0.0, "singular"),
    ],
)
def test_grids_in_text(tmp_path: Path, position: int, value: float, message: str) -> None:
    fixed = [*FIXED_3D[:position], value, *FIXED_3D[position + 1 :]]
    text = "Transform: DisplacementFieldTransform_double_3_3\nParameters: {}\nFixedParameters: {}\n"
    numbers = " ".join(f"{n / 7}" for n in range(72))
    (tmp_path / "a.tfm").write_text(HEADER + text.format(numbers, " ".join(map(str, FIXED_3D))))
    assert isinstance(read_foreign_transform(tmp_path / "a.tfm"), DisplacementField)
    (tmp_path / "a.tfm").write_text(HEADER + text.format(numbers, " ".join(map(str, fixed))))
    refused(tmp_path / "a.tfm", message)


def matlab(name: str, values: list[float], kind: int = 0, order: str = "<") -> bytes:
    header = struct.pack(f"{order}5i", kind, len(values), 1, 0, len(name) + 1)
    return header + name.encode() + b"\0" + np.array(values, f"{order}f{4 if kind // 10 % 10 else 8}").tobytes()


NAME = "AffineTransform_double_3_3"


@pytest.mark.parametrize(("kind", "order"), [(0, "<"), (10, "<"), (1000, ">"), (1010, ">")])
def test_matlab_files_of_either_byte_order_and_precision(tmp_path: Path, kind: int, order: str) -> None:
    (tmp_path / "a.mat").write_bytes(matlab(NAME, MATRIX, kind, order) + matlab("fixed", [1, 2, 3], kind, order))
    read = read_foreign_transform(tmp_path / "a.mat")
    assert isinstance(read, AffineTransform)
    assert read.matrix[:3, 3].tolist() == [-5, -6, 7]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (matlab(NAME, MATRIX[:-1]) + matlab("fixed", [1, 2, 3]), "expected 12 parameters .* found 11"),
        (matlab(NAME, []) + matlab("fixed", [1, 2, 3]), "expected 12 parameters .* found 0"),
        (matlab(NAME, MATRIX) + matlab("fixed", []), "expected 3 fixed parameters .* found 0"),
        (matlab(NAME, [*MATRIX[:-1], np.nan]) + matlab("fixed", [1, 2, 3]), "expected finite parameters"),
        (matlab(NAME, MATRIX) + matlab("fixed", [1, 2, np.inf]), "expected finite fixed parameters"),
        (matlab(NAME, MATRIX) + matlab("foo", [1, 2, 3]), "expected the fixed parameters of .*, found 'foo'"),
        (matlab("foo", MATRIX) + matlab("fixed", [1, 2, 3]), "expected a class such as"),
        (matlab(NAME, MATRIX, 20) + matlab("fixed", [1, 2, 3]), "expected a level-4 MATLAB file"),
        (matlab(NAME, MATRIX) + matlab("fixed", [1, 2, 3]) + b"x", "expected a level-4 MATLAB file"),
        (struct.pack("<5i", 0, 2**30, 2**30, 0, 3) + b"ab\0", "expected a level-4 MATLAB file"),
        (struct.pack("<5i", 0, -1, -1, 0, 3) + b"ab\0", "expected a level-4 MATLAB file"),
        (struct.pack("<5i", 0, 1, 1, 0, 2**30) + b"ab\0", "expected a level-4 MATLAB file"),
        (b"MATLAB 5.0 MAT-file" + b" " * 200, "expected a level-4 MATLAB file .* found a newer level"),
        (2 * (matlab(NAME, MATRIX) + matlab("fixed", [1, 2, 3])), "found several transforms"),
    ],
)
def test_matlab(tmp_path: Path, contents: bytes, message: str) -> None:
    (tmp_path / "a.mat").write_bytes(contents)
    refused(tmp_path / "a.mat", message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Linear;", "Grid_Transform;", "expected one linear transform, found Transform_Type Grid_Transform"),
        (" 1 0 0 4", " 1 0 0", "expected 12 numbers in Linear_Transform, found 11"),
        (" 1 0 0 4", " 1 0 0 4,5", "found '4,5'"),
        (" 1 0 0 4", " nan 0 0 4", "found 'nan'"),
        ("Transform_Type", "Invert_Flag = True;\nTransform_Type", "expected one linear transform"),
        (";\n", "\n", "expected one linear transform, found none"),
    ],
)
def test_minc(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (
        "MNI Transform File\n%ITK-XFM writer\n\nTransform_Type = Linear;\nLinear_Transform =\n 1 0 0 4\n 0 1 0 5\n"
        " 0 0 1 6;\n"
    )
    (tmp_path / "a.xfm").write_text(text)
    read_foreign_transform(tmp_path / "a.xfm")
    (tmp_path / "a.xfm").write_text(text.replace(old, new))
    refused(tmp_path / "a.xfm", message)
