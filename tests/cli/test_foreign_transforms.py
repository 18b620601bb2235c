"""Transforms of other tools as input of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import pytest
import SimpleITK as sitk
import torch

import nephi

from .conftest import Call

ELASTIX = """\
(Transform "TranslationTransform")
(NumberOfParameters 2)
(TransformParameters {shift})
(InitialTransformParameterFileName "{initial}")
(HowToCombineTransforms "Compose")
(FixedImageDimension 2)
"""


@pytest.fixture
def elastix(tmp_path: Path) -> Path:
    """Two translations composed, (3, -2) in RAS."""
    (tmp_path / "TransformParameters.0.txt").write_text(ELASTIX.format(shift="-1 0", initial="NoInitialTransform"))
    last = tmp_path / "TransformParameters.1.txt"
    last.write_text(ELASTIX.format(shift="-2 2", initial="/gone/TransformParameters.0.txt"))
    return last


@pytest.fixture
def composite(tmp_path: Path) -> Path:
    """The same translations as a composite transform of ITK."""
    chain = sitk.CompositeTransform(2)
    for shift in ((-1.0, 0.0), (-2.0, 2.0)):
        chain.AddTransform(sitk.TranslationTransform(2, shift))
    sitk.WriteTransform(chain, str(tmp_path / "chain.h5"))
    return tmp_path / "chain.h5"


@pytest.mark.parametrize("kind", ["elastix", "composite"])
def test_points_images_and_measures(kind: str, request: pytest.FixtureRequest, tmp_path: Path, succeed: Call) -> None:
    transform = request.getfixturevalue(kind)
    points = torch.tensor([[0.0, 0.0], [4.0, 5.0]], dtype=torch.float64)
    shift = torch.tensor([3.0, -2.0], dtype=torch.float64)
    nephi.write_points(tmp_path / "fixed.csv", nephi.Points(points))
    succeed("points", "-t", transform, "-i", tmp_path / "fixed.csv", "-o", tmp_path / "moved.csv")
    torch.testing.assert_close(nephi.read_points(tmp_path / "moved.csv").coordinates, points + shift)
    nephi.write_point_pairs(tmp_path / "pairs.csv", nephi.PointPairs.from_coordinates(points, points + shift))
    arguments = ("--landmarks", tmp_path / "pairs.csv", "--json", tmp_path / "m.json", "-q")
    succeed("evaluate", "-t", transform, *arguments)
    assert max(json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["tre_mm"]["each"]) < 1e-6
    grid = nephi.Grid.from_spacing((16, 15), (1.0, 1.0))
    image = nephi.Image(torch.rand(16, 15, generator=torch.Generator().manual_seed(0)), grid)
    nephi.write_image(image, tmp_path / "image.nii.gz")
    same = ("-i", tmp_path / "image.nii.gz", "-r", tmp_path / "image.nii.gz", "-o", tmp_path / "warped.nii.gz")
    succeed("apply", "-t", transform, *same)
    warped = nephi.read_image(tmp_path / "warped.nii.gz").data
    torch.testing.assert_close(warped[:13, 2:], image.data[3:, :-2])


@pytest.mark.parametrize("kind", ["elastix", "composite"])
def test_initial_transform_of_register(
    kind: str, request: pytest.FixtureRequest, flat: Path, tmp_path: Path, succeed: Call
) -> None:
    transform, images = request.getfixturevalue(kind), ("-f", flat / "fixed.nii.gz", "-m", flat / "moving.nii.gz")
    brief = ("--config", flat / "brief.toml", "--transform", "affine", "-q")
    succeed("register", *images, "-o", tmp_path / "out", "--initial", transform, *brief)
    moved = nephi.read_transform(tmp_path / "out" / "transform.nephi")(torch.zeros(1, 2, dtype=torch.float64))
    assert (moved - torch.tensor([[3.0, -2.0]], dtype=torch.float64)).norm() < 3  # the fit has only a few steps


def test_errors_are_one_line(elastix: Path, tmp_path: Path, call: Call) -> None:
    nephi.write_points(tmp_path / "fixed.csv", nephi.Points(torch.zeros(1, 2)))
    (tmp_path / "TransformParameters.0.txt").unlink()
    outcome = call("points", "-t", elastix, "-i", tmp_path / "fixed.csv", "-o", tmp_path / "moved.csv")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(f"nephi: error: {elastix}: its initial transform") and outcome.err.count("\n") == 1


@pytest.fixture
def turn(tmp_path: Path) -> Path:
    """A rotation by 90 degrees and a translation."""
    nephi.io.write_affine(
        tmp_path / "turn.mat",
        nephi.AffineTransform(torch.tensor([[0.0, 1, 2], [-1, 0, 3], [0, 0, 1]], dtype=torch.float64)),
    )
    return tmp_path / "turn.mat"


def moved(tmp_path: Path, succeed: Call, *transforms: object) -> list[float]:
    nephi.write_points(tmp_path / "in.csv", nephi.Points(torch.tensor([[4.0, 5.0]], dtype=torch.float64)))
    succeed("points", *transforms, "-i", tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    return [round(x, 6) for x in nephi.read_points(tmp_path / "out.csv").coordinates[0].tolist()]


def test_inverses_in_ants_notation(turn: Path, elastix: Path, tmp_path: Path, succeed: Call) -> None:
    assert moved(tmp_path, succeed, "-t", turn) == [7, -1]
    assert moved(tmp_path, succeed, "-t", f"[{turn},0]") == [7, -1]
    assert moved(tmp_path, succeed, "-t", f"[{turn},1]") == [-2, 2]
    assert moved(tmp_path, succeed, "-t", f"[{turn}, 1]", "--inverse") == [7, -1]
    assert moved(tmp_path, succeed, "-t", turn, "-t", f"[{turn},1]") == [4, 5]
    assert moved(tmp_path, succeed, "-t", f"[{turn},1]", "-t", f"[{elastix},1]") == [-5, 4]
    assert moved(tmp_path, succeed, "-t", f"[{elastix},1]", "-t", f"[{turn},1]", "--inverse") == [10, -3]
    assert moved(tmp_path, succeed, "-t", "[identity,1]") == [4, 5]


def test_inverses_in_evaluate_and_register(turn: Path, flat: Path, tmp_path: Path, succeed: Call) -> None:
    fixed_points, moving_points = (
        torch.tensor([[4.0, 5.0]], dtype=torch.float64),
        torch.tensor([[-2.0, 2.0]], dtype=torch.float64),
    )
    nephi.write_point_pairs(tmp_path / "pairs.csv", nephi.PointPairs.from_coordinates(fixed_points, moving_points))
    arguments = ("--landmarks", tmp_path / "pairs.csv", "--json", tmp_path / "m.json", "-q")
    succeed("evaluate", "-t", f"[{turn},1]", *arguments)
    assert max(json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["tre_mm"]["each"]) < 1e-6
    images = ("-f", flat / "fixed.nii.gz", "-m", flat / "moving.nii.gz")
    nephi.io.write_affine(tmp_path / "shift.tfm", nephi.AffineTransform.translation(torch.tensor([-3.0, 2.0])))
    brief = ("--config", flat / "brief.toml", "--transform", "affine", "-q")
    succeed("register", *images, "-o", tmp_path / "out", "--initial", f"[{tmp_path / 'shift.tfm'},1]", *brief)
    start = nephi.read_transform(tmp_path / "out" / "transform.nephi")(torch.zeros(1, 2, dtype=torch.float64))
    assert (start - torch.tensor([[3.0, -2.0]], dtype=torch.float64)).norm() < 3


@pytest.mark.parametrize("name", ["[x.mat]", "[x.mat,2]", "[,1]", "[x.mat,]", "[]"])
def test_invalid_brackets_are_rejected(name: str, tmp_path: Path, call: Call) -> None:
    nephi.write_points(tmp_path / "in.csv", nephi.Points(torch.zeros(1, 2)))
    outcome = call("points", "-t", name, "-i", tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    assert outcome.code == 2 and "-t: expected [FILE,1] (the inverse of a transform)" in outcome.err


def test_a_file_with_brackets_in_its_name(
    turn: Path, tmp_path: Path, succeed: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn.rename(tmp_path / "[turn,1].mat")
    assert moved(tmp_path, succeed, "-t", tmp_path / "[turn,1].mat") == [7, -1]


@pytest.fixture
def flirt(tmp_path: Path) -> tuple[Path, ...]:
    """A translation of FLIRT between two images of 2 mm voxels with different origins."""
    for name, corner in (("fixed", 0.0), ("moving", 10.0)):
        grid = nephi.Grid.from_spacing((9, 8, 7), (2.0, 2.0, 2.0), (corner, corner, corner))
        nephi.write_image(nephi.Image(torch.zeros(grid.shape), grid), tmp_path / f"{name}.nii.gz")
    (tmp_path / "flirt.mat").write_text("1 0 0 3\n0 1 0 4\n0 0 1 5\n0 0 0 1\n")
    nephi.write_points(tmp_path / "in.csv", nephi.Points(torch.zeros(1, 3, dtype=torch.float64)))
    return tmp_path / "flirt.mat", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"


@pytest.mark.parametrize("options", [("--fsl-fixed", "--fsl-moving"), ("--transform-fixed", "--transform-moving")])
def test_a_matrix_of_flirt(flirt: tuple[Path, ...], tmp_path: Path, succeed: Call, options: tuple[str, str]) -> None:
    matrix, fixed, moving = flirt
    named = () if options[0].startswith("--fsl") else ("--transform-format", "fsl")
    arguments = ("-t", matrix, options[0], fixed, options[1], moving, *named)
    succeed("points", *arguments, "-i", tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    # FSL reverses the first axis of these images: world 0 is (16, 0, 0) in FSL, minus the translation (13, -4, -5).
    assert nephi.read_points(tmp_path / "out.csv").coordinates.tolist() == [[13.0, 6.0, 5.0]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 3, "flirt.mat: expected a transform that states its convention"),
        (
            ("--fsl-fixed", "fixed"),
            2,
            "expected both images for a matrix of FLIRT; give --fsl-fixed (-ref) and --fsl-moving (-in)",
        ),
        (("--transform-format", "fsl"), 2, "expected both images"),
        (("--fsl-fixed", "fixed", "--transform-format", "spm"), 2, "--fsl-fixed, --fsl-moving: short for"),
        (("--fsl-fixed", "fixed", "--transform-fixed", "fixed"), 2, "--fsl-fixed, --fsl-moving: short for"),
        (("--fsl-moving", "moving", "--transform-moving", "moving"), 2, "--fsl-fixed, --fsl-moving: short for"),
    ],
)
def test_images_of_flirt(
    flirt: tuple[Path, ...], tmp_path: Path, call: Call, arguments: tuple[str, ...], code: int, message: str
) -> None:
    matrix, fixed, moving = flirt
    paths = {"fixed": fixed, "moving": moving}
    outcome = call(
        "points",
        "-t",
        matrix,
        *(paths.get(g, g) for g in arguments),
        "-i",
        tmp_path / "in.csv",
        "-o",
        tmp_path / "o.csv",
    )
    assert outcome.code == code and message in outcome.err and outcome.err.count("\n") == 1


def test_info_of_a_spline_grid(tmp_path: Path, succeed: Call) -> None:
    import nibabel

    image = nibabel.Nifti1Image(torch.zeros(5, 6, 7, 1, 3).numpy(), torch.eye(4).numpy())
    image.header.set_intent(1007, name="NREG_TRANS")
    image.header["intent_p1"] = 2
    nibabel.save(image, tmp_path / "cpp.nii")
    assert "BSplineField" in succeed("info", tmp_path / "cpp.nii").out


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("format", "name", "kind"), [("spm", "Mapping", 0), ("niftyreg", "NREG_TRANS", 1)])
def test_fields_of_spm_and_niftyreg(
    format: str, name: str, kind: int, named: bool, tmp_path: Path, succeed: Call
) -> None:
    """Positions of SPM and displacements of NiftyReg, 3 mm to the right and 4 mm down."""
    shift = torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64)
    grid = nephi.Grid.from_spacing((6, 7, 8), (2.0, 2.5, 3.0), (-5.0, -6.0, -7.0))
    centres = grid.voxel_centres().double()
    vectors = centres + shift if format == "spm" else shift.expand_as(centres)
    image = nibabel.Nifti1Image(vectors.float().numpy()[:, :, :, None], grid.affine.numpy())
    image.header.set_intent(1007, name=name)
    image.header["intent_p1"] = kind
    image.header.set_xyzt_units("mm")
    image.set_qform(grid.affine.numpy(), 1)
    image.set_sform(grid.affine.numpy(), 1)
    nibabel.save(image, tmp_path / "y.nii")
    nephi.write_points(tmp_path / "in.csv", nephi.Points(centres[2:4, 3, 4]))
    arguments = ("--transform-format", format) if named else ()
    succeed("points", "-t", tmp_path / "y.nii", *arguments, "-i", tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    moved = nephi.read_points(tmp_path / "out.csv").coordinates
    torch.testing.assert_close(moved, centres[2:4, 3, 4] + shift, rtol=0, atol=1e-4)
