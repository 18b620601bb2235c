"""`nephi register --dry-run`."""

from pathlib import Path

import pytest

import nephi

from .conftest import Call, pair_options


def lines(printed: str) -> dict[str, str]:
    """Rows of the plan by their names; further lines of an image as `NAME.` and `NAME..`."""
    rows: dict[str, str] = {}
    name = ""
    for line in printed.splitlines()[1:]:
        name = line.split("  ")[0].strip() or f"{name}."
        rows[name] = line[len(name.rstrip(".")) :].strip() if not line.startswith(" ") else line.strip()
    return rows


def test_the_plan_of_a_lung_ct(succeed: Call, solid: Path, tmp_path: Path) -> None:
    masks = ["--fixed-mask", solid / "fixed_mask.nii.gz", "--moving-mask", solid / "moving_mask.nii.gz"]
    options = [*pair_options(solid), *masks, "-o", tmp_path / "out", "--preset", "lung-ct", "--save", "warp"]
    rows = lines(succeed("register", *options, "--dry-run").out)
    grid = nephi.read_image(solid / "fixed.nii.gz").grid
    inside = int((nephi.read_image(solid / "fixed_mask.nii.gz").data > 0).sum())
    assert rows["fixed"] == str(solid / "fixed.nii.gz")
    assert rows["fixed."].startswith(f"{' x '.join(map(str, grid.shape))} voxels of ")
    assert rows["fixed."].endswith(f"mm, {inside} voxels in the mask")
    assert rows["fixed.."] == "intensities -1000 to 200"
    assert rows["initial alignment"] == "moments" and rows["affine"].startswith("150 steps")
    assert [rows[f"level {n}"].split(" ")[0] for n in (1, 2, 3)] == ["60", "60", "170"]
    assert rows["level 3"].endswith("not smoothed")
    assert int(rows["threads"]) >= 1
    assert rows["device"] == "cpu" and rows["memory, estimated"].endswith(" MB")
    assert rows["results"] == f"{tmp_path / 'out'}: warp"
    assert not (tmp_path / "out").exists()


def test_without_a_deformation(succeed: Call, flat: Path, tmp_path: Path) -> None:
    options = [*pair_options(flat), "-o", tmp_path / "out", "--transform", "rigid", "--initial", "centers"]
    rows = lines(succeed("register", *options, "--dry-run").out)
    assert rows["initial alignment"] == "centers" and "rigid" in rows
    assert not any(name.startswith("level") for name in rows) and "fields" not in rows


@pytest.mark.parametrize("wrong", ["image", "mask", "folder", "input", "initial", "dimension", "device"])
def test_errors_are_reported_by_the_dry_run(wrong: str, call: Call, flat: Path, solid: Path, tmp_path: Path) -> None:
    options = [*pair_options(flat), "-o", tmp_path / "out"]
    match wrong:
        case "image":
            options[1] = tmp_path / "none.nii"
        case "mask":
            options += ["--fixed-mask", solid / "fixed_mask.nii.gz"]
        case "folder":
            options[-1] = flat
        case "input":
            options += ["--overwrite", "-o", flat, "--config", flat / "report.json"]
        case "dimension":
            nephi.io.write_affine(tmp_path / "solid.tfm", nephi.AffineTransform.identity(3))
            options += ["--initial", tmp_path / "solid.tfm"]
        case "initial":
            options += ["--initial", tmp_path / "none.tfm"]
        case "device":
            options += ["--device", "cuda:99"]
    outcome = call("register", *options, "--dry-run")
    assert outcome.code in (2, 3) and outcome.out == ""
    assert outcome.err.startswith("nephi: error: ") and outcome.err.count("\n") == 1
