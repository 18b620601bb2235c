"""`nephi evaluate` compared with measures computed by SimpleITK and NumPy."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import nephi

from .conftest import Call, itk_field, itk_resample, voxels


@pytest.fixture
def measured(succeed: Call, tmp_path: Path) -> Any:
    def run(*options: Any) -> dict[str, Any]:
        path = tmp_path / "numbers.json"
        assert succeed("evaluate", *options, "--json", path, "-q").out == ""
        return json.loads(path.read_text(encoding="utf-8"))

    return run


def itk_errors(path: Path, transform: Any) -> np.ndarray:
    """Target registration errors by SimpleITK, in the coordinates of the file (LPS)."""
    rows = np.genfromtxt(path, delimiter=",", names=True)
    axes = "xyz"[: transform.GetDimension()]
    fixed, moving = (np.stack([rows[f"{side}_{a}"] for a in axes], axis=1) for side in ("fixed", "moving"))
    return np.linalg.norm(
        [np.subtract(transform.TransformPoint(p.tolist()), q) for p, q in zip(fixed, moving, strict=True)], axis=1
    )


def test_landmark_errors_match_simpleitk(measured: Any, solid: Path) -> None:
    warp = solid / "result" / "warp.nii.gz"
    tre = measured("-t", warp, "--landmarks", solid / "landmarks.csv")["tre_mm"]
    errors = itk_errors(solid / "landmarks.csv", itk_field(warp))
    before = itk_errors(solid / "landmarks.csv", sitk.Transform(3, sitk.sitkIdentity))
    np.testing.assert_allclose(tre["each"], errors, atol=1e-3)
    assert tre["count"] == len(errors) == 300
    assert tre["before"] == pytest.approx(before.mean(), abs=1e-9)
    for name, value in (
        ("mean", errors.mean()),
        ("median", np.median(errors)),
        ("p90", np.quantile(errors, 0.9)),
        ("max", errors.max()),
    ):
        assert tre[name] == pytest.approx(value, abs=1e-3)


def test_errors_of_an_exact_transform_are_exact(measured: Any, tmp_path: Path) -> None:
    """Landmarks and errors are not rounded."""
    affine = sitk.TranslationTransform(3, [1.0, 2.0, 2.0])
    sitk.WriteTransform(affine, str(tmp_path / "t.tfm"))
    (tmp_path / "l.csv").write_text(
        "id,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\na,0,0,0,1,2,2\nb,10,0,0,11.3,2.4,2\nc,0,5,0,0,5,0\n"
    )
    tre = measured("-t", tmp_path / "t.tfm", "--landmarks", tmp_path / "l.csv")["tre_mm"]
    assert tre["each"] == pytest.approx([0.0, 0.5, 3.0])
    assert tre["before"] == pytest.approx((3 + np.sqrt(1.3**2 + 2.4**2 + 4) + 0) / 3)
    assert tre["median"] == pytest.approx(0.5) and tre["p90"] == pytest.approx(2.5)


def test_frames(measured: Any, solid: Path, tmp_path: Path) -> None:
    pairs = nephi.read_point_pairs(solid / "landmarks.csv", "lps")
    nephi.write_point_pairs(tmp_path / "ras.csv", pairs, "ras")
    transform = solid / "result" / "transform.nephi"
    lps = measured("-t", transform, "--landmarks", solid / "landmarks.csv")["tre_mm"]
    ras = measured("-t", transform, "--landmarks", tmp_path / "ras.csv", "--frame", "ras")["tre_mm"]
    assert ras["mean"] == pytest.approx(lps["mean"], abs=1e-6)
    wrong = measured("-t", transform, "--landmarks", tmp_path / "ras.csv")["tre_mm"]
    assert wrong["mean"] > 1.2 * lps["mean"]


def test_dice_matches_simpleitk(measured: Any, flat: Path, flat_result: Path) -> None:
    warp = flat_result / "warp.nii.gz"
    labels = ["--fixed-labels", flat / "fixed_labels.nii.gz", "--moving-labels", flat / "moving_labels.nii.gz"]
    dice = measured("-t", warp, *labels)["dice"]
    truth = voxels(flat / "fixed_labels.nii.gz").T
    for key, transform in (("after", itk_field(warp)), ("before", sitk.Transform(2, sitk.sitkIdentity))):
        warped = itk_resample(labels[3], labels[1], transform, sitk.sitkNearestNeighbor, 0.0)
        each = {
            str(v): 2 * ((warped == v) & (truth == v)).sum() / ((warped == v).sum() + (truth == v).sum())
            for v in (3, 7, 12, 200)
        }
        if key == "after":
            assert dice["labels"] == pytest.approx(each, abs=2e-3)
        mean = dice["mean"] if key == "after" else dice["before"]
        assert mean == pytest.approx(np.mean(list(each.values())), abs=2e-3)
    assert dice["mean"] > 0.97 > dice["before"]


def test_landmarks_alone_measure_nothing_else(measured: Any, solid: Path, call: Call, solid_affine: Path) -> None:
    """No pass over the grid of the fixed image, unless it is requested."""
    options = ["-t", solid / "result" / "transform.nephi", "--landmarks", solid / "landmarks.csv"]
    assert set(measured(*options)) == {"tre_mm"}
    everything = measured(*options, "--folding")
    assert everything["regularity"]["points"] == 52 * 40 * 44 and "exported_inverse_consistency_mm" in everything
    outcome = call("evaluate", "-t", solid_affine, *options[2:], "--folding")
    assert outcome.code == 2 and "has no grid; expected --mask or label maps" in outcome.err


def test_labels_with_names(succeed: Call, call: Call, measured: Any, flat: Path, tmp_path: Path) -> None:
    """An exact translation of one voxel: the distances of surfaces are known, and each label has its line."""
    from dataclasses import replace

    image = nephi.read_image(flat / "fixed_labels.nii.gz")
    step = image.grid.voxel_to_world_vectors(torch.tensor([1.0, 0.0], dtype=torch.float64))
    moving = replace(image, data=image.data.roll(1, dims=0))
    nephi.write_image(moving, tmp_path / "moving.nii.gz")
    nephi.io.write_affine(tmp_path / "t.tfm", nephi.AffineTransform.translation(step))
    (tmp_path / "names.ctbl").write_text("# Color table file\n3 left_lung 1 2 3 4\n7 lobe 1 2 3 4\n", encoding="utf-8")
    options = ["-t", tmp_path / "t.tfm", "--fixed-labels", flat / "fixed_labels.nii.gz"]
    options += ["--moving-labels", tmp_path / "moving.nii.gz", "--label-names", tmp_path / "names.ctbl"]
    numbers = measured(*options)
    assert numbers["label_names"] == {"3": "left lung", "7": "lobe"}
    assert numbers["dice"]["mean"] == 1.0 and numbers["surface_mm"]["mean"] == numbers["surface_mm"]["p95"] == 0
    before = numbers["surface_mm"]["before"]
    assert all(each["p95"] == pytest.approx(float(step.norm())) for each in before["labels"].values())
    lines = [re.split(r" {2,}", line.strip()) for line in succeed("evaluate", *options).out.splitlines()]
    cells = {line[0]: line[1:] for line in lines}
    assert cells["3"][:3] == ["left lung", f"{numbers['dice']['labels_before']['3']:.4f}", "1.0000"]
    assert cells["3"][3:] == [f"{before['labels']['3']['mean']:.3f}", "0.000", f"{step.norm():.3f}", "0.000"]
    assert cells["12"][0] == "-"
    assert cells["Dice, mean"][0].startswith("1.0000 (")
    outcome = call("evaluate", "-t", tmp_path / "t.tfm", "--landmarks", flat / "landmarks.csv", *options[6:])
    assert outcome.code == 2 and "--label-names: requires --fixed-labels" in outcome.err


def test_folding_and_consistency_agree_with_the_report(measured: Any, solid: Path) -> None:
    report = json.loads((solid / "result" / "report.json").read_text(encoding="utf-8"))
    numbers = measured("-t", solid / "result" / "transform.nephi")
    assert set(numbers) == {
        "regularity",
        "inverse_consistency_mm",
        "unrefined_inverse_mm",
        "exported_inverse_consistency_mm",
    }
    assert numbers["regularity"] == report["whole_grid"] and report["whole_grid"]["points"] == 52 * 40 * 44
    numbers = measured("-t", solid / "result" / "transform.nephi", "--mask", solid / "fixed_mask.nii.gz")
    assert numbers["regularity"]["points"] == int((voxels(solid / "fixed_mask.nii.gz") > 0).sum())
    # The lung mask of `register` differs slightly from that of the phantom.
    assert numbers["unrefined_inverse_mm"] == pytest.approx(report["unrefined_inverse_mm"], rel=0.2)
    assert (
        max(numbers["inverse_consistency_mm"], report["inverse_consistency_mm"])
        < 1e-3
        < numbers["unrefined_inverse_mm"]
    )


def test_an_affine_has_an_exact_inverse(measured: Any, solid: Path, solid_affine: Path) -> None:
    numbers = measured("-t", solid_affine, "--mask", solid / "fixed_mask.nii.gz")
    determinant = np.linalg.det(np.reshape(sitk.ReadTransform(str(solid_affine)).GetParameters()[:9], (3, 3)))
    assert numbers["regularity"]["smallest"] == pytest.approx(determinant, rel=1e-5)
    assert numbers["regularity"]["sd_log_jacobian"] < 1e-4
    assert numbers["inverse_consistency_mm"] < 1e-3


def test_prints_the_measures(succeed: Call, flat: Path, flat_result: Path, measured: Any) -> None:
    options = ["-t", flat_result / "transform.nephi", "--landmarks", flat / "landmarks.csv"]
    options += ["--mask", flat / "fixed_mask.nii.gz"]
    printed, numbers = succeed("evaluate", *options).out, measured(*options)
    for text in (
        f"{numbers['tre_mm']['mean']:.4f} mm",
        f"{numbers['tre_mm']['p90']:.4f} mm",
        f"{numbers['inverse_consistency_mm']:.4f} mm",
        f"{numbers['unrefined_inverse_mm']:.4f} mm",
        f"of {numbers['regularity']['points']} voxels",
    ):
        assert text in printed
    every = succeed("evaluate", *options, "-v").out
    assert f"{numbers['tre_mm']['each'][17]:.4f} mm" in every
    assert len(every.splitlines()) == len(printed.splitlines()) + 200


def test_wrong_usage(
    call: Call, flat: Path, solid: Path, flat_result: Path, solid_affine: Path, tmp_path: Path
) -> None:
    transform = flat_result / "transform.nephi"
    cases: list[tuple[list[Any], int, str]] = [
        (["--fixed-labels", flat / "fixed_labels.nii.gz"], 2, "--moving-labels"),
        (["--landmarks", tmp_path / "no.csv"], 3, "no.csv"),
        (["--landmarks", solid / "landmarks.csv"], 3, str(solid / "landmarks.csv")),
        (["--mask", solid / "fixed_mask.nii.gz"], 3, str(solid / "fixed_mask.nii.gz")),
        (["--landmarks", flat / "fixed_points.csv"], 3, "fixed_x"),
        (["--frame", "mni"], 2, "mni"),
        (["--json", tmp_path / "no" / "n.json"], 3, "n.json"),
    ]
    for options, code, named in cases:
        outcome = call("evaluate", "-t", transform, *options)
        assert outcome.code == code, options
        assert named in outcome.err and "Traceback" not in outcome.err
    # An affine file has no grid on which regularity could be measured.
    outcome = call("evaluate", "-t", solid_affine)
    assert (outcome.code, outcome.out) == (2, "") and "--landmarks" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_points_in_another_order_are_paired_by_id(call: Call, measured: Any, solid: Path, tmp_path: Path) -> None:
    """For CSV files and for lists of 3-D Slicer, the errors equal those of a table of pairs."""
    pairs = nephi.read_point_pairs(solid / "landmarks.csv")
    names = [f"L{i}" for i in range(len(pairs))]
    reverse = list(range(len(pairs)))[::-1]
    for suffix in (".csv", ".mrk.json", ".fcsv"):
        files = tmp_path / f"fixed{suffix}", tmp_path / f"moving{suffix}"
        nephi.write_points(files[0], nephi.Points(pairs.fixed.coordinates, names))
        nephi.write_points(files[1], nephi.Points(pairs.moving.coordinates[reverse], [names[i] for i in reverse]))
        options = ["-t", solid / "result" / "transform.nephi", "--landmarks"]
        expected = measured(*options, solid / "landmarks.csv")["tre_mm"]
        numbers = tmp_path / "by_id.json"
        outcome = call("evaluate", *options, files[0], "--moving-landmarks", files[1], "--json", numbers, "-q")
        assert outcome.code == 0 and "another order" in outcome.err
        assert json.loads(numbers.read_text(encoding="utf-8"))["tre_mm"]["each"] == pytest.approx(
            expected["each"], abs=1e-9
        )


def test_points_with_other_ids_are_rejected(call: Call, solid: Path, tmp_path: Path) -> None:
    pairs = nephi.read_point_pairs(solid / "landmarks.csv")
    nephi.write_points(tmp_path / "f.csv", nephi.Points(pairs.fixed.coordinates[:3], ("a", "b", "c")))
    nephi.write_points(tmp_path / "m.csv", nephi.Points(pairs.moving.coordinates[:3], ("a", "b", "d")))
    options = ["--landmarks", tmp_path / "f.csv", "--moving-landmarks", tmp_path / "m.csv"]
    outcome = call("evaluate", "-t", solid / "result" / "transform.nephi", *options)
    assert outcome.code == 3
    assert f"{tmp_path / 'f.csv'}, {tmp_path / 'm.csv'}: " in outcome.err
    assert "missing: c among the moving points; d among the fixed points" in outcome.err


def test_landmarks_outside_the_images(call: Call, solid: Path, tmp_path: Path) -> None:
    """`evaluate` and `register` check landmarks first."""
    pairs = nephi.read_point_pairs(solid / "landmarks.csv")
    far = tmp_path / "far.csv"
    moved = [side.coordinates.clone() for side in (pairs.fixed, pairs.moving)]
    moved[0][:5] += 500
    nephi.write_point_pairs(far, nephi.PointPairs.from_coordinates(*moved))
    transform = solid / "result" / "transform.nephi"
    outcome = call("evaluate", "-t", transform, "--landmarks", far)
    assert outcome.code == 0 and "found 5 of 300 outside of it" in outcome.err
    nephi.write_point_pairs(far, nephi.PointPairs.from_coordinates(pairs.fixed.coordinates, moved[1] + 500))
    for warp in (transform, solid / "result" / "warp.nii.gz"):
        labels = ["--fixed-labels", solid / "fixed_mask.nii.gz", "--moving-labels", solid / "moving_mask.nii.gz"]
        outcome = call("evaluate", "-t", warp, "--landmarks", far, *labels)
        assert outcome.code == 3 and "moving points inside the moving image, found 300 of 300" in outcome.err
    images = ["-f", solid / "fixed.nii.gz", "-m", solid / "moving.nii.gz", "--preset", "lung-ct"]
    outcome = call("register", *images, "-o", tmp_path / "out", "--landmarks", far)
    assert outcome.code == 3 and f"{far}: landmarks: expected moving points" in outcome.err
    assert not (tmp_path / "out").exists()
