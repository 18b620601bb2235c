"""Transforms of elastix: the chain, and files that cannot be read. (tests/interop runs elastix itself.)"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.io import read_foreign_transform
from nephi.transforms import AffineTransform, BSplineField, Composite, Transform

EULER = """\
(Transform "EulerTransform")
(NumberOfParameters 6)
(TransformParameters 0.1 -0.2 0.3 1 2 3)
(InitialTransformParameterFileName "NoInitialTransform")
(UseBinaryFormatForTransformationParameters "false")
(HowToCombineTransforms "Compose")

// Image specific
(FixedImageDimension 3)
(MovingImageDimension 3)
(Size 7 5 6)
(UseDirectionCosines "true")

(CenterOfRotationPoint 10.5 -20 30)
(ComputeZYX "false")
"""


def write(folder: Path, text: str = EULER, name: str = "TransformParameters.0.txt") -> Path:
    (folder / name).write_text(text)
    return folder / name


def translation(shift: str, initial: str = "NoInitialTransform") -> str:
    return (
        f'(Transform "TranslationTransform")\n(NumberOfParameters 3)\n(TransformParameters {shift})\n'
        f'(InitialTransformParameterFileName "{initial}")\n(HowToCombineTransforms "Compose")\n'
        "(FixedImageDimension 3)\n"
    )


def moved(transform: Transform, *point: float) -> list[float]:
    return [round(x, 9) for x in transform(torch.tensor(point, dtype=torch.float64)).tolist()]


@pytest.mark.parametrize("zyx", [False, True])
def test_rotations_about_their_centre(tmp_path: Path, zyx: bool) -> None:
    read = read_foreign_transform(write(tmp_path, EULER.replace('ZYX "false"', f'ZYX "{str(zyx).lower()}"')))
    assert isinstance(read, AffineTransform)
    theirs = sitk.Euler3DTransform((10.5, -20, 30), 0.1, -0.2, 0.3, (1, 2, 3))
    theirs.SetComputeZYX(zyx)
    x, y, z = theirs.TransformPoint((5.0, 6.0, 7.0))
    assert moved(read, -5, -6, 7) == pytest.approx([-x, -y, z])


def test_the_initial_transform_is_applied_first(tmp_path: Path) -> None:
    turn = EULER.replace("0.1 -0.2 0.3 1 2 3", f"0 0 {math.pi / 2} 0 0 0").replace("10.5 -20 30", "0 0 0")
    write(tmp_path, translation("-1 0 0"), "a.txt")
    last = write(tmp_path, turn.replace("NoInitialTransform", "a.txt"), "b.txt")
    read = read_foreign_transform(last)
    assert isinstance(read, Composite)
    assert moved(read, 1, 0, 0) == [0, 2, 0]  # in RAS: a step along x, then a quarter turn


@pytest.mark.parametrize("name", ["/somewhere/else/a.txt", "C:\\\\results\\\\a.txt", "./a.txt", "../{}/a.txt"])
def test_results_in_another_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path, translation("-1 0 0"), "a.txt")
    last = write(tmp_path, translation("-2 0 0", name.format(tmp_path.name)), "b.txt")
    assert moved(read_foreign_transform(last), 0, 0, 0) == [3, 0, 0]


def test_the_older_name_of_the_initial_transform(tmp_path: Path) -> None:
    write(tmp_path, translation("-1 0 0"), "a.txt")
    text = translation("-2 0 0", "a.txt").replace("InitialTransformParameterFile", "InitialTransformParametersFile")
    assert moved(read_foreign_transform(write(tmp_path, text, "b.txt")), 0, 0, 0) == [3, 0, 0]


def spline(coefficients: list[float]) -> str:
    return (
        f'(Transform "BSplineTransform")\n(NumberOfParameters {len(coefficients)})\n'
        f"(TransformParameters {' '.join(map(str, coefficients))})\n"
        '(InitialTransformParameterFileName "NoInitialTransform")\n(FixedImageDimension 2)\n(GridSize 5 4)\n'
        "(GridIndex 0 0)\n(GridSpacing 10 20)\n(GridOrigin -15 -25)\n(GridDirection 0.8 0.6 -0.6 0.8)\n"
        '(BSplineTransformSplineOrder 3)\n(UseCyclicTransform "false")\n'
    )


def test_splines(tmp_path: Path) -> None:
    coefficients = torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist()
    read = read_foreign_transform(write(tmp_path, spline(coefficients)))
    assert isinstance(read, BSplineField)
    theirs = sitk.BSplineTransform(2, 3)
    theirs.SetFixedParameters([5, 4, -15, -25, 10, 20, 0.8, -0.6, 0.6, 0.8])  # row after row
    theirs.SetParameters(coefficients)
    for voxel in ((1.3, 1.7), (2.5, 1.1), (2.9, 1.99), (0.5, 1.5)):
        x, y = (read.grid.voxel_to_world_points(torch.tensor(voxel)) * -1).tolist()
        assert moved(read, -x, -y) == pytest.approx([-c for c in theirs.TransformPoint((x, y))], abs=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "EulerTransform",
            "AffineLogTransform",
            "expected .* Similarity, Affine, BSpline and File, found AffineLog; compute",
        ),
        ("(NumberOfParameters 6)", "(NumberOfParameters 7)", "expected 7 TransformParameters, found 6"),
        ("1 2 3)", "1 2)", "expected 6 TransformParameters, found 5"),
        ("1 2 3)", "1 2 x)", "expected a finite number in TransformParameters, found 'x'"),
        ("1 2 3)", "1 2 3", "numbers for TransformParameters, found 0; is the file complete"),
        ("(CenterOfRotationPoint 10.5 -20 30)", "", "expected 3 numbers for CenterOfRotationPoint, found 0"),
        ("(FixedImageDimension 3)", "(FixedImageDimension 4)", "in 2-D or 3-D, found 4-D"),
        ('"true"', '"false"', "expected UseDirectionCosines true"),
        ("NoInitialTransform", "gone.txt", "its initial transform gone.txt is missing; copy it into"),
        ("NoInitialTransform", "TransformParameters.0.txt", "found a cycle through"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, EULER.replace(old, new))
    with pytest.raises(DataError, match=rf"TransformParameters\.0\.txt: .*{message}"):
        read_foreign_transform(path)


def test_names_that_occur_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.txt: expected TransformParameters once, found it twice"):
        read_foreign_transform(write(tmp_path, EULER + "(TransformParameters 0 0 0 0 0 0)\n"))


def test_combination_by_addition_is_refused(tmp_path: Path) -> None:
    write(tmp_path, translation("0 0 0"), "a.txt")
    text = EULER.replace("NoInitialTransform", "a.txt").replace('"Compose"', '"Add"')
    with pytest.raises(DataError, match="expected HowToCombineTransforms Compose, found Add"):
        read_foreign_transform(write(tmp_path, text))


@pytest.mark.parametrize("length", range(0, len(EULER) - 25, 7))
def test_truncated_files(tmp_path: Path, length: int) -> None:
    with pytest.raises(DataError, match=r"TransformParameters\.0\.txt: "):
        read_foreign_transform(write(tmp_path, EULER[:length]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SplineOrder 3", "SplineOrder 2", "expected cubic B-splines, not cyclic, found order 2"),
        ('Cyclic "false"', 'Cyclic "true"', ""),
        ("(GridSize 5 4)", "(GridSize 5 3)", r"for each of \[5, 3\] points, found 40"),
        ("(GridOrigin -15 -25)", "", "expected 2 numbers for GridOrigin, found 0"),
        ("0.8 0.6 -0.6 0.8", "0.8 0.6 0.8 0.6", "singular"),
    ],
)
def test_invalid_splines_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = spline([0.5] * 40).replace(old, new)
    if not message:
        text = text.replace('UseCyclicTransform "false"', 'UseCyclicTransform "true"')
    with pytest.raises(DataError, match=rf"TransformParameters\.0\.txt: .*{message}"):
        read_foreign_transform(write(tmp_path, text))


def test_no_initial_transform(tmp_path: Path) -> None:
    text = translation("-1 0 0").replace('(InitialTransformParameterFileName "NoInitialTransform")\n', "")
    assert moved(read_foreign_transform(write(tmp_path, text)), 0, 0, 0) == [1, 0, 0]
    assert moved(read_foreign_transform(write(tmp_path, translation("-1 0 0", ""))), 0, 0, 0) == [1, 0, 0]


def test_a_number_as_initial_transform(tmp_path: Path) -> None:
    """itk-elastix writes the index of the parameter map that is applied before."""
    write(tmp_path, translation("-1 0 0"), "TransformParameters.0.txt")
    write(tmp_path, translation("-2 0 0", "0"), "TransformParameters.1.txt")
    last = write(tmp_path, translation("-4 0 0", "1"), "TransformParameters.2.txt")
    assert moved(read_foreign_transform(last), 0, 0, 0) == [7, 0, 0]
    alone = write(tmp_path, translation("-4 0 0", "0"), "result.txt")
    with pytest.raises(
        DataError, match=r"result\.txt: expected a file name with a number .*InitialTransformParameterFile"
    ):
        read_foreign_transform(alone)
    itself = write(tmp_path, translation("-4 0 0", "0"), "other.0.txt")
    with pytest.raises(DataError, match=r"other\.0\.txt: .*found a cycle through"):
        read_foreign_transform(itself)
    path = write(tmp_path, translation("-4 0 0", "7"), "other.1.txt")
    with pytest.raises(DataError, match=r"other\.1\.txt: its initial transform other\.7\.txt is missing"):
        read_foreign_transform(path)


@pytest.mark.parametrize("name", ["a.tfm", "/results/of/then/a.tfm"])
def test_transforms_in_files_of_itk(tmp_path: Path, name: str) -> None:
    theirs = sitk.Euler3DTransform((10.5, -20, 30), 0.1, -0.2, 0.3, (1, 2, 3))
    sitk.WriteTransform(theirs, str(tmp_path / "a.tfm"))
    x, y, z = theirs.TransformPoint((5.0, 6.0, 7.0))
    file = write(tmp_path, f'(Transform "File")\n(TransformFileName "{name}")\n', "file.txt")
    assert moved(read_foreign_transform(file), -5, -6, 7) == pytest.approx([-x, -y, z])
    after = write(tmp_path, translation("-1 0 0", name), "after.txt")
    assert moved(read_foreign_transform(after), -5, -6, 7) == pytest.approx([-x + 1, -y, z])
    through = write(tmp_path, translation("-1 0 0", "file.txt"), "through.txt")
    assert moved(read_foreign_transform(through), -5, -6, 7) == pytest.approx([-x + 1, -y, z])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.tfm", r"file\.txt: its TransformFileName gone\.tfm is missing"),
        ("a.nii", r"a\.nii: expected a transform \(\.tfm, .*\), found \.nii"),
        ("flat.tfm", r"flat\.tfm: .*found other text"),
        ("x" * 5000, r"file\.txt: its TransformFileName x{80} is missing"),
        ("nul\0l", r"file\.txt: its TransformFileName"),
    ],
)
def test_invalid_files_of_itk_are_refused(tmp_path: Path, name: str, message: str) -> None:
    for other in ("a.nii", "flat.tfm"):
        (tmp_path / other).write_text("#")
    with pytest.raises(DataError, match=message):
        read_foreign_transform(write(tmp_path, f'(Transform "File")\n(TransformFileName "{name}")\n', "file.txt"))


def test_parameters_in_a_binary_file(tmp_path: Path) -> None:
    text = EULER.replace('TransformationParameters "false"', 'TransformationParameters "true"')
    text = text.replace("(TransformParameters 0.1 -0.2 0.3 1 2 3)", '(TransformParameters "/then/e.dat")')
    path = write(tmp_path, text, "e.txt")
    torch.tensor([0.1, -0.2, 0.3, 1, 2, 3], dtype=torch.float64).numpy().tofile(tmp_path / "e.dat")
    one, other = read_foreign_transform(path), read_foreign_transform(write(tmp_path))
    assert moved(one, 5, 6, 7) == moved(other, 5, 6, 7)
    (tmp_path / "e.dat").write_bytes(bytes(47))
    with pytest.raises(DataError, match=r"e\.txt: expected 6 TransformParameters, found 5\.875"):
        read_foreign_transform(path)


def chain(folder: Path, count: int) -> Path:
    names = ["NoInitialTransform", *(f"{index}.txt" for index in range(count))]
    for before, own in itertools.pairwise(names):
        write(folder, translation("-1 0 0", before), own)
    return folder / names[-1]


def test_long_chains(tmp_path: Path) -> None:
    assert moved(read_foreign_transform(chain(tmp_path, 256)), 0, 0, 0) == [256, 0, 0]
    with pytest.raises(DataError, match=r"1199\.txt: expected a chain of at most 256 transforms, found a longer one"):
        read_foreign_transform(chain(tmp_path, 1200))


def test_chains_of_two_dimensions(tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.TranslationTransform(2, (1, 2)), str(tmp_path / "flat.tfm"))
    with pytest.raises(DataError, match=r"a\.txt: expected a chain of transforms of one dimension, found 2-D and 3-D"):
        read_foreign_transform(write(tmp_path, translation("0 0 0", "flat.tfm"), "a.txt"))


def test_comments_and_brackets(tmp_path: Path) -> None:
    text = EULER.replace("(ComputeZYX", '// (ComputeZYX "true")\n  (ComputeZYX').replace("30)", "30) // the (centre)")
    text = text.replace('Parameters "false")', 'Parameters "false") // "x')
    one = read_foreign_transform(write(tmp_path, text, "commented.txt"))
    other = read_foreign_transform(write(tmp_path, EULER, "plain.txt"))
    assert moved(one, 1, 2, 3) == moved(other, 1, 2, 3)


def test_tabs_and_a_byte_order_mark(tmp_path: Path) -> None:
    one, other = write(tmp_path, EULER, "a.txt"), tmp_path / "b.txt"
    other.write_text(EULER.replace(" ", "\t").replace("//\t", "// "), encoding="utf-8-sig")
    assert moved(read_foreign_transform(one), 1, 2, 3) == moved(read_foreign_transform(other), 1, 2, 3)
