"""`nephi demo --keep`: every file of the study is read, and says the same as the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import nephi

from .conftest import Call, invoke

FOLDERS = ("images", "labels", "exhale_dicom", "inhale_dicom")  # whose files README does not name one by one


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "study"
    invoke("demo", "--keep", folder, "--seed", 5)
    return folder


@pytest.fixture(scope="module")
def pairs(study: Path) -> nephi.PointPairs:
    return nephi.read_point_pairs(study / "landmarks.csv")


def test_dicom_holds_the_nifti_images(study: Path) -> None:
    for side in ("exhale", "inhale"):
        nifti, dicom = nephi.read_image(study / f"{side}.nii.gz"), nephi.read_image(study / f"{side}_dicom")
        assert torch.equal(nifti.data, dicom.data) and nifti.grid.same_as(dicom.grid)


def test_all_files_of_points_agree(study: Path, pairs: nephi.PointPairs) -> None:
    assert_same(nephi.read_point_pairs(study / "landmarks_ras.csv", "ras").moving, pairs.moving)
    for side, points in (("exhale", pairs.fixed), ("inhale", pairs.moving)):
        grid = nephi.io.read_grid(study / f"{side}.nii.gz")
        for name in (f"{side}_points.csv", *(f"points/{side}{end}" for end in (".mrk.json", ".fcsv", ".pts"))):
            assert_same(nephi.read_points(study / name), points)
        voxels = nephi.read_points(study / "points" / f"{side}_dirlab.txt", format="dirlab", reference=grid)
        offsets = grid.world_to_voxel_points(voxels.coordinates) - grid.world_to_voxel_points(points.coordinates)
        assert float(offsets.abs().max()) <= 0.5 + 1e-6


def assert_same(ours: nephi.Points, expected: nephi.Points) -> None:
    torch.testing.assert_close(ours.coordinates, expected.coordinates, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("files", "options", "error"),
    [
        (["ants_1Warp.nii.gz", "ants_0GenericAffine.mat"], [], 0.3),  # linear interpolation between voxels of 5 mm
        (["slicer_warp.nii.gz"], [], 0.3),
        (["slicer.h5"], [], 1.0),
        (["TransformParameters.1.txt"], [], 1.0),  # the waves of 10 to 20 mm are too short for it
    ],
    ids=["ants", "slicer", "h5", "elastix"],
)
def test_deformations_map_the_landmarks(
    study: Path,
    pairs: nephi.PointPairs,
    tmp_path: Path,
    succeed: Call,
    files: list[str],
    options: list[str],
    error: float,
) -> None:
    chain = [word for name in files for word in ("-t", study / "transforms" / name)]
    succeed("points", *chain, *options, "-i", study / "exhale_points.csv", "-o", tmp_path / "out.csv")
    distance = (nephi.read_points(tmp_path / "out.csv").coordinates - pairs.moving.coordinates).norm(dim=-1)
    assert float(distance.mean()) < error


def test_the_warp_of_ants_has_its_inverse(study: Path, pairs: nephi.PointPairs) -> None:
    warp, affine, inverse = (
        nephi.read_transform(study / "transforms" / f"ants_{name}")
        for name in ("1Warp.nii.gz", "0GenericAffine.mat", "1InverseWarp.nii.gz")
    )
    back = inverse(affine.inverse()(pairs.moving.coordinates))
    assert float((back - pairs.fixed.coordinates).norm(dim=-1).mean()) < 0.3
    assert float((warp(pairs.fixed.coordinates) - pairs.fixed.coordinates).norm(dim=-1).mean()) > 1


def test_affine_files_are_one_map(study: Path, pairs: nephi.PointPairs, tmp_path: Path, succeed: Call) -> None:
    flirt = ["--fsl-fixed", study / "exhale.nii.gz", "--fsl-moving", study / "inhale.nii.gz"]
    files: dict[str, list[Any]] = {
        "ants_0GenericAffine.mat": [],
        "TransformParameters.0.txt": [],
        "slicer_linear.tfm": [],
        "greedy_affine.mat": ["--transform-format", "greedy"],
        "flirt.mat": flirt,
    }
    mapped = []
    for name, options in files.items():
        chain = ["-t", study / "transforms" / name, *options]
        succeed("points", *chain, "-i", study / "exhale_points.csv", "-o", tmp_path / "out.csv")
        mapped.append(nephi.read_points(tmp_path / "out.csv").coordinates)
    for other in mapped[1:]:
        torch.testing.assert_close(other, mapped[0], rtol=0, atol=1e-3)
    before = (pairs.fixed.coordinates - pairs.moving.coordinates).norm(dim=-1).mean()
    assert float((mapped[0] - pairs.moving.coordinates).norm(dim=-1).mean()) < 0.6 * float(before)


def test_the_data_set_and_the_names_are_read(study: Path) -> None:
    index = nephi.datasets.read_dataset_index(study / "shapes")
    assert {name: len(split.subjects) for name, split in index.splits.items()} == {"train": 24, "val": 8, "test": 8}
    labels = nephi.read_image(index.path(index.images[0].labels or "")).data
    assert 0.05 < float(labels.float().mean()) < 0.6
    assert nephi.io.read_label_names(study / "labels.txt")[2] == "left lung"


def test_readme_names_every_file(study: Path) -> None:
    text = (study / "README.txt").read_text(encoding="utf-8")
    assert "(seed 5)" in text and "study/exhale.nii.gz" in text and "{" not in text
    for path in study.rglob("*"):
        name = path.name.replace("inhale", "exhale").replace("moving", "fixed")
        if path.is_file() and path.name != "README.txt" and path.parent.name not in FOLDERS:
            suffix = re.sub(r"^exhale(?=\.(fcsv|mrk))", "", name)
            assert name in text or suffix in text, path
    for name in re.findall(r"(?:points|transforms)/[\w.]+|^    [a-z_]+\.[\w.]+", text, re.MULTILINE):
        assert any((study / folder / name.strip()).exists() for folder in ("", "plane", "shapes")), name


def test_a_folder_with_files_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    outcome = call("demo", "--keep", tmp_path)
    assert outcome.code == 3 and outcome.out == "" and "new or an empty folder" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    outcome = call("demo", "--keep", tmp_path / "study", "-o", tmp_path / "out")
    assert outcome.code == 2 and "--keep" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_error_leaves_nothing(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise nephi.DataError("disk full")

    monkeypatch.setattr("nephi.io.write_elastix_affine", fail)
    outcome = call("demo", "--keep", tmp_path / "study")
    assert outcome.code == 3 and "disk full" in outcome.err
    assert list(tmp_path.iterdir()) == []
