"""`nephi points`, and its direction compared with that of `nephi apply`."""

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import nephi

from .conftest import Call, write_like


def read(path: Path) -> np.ndarray:
    with open(path, newline="", encoding="utf-8") as file:
        return np.array([[float(x) for x in row[1:]] for row in list(csv.reader(file))[1:]])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


def test_fixed_points_are_mapped_to_the_moving_image(
    succeed: Call, flat: Path, flat_result: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    fixed, moving = flat / "fixed_points.csv", flat / "moving_points.csv"
    assert succeed("points", "-t", flat_result / "transform.nephi", "-i", fixed, "-o", out).out == ""
    assert distance(read(fixed), read(moving)) > 3
    assert distance(read(out), read(moving)) < 0.8
    succeed("points", "-t", flat_result / "transform.nephi", "--inverse", "-i", moving, "-o", out)
    assert distance(read(out), read(fixed)) < 0.8


@pytest.mark.parametrize("inverse", [[], ["--inverse"]])
def test_pairs(inverse: list[str], succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """The fixed points are mapped, by --inverse the moving ones; errors are distances to the points of the other."""
    out, again = tmp_path / "out.csv", tmp_path / "again.csv"
    options = ["-t", flat_result / "transform.nephi", *inverse, "-i"]
    mapped, target = ("moving", "fixed") if inverse else ("fixed", "moving")
    printed = succeed("points", *options, flat / "landmarks.csv", "-o", out, "--errors").out
    succeed("points", *options, flat / f"{mapped}_points.csv", "-o", again)
    np.testing.assert_allclose(read(out), read(again), atol=1e-9)
    expected = np.linalg.norm(read(out) - read(flat / f"{target}_points.csv"), axis=1)
    assert f"{expected.mean():.4f} mm (" in printed and f"{expected.max():.4f} mm" in printed
    assert "200" in printed
    assert succeed("points", *options, flat / "landmarks.csv", "-o", out).out == ""


def test_errors_need_pairs(call: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    points = flat / "fixed_points.csv"
    options = ["-t", flat_result / "transform.nephi", "-i", points, "-o", tmp_path / "out.csv", "--errors"]
    outcome = call("points", *options)
    assert outcome.code == 2 and "--errors: requires landmark pairs" in outcome.err and str(points) in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inverse", [[], ["--inverse"]])
def test_the_identity_changes_nothing(inverse: list[str], succeed: Call, solid: Path, tmp_path: Path) -> None:
    """Alone, `identity` converts points between formats; composed with other transforms it has no effect."""
    points, once, twice = solid / "fixed_points.csv", tmp_path / "once.csv", tmp_path / "twice.csv"
    succeed("points", "-t", "identity", *inverse, "-i", points, "-o", tmp_path / "once.fcsv")
    succeed("points", "-t", "identity", *inverse, "-i", tmp_path / "once.fcsv", "-o", once)
    np.testing.assert_allclose(read(once), read(points), atol=1e-6)
    transform = solid / "result" / "transform.nephi"
    succeed("points", "-t", transform, *inverse, "-i", points, "-o", once)
    succeed("points", "-t", "identity", "-t", transform, *inverse, "-i", points, "-o", twice)
    np.testing.assert_allclose(read(twice), read(once), atol=1e-9)


def test_images_are_warped_in_the_opposite_direction(
    succeed: Call, flat: Path, flat_result: Path, tmp_path: Path
) -> None:
    """The centre of a blob in the warped image, mapped by `points`, is its centre in the moving image."""
    grid = nephi.read_image(flat / "moving.nii.gz").grid
    place = grid.voxel_to_world_points(grid.voxel_centres().new_tensor([40.0, 60.0]).double())
    blob = np.exp(-(grid.voxel_centres().double() - place).square().sum(-1).numpy() / (2 * 5.0**2))
    image = write_like(tmp_path / "blob.nii.gz", blob.astype(np.float32), flat / "moving.nii.gz")
    transform = flat_result / "transform.nephi"
    succeed("apply", "-t", transform, "-i", image, "-r", flat / "fixed.nii.gz", "-o", tmp_path / "warped.nii.gz")
    warped = nephi.read_image(tmp_path / "warped.nii.gz")
    weights = warped.data.double()[..., None]
    centre = (weights * warped.grid.voxel_centres()).sum(dim=(0, 1)) / weights.sum()
    nephi.write_points(tmp_path / "seen.csv", nephi.Points(centre[None]))
    succeed("points", "-t", transform, "-i", tmp_path / "seen.csv", "-o", tmp_path / "back.csv")
    back = nephi.read_points(tmp_path / "back.csv").coordinates[0]
    assert float((back - place).norm()) < 0.5
    assert float((centre - place).norm()) > 1


def test_agrees_with_simpleitk_in_lps(succeed: Call, solid: Path, solid_affine: Path, tmp_path: Path) -> None:
    points, out = solid / "fixed_points.csv", tmp_path / "out.csv"
    affine = sitk.ReadTransform(str(solid_affine))
    succeed("points", "-t", solid_affine, "-i", points, "-o", out)
    np.testing.assert_allclose(read(out), [affine.TransformPoint(p) for p in read(points).tolist()], atol=1e-9)
    succeed("points", "-t", solid_affine, "--inverse", "-i", points, "-o", out)
    back = affine.GetInverse()
    np.testing.assert_allclose(read(out), [back.TransformPoint(p) for p in read(points).tolist()], atol=1e-9)
    field = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(solid / "result" / "warp.nii.gz"), sitk.sitkVectorFloat64)
    )
    succeed("points", "-t", solid / "result" / "warp.nii.gz", "-i", points, "-o", out)
    np.testing.assert_allclose(read(out), [field.TransformPoint(p) for p in read(points).tolist()], atol=1e-3)


def test_frames(succeed: Call, solid: Path, tmp_path: Path) -> None:
    """The same points in RAS: x and y have opposite signs, before and after."""
    transform = solid / "result" / "transform.nephi"
    points = nephi.read_points(solid / "fixed_points.csv", "lps")
    nephi.write_points(tmp_path / "ras.csv", points, "ras")
    succeed("points", "-t", transform, "-i", solid / "fixed_points.csv", "-o", tmp_path / "lps_out.csv")
    succeed("points", "-t", transform, "-i", tmp_path / "ras.csv", "-o", tmp_path / "ras_out.csv", "--frame", "ras")
    np.testing.assert_allclose(read(tmp_path / "ras_out.csv"), read(tmp_path / "lps_out.csv") * [-1, -1, 1], atol=1e-4)


def test_round_trip_is_the_identity(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    points = flat / "fixed_points.csv"
    for name in ("warp.nii.gz", "transform.nephi"):
        succeed("points", "-t", flat_result / name, "-i", points, "-o", tmp_path / "there.csv")
        succeed(
            "points", "-t", flat_result / name, "--inverse", "-i", tmp_path / "there.csv", "-o", tmp_path / "back.csv"
        )
        # The numerical inverse of the field is exact; the error of the fitted one is its inverse consistency.
        assert distance(read(tmp_path / "back.csv"), read(points)) < (2e-3 if name == "warp.nii.gz" else 0.3)


def test_a_field_far_from_its_grid_can_be_inverted(succeed: Call, tmp_path: Path) -> None:
    """If headers differ by more than the size of the image, phi maps all points out of the grid of the field."""
    grid = nephi.Grid.from_spacing((20, 20, 20), [2.0, 2.0, 2.0])
    shift = grid.voxel_centres().new_tensor([30.0, 0.0, 0.0])
    points = nephi.Points(grid.voxel_centres(4, 16)[4:16, 4:16].reshape(-1, 3).double())
    from nephi.io import write_displacement

    write_displacement(tmp_path / "warp.nii.gz", lambda x: x + shift, grid)
    nephi.write_points(tmp_path / "in.csv", points)
    succeed("points", "-t", tmp_path / "warp.nii.gz", "-i", tmp_path / "in.csv", "-o", tmp_path / "there.csv")
    succeed(
        "points", "-t", tmp_path / "warp.nii.gz", "--inverse", "-i", tmp_path / "there.csv", "-o", tmp_path / "back.csv"
    )
    np.testing.assert_allclose(read(tmp_path / "back.csv"), read(tmp_path / "in.csv"), atol=0.01)


def test_first_transform_is_applied_first(succeed: Call, solid: Path, solid_affine: Path, tmp_path: Path) -> None:
    transform, points = solid / "result" / "transform.nephi", solid / "fixed_points.csv"
    succeed("points", "-t", transform, "-t", solid_affine, "-i", points, "-o", tmp_path / "chain.csv")
    succeed("points", "-t", transform, "-i", points, "-o", tmp_path / "first.csv")
    succeed("points", "-t", solid_affine, "-i", tmp_path / "first.csv", "-o", tmp_path / "both.csv")
    np.testing.assert_allclose(read(tmp_path / "chain.csv"), read(tmp_path / "both.csv"), atol=1e-3)


def test_ids_are_preserved(succeed: Call, solid_affine: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,x,y,z,comment\nleft apex,1,2,3,seen by AB\n17,4,5,6,\n", encoding="utf-8")
    succeed("points", "-t", solid_affine, "-i", source, "-o", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,x,y,z"
    assert [line.split(",")[0] for line in lines[1:]] == ["left apex", "17"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("id,x,y,z\n", "found only the header"),
        ("id,x,z\n1,2,3\n", "expected the columns x,y,z"),
        ("id,x,y,z\n1,2,3,four\n", "line 2, column z, found 'four'"),
        ("id,x,y,z\n1,2,3,nan\n", "line 2, column z"),
        ("id,x,y\n1,2,3\n", "expected 3-D points, the dimension of the transform, got 2-D"),
    ],
)
def test_invalid_tables_are_rejected(call: Call, solid_affine: Path, tmp_path: Path, text: str, message: str) -> None:
    source = tmp_path / "in.csv"
    source.write_text(text, encoding="utf-8")
    outcome = call("points", "-t", solid_affine, "-i", source, "-o", tmp_path / "out.csv")
    assert outcome.code == 3
    assert outcome.err.startswith(f"nephi: error: {source}: ") and message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_wrong_usage(call: Call, flat: Path, solid_affine: Path, tmp_path: Path) -> None:
    source = flat / "fixed_points.csv"
    assert call("points", "-t", solid_affine, "-i", source, "-o", tmp_path / "o.csv", "--frame", "mni").code == 2
    assert call("points", "-t", solid_affine, "-i", tmp_path / "no.csv", "-o", tmp_path / "o.csv").code == 3
    assert call("points", "-t", solid_affine, "-i", source, "-o", tmp_path / "o.csv").code == 3
    assert list(tmp_path.iterdir()) == []
