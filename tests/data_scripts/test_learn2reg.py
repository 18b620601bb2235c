"""Test the conversion of Learn2Reg's tasks, on tiny folders in the published format."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nephi

from .conftest import Fails, Run, contents, voxels_at, write_nifti

SHAPE = (6, 7, 8)
# Oblique, with axes in another order than x, y, z, as in some images of the challenge.
AFFINE = np.array([[0.2, -1.4, 0.0, 5.0], [1.5, 0.2, 0.1, -7.0], [0.0, 0.1, -1.7, 9.0], [0.0, 0.0, 0.0, 1.0]])
POINTS = {"0000": [(0, 0, 0), (5, 6, 7), (2, 3, 4)], "0001": [(1, 0, 0), (4, 6, 6), (2, 2, 5)]}


def volume(seed: int) -> np.ndarray:
    return (np.arange(np.prod(SHAPE), dtype=np.int16) + 7 * seed).reshape(SHAPE)


def pairs(numbers: list[int], folder: str = "imagesTr") -> list[dict[str, str]]:
    names = [f"./{folder}/LungCT_{n:04d}" for n in numbers]
    return [{"fixed": f"{name}_0000.nii.gz", "moving": f"{name}_0001.nii.gz"} for name in names]


@pytest.fixture
def lung_ct(tmp_path: Path) -> Path:
    """Five training pairs, of which two are also validation pairs, and a test pair without points and masks."""
    raw = tmp_path / "LungCT"
    for n in range(1, 7):
        part = "Ts" if n == 6 else "Tr"
        for phase in ("0000", "0001"):
            name = f"LungCT_{n:04d}_{phase}"
            write_nifti(raw / f"images{part}" / f"{name}.nii.gz", volume(n), AFFINE)
            if n < 6:
                write_nifti(raw / f"masksTr/{name}.nii.gz", (volume(n) > 50).astype(np.uint8), AFFINE)
                for kind in ("keypointsTr", *(["landmarksTr"] if n == 1 else [])):
                    (raw / kind).mkdir(exist_ok=True)
                    shift = kind == "landmarksTr"
                    lines = [f"{x}.000,{y}.000,{z - shift * (z > 0)}.000" for x, y, z in POINTS[phase]]
                    (raw / kind / f"{name}.csv").write_text("\n".join(lines) + "\n")
    table = {
        "name": "LungCT",
        "release": "1.1",
        "description": "",
        "licence": "CC BY-NC 4.0",
        "reference": "Hering et al., doi 10.5281/zenodo.3835682",
        "pairings": "paired",
        "modality": {"0": "CT", "1": "CT"},
        "numTraining": 10,
        "training": [
            {"image": p[side], "keypoints": p[side].replace("images", "keypoints")}  # .nii.gz, as published
            for p in pairs([1, 2, 3, 4, 5])
            for side in ("fixed", "moving")
        ],
        "numPairedTraining": 5,
        "training_paired_images": pairs([1, 2, 3, 4, 5]),
        "numRegistration_val": 2,
        "registration_val": pairs([1, 2]),
        "numRegistration_test": 1,
        "registration_test": pairs([6], "imagesTs"),
    }
    (raw / "LungCT_dataset.json").write_text(json.dumps(table, indent=4))
    return raw


@pytest.fixture
def oasis(tmp_path: Path) -> Path:
    """Heads of six subjects with labels, without training pairs, validated between subjects."""
    raw = tmp_path / "OASIS"
    for n in range(1, 7):
        write_nifti(raw / f"imagesTr/OASIS_{n:04d}_0000.nii.gz", volume(n).astype(np.float32) / 500, AFFINE)
        write_nifti(raw / f"labelsTr/OASIS_{n:04d}_0000.nii.gz", (volume(n) % 36).astype(np.uint8), AFFINE)
    names = [f"./imagesTr/OASIS_{n:04d}_0000.nii.gz" for n in range(1, 7)]
    table = {
        "name": "OASIS",
        "licence": "see oasis-brains.org",
        "pairings": "unpaired",
        "modality": {"0": "MR"},
        "training": [{"image": name, "label": name.replace("images", "labels")} for name in names],
        "training_paired_images": [],
        "registration_val": [{"fixed": a, "moving": b} for a, b in pairwise(names[3:])],
        "registration_test": [],
    }
    (raw / "OASIS_dataset.json").write_text(json.dumps(table))
    return raw


def change_json(raw: Path, **keys: Any) -> None:
    (path,) = raw.glob("*_dataset.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **keys}))


def test_validation_subjects_are_excluded_from_training(run: Run, lung_ct: Path, tmp_path: Path) -> None:
    """The release also lists them as training pairs."""
    assert run("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks").code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    splits = {name: [(p.fixed, p.moving) for p in index.pairs(name)] for name in index.splits}
    expected = {"train": [3, 4, 5], "val": [1, 2], "test": [6]}
    assert splits == {k: [(f"LungCT_{n:04d}_0000", f"LungCT_{n:04d}_0001") for n in v] for k, v in expected.items()}
    assert index.name == "Learn2Reg LungCT" and "zenodo" in index.source.citation and "NC" in index.source.terms
    assert index.image("LungCT_0001_0000").mask and not index.image("LungCT_0006_0000").mask
    assert index.image("LungCT_0001_0001").subject == "LungCT_0001"


def test_points_lie_on_their_voxels(run: Run, lung_ct: Path, tmp_path: Path) -> None:
    """Voxels count from 0 along the array; manual landmarks (those of pair 1 differ) take precedence over keypoints."""
    run("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks")
    for n in (1, 4):
        ids = [f"LungCT_{n:04d}_{phase}" for phase in POINTS]
        pairs = nephi.read_point_pairs(tmp_path / f"out/landmarks/{ids[0]}--{ids[1]}.csv")
        for id, points, listed in zip(ids, (pairs.fixed, pairs.moving), POINTS.values(), strict=True):
            image = nephi.read_image(tmp_path / f"out/images/{id}.nii.gz")
            voxels = [(x, y, z - (n == 1 and z > 0)) for x, y, z in listed]
            assert voxels_at(image, points) == [int(volume(n)[voxel]) for voxel in voxels]


def test_images_and_masks_are_unchanged(run: Run, lung_ct: Path, tmp_path: Path) -> None:
    run("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks")
    for kind in ("images", "masks"):
        name = "LungCT_0003_0001.nii.gz"
        raw, written = (nephi.read_image(p / name) for p in (lung_ct / f"{kind}Tr", tmp_path / "out" / kind))
        assert bool((raw.data == written.data).all()) and raw.voxel_type == written.voxel_type
        assert raw.grid.same_as(written.grid)


def test_a_task_without_pairs_is_paired_between_subjects(run: Run, oasis: Path, tmp_path: Path) -> None:
    assert run("learn2reg", oasis, "-o", tmp_path / "out").code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out" / "dataset.json")
    assert index.splits["train"] == nephi.datasets.DatasetSplit(
        tuple(f"OASIS_{n:04d}" for n in (1, 2, 3)), "between-subjects"
    )
    assert [(p.fixed[6:10], p.moving[6:10]) for p in index.pairs("val")] == [("0004", "0005"), ("0005", "0006")]
    image = index.image("OASIS_0002_0000")
    assert image.labels == "labels/OASIS_0002_0000.nii.gz" and image.mask is None and image.modality == "MR"
    assert nephi.read_image(index.path(image.image)).voxel_type == "float32"


def test_a_second_run_writes_no_files(run: Run, lung_ct: Path, tmp_path: Path) -> None:
    run("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks")
    before = contents(tmp_path / "out")
    outcome = run("learn2reg", lung_ct / "LungCT_dataset.json", "-o", tmp_path / "out", "--no-masks")
    assert ": written" not in outcome.out and contents(tmp_path / "out") == before


def test_missing_images_are_refused_or_skipped(run: Run, fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    for file in (lung_ct / "imagesTs").iterdir():
        file.unlink()
    arguments = ("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks")
    fails(
        *arguments,
        match=r"expected imagesTs/LungCT_0006_0000.nii.gz in its folder, .* \(2 of 12 images.*--skip-missing",
    )
    assert run(*arguments, "--skip-missing", "--overwrite").code == 0
    assert list(nephi.datasets.read_dataset_index(tmp_path / "out").splits) == ["train", "val"]


def test_inconsistent_lists_are_refused_before_anything_is_written(
    fails: Fails, lung_ct: Path, oasis: Path, tmp_path: Path
) -> None:
    repeated = pairs([6], "imagesTs") * 2
    change_json(lung_ct, registration_test=repeated)
    message = r"LungCT_dataset.json: splits.test.pairs\[1\]: 'LungCT_0006_0000' and .* are listed before"
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks", match=message)
    change_json(oasis, training=[{"image": "imagesTr/OASIS_0001_0000.nii.gz"}])
    message = "OASIS_dataset.json: splits.train: expected at least one pair, found none"
    fails("learn2reg", oasis, "-o", tmp_path / "out", match=message)
    assert not (tmp_path / "out").exists()


def test_overwriting_with_a_damaged_json_deletes_nothing(run: Run, fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    run("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks")
    before = contents(tmp_path / "out")
    (lung_ct / "LungCT_dataset.json").write_text("{")
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks", "--overwrite", match="expected JSON")
    assert contents(tmp_path / "out") == before


def test_a_truncated_json_is_refused(fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    path = lung_ct / "LungCT_dataset.json"
    path.write_text(path.read_text(encoding="utf-8")[:300])
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", match="expected JSON, found an error .* is the file complete")


def test_a_truncated_image_is_refused(fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    path = lung_ct / "imagesTr/LungCT_0004_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    assert str(path) in fails("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks")
    assert not (tmp_path / "out/images/LungCT_0004_0000.nii.gz").exists()
    assert not (tmp_path / "out/dataset.json").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1,2\n3,4\n5,6\n", "expected lines of 3 numbers, voxels without a header"),
        ("x,y,z\n1,2,3\n", "expected lines of 3 numbers, voxels without a header"),
        ("1,2,3\n1,2,9\n1,2,3\n", r"expected voxels within \(6, 7, 8\), counted from 0, found some outside"),
        ("1,2,3\n", "expected 1 points like .*, found 3"),
    ],
)
def test_invalid_points_are_refused(fails: Fails, lung_ct: Path, tmp_path: Path, lines: str, message: str) -> None:
    (lung_ct / "keypointsTr/LungCT_0004_0000.csv").write_text(lines)
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", "--no-masks", match=message)


@pytest.mark.parametrize("value", [[{"fixed": "a"}], ["a"], 3, [{"fixed": 1, "moving": 2}]])
def test_malformed_lists_are_refused(fails: Fails, lung_ct: Path, tmp_path: Path, value: object) -> None:
    change_json(lung_ct, registration_val=value)
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", match="registration_val: expected a list of objects with fixed")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("modality", ["CT"], r'modality: expected texts by number such as {"0": "CT"}, found \["CT"\]'),
        ("modality", "CT", 'modality: expected texts by number such as {"0": "CT"}, found "CT"'),
        ("modality", {"0": 3}, 'modality: expected texts by number such as {"0": "CT"}, found {"0": 3}'),
        ("name", ["LungCT"], r'name: expected a text, found \["LungCT"\]'),
        ("reference", {"doi": 1}, 'reference: expected a text, found {"doi": 1}'),
        ("licence", 4, "licence: expected a text, found 4"),
    ],
)
def test_values_of_other_types_are_refused(
    fails: Fails, lung_ct: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    change_json(lung_ct, **{key: value})
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", match=f"LungCT_dataset.json: {message}")
    assert not (tmp_path / "out").exists()


def test_null_values_count_as_missing(run: Run, lung_ct: Path, tmp_path: Path) -> None:
    change_json(lung_ct, name=None, reference=None, licence=None, modality=None)
    assert run("learn2reg", lung_ct, "-o", tmp_path / "out").code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert index.name == "Learn2Reg LungCT_dataset" and index.images[0].modality is None
    assert index.source.citation == index.source.terms == "see the page"


def test_an_image_name_with_a_superscript_is_refused(fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    """`"²".isdigit()` is true, but `int("²")` fails."""
    (lung_ct / "imagesTs/LungCT_0006_0001.nii.gz").rename(lung_ct / "imagesTs/LungCT_0006_².nii.gz")
    pair = {"fixed": "imagesTs/LungCT_0006_0000.nii.gz", "moving": "imagesTs/LungCT_0006_².nii.gz"}
    change_json(lung_ct, registration_test=[pair])
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", match="id: expected letters, digits, .* found 'LungCT_0006_²'")


def test_a_deeply_nested_json_is_refused(fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    (lung_ct / "LungCT_dataset.json").write_text('{"training": ' + "[" * 200_000)
    fails("learn2reg", lung_ct, "-o", tmp_path / "out", match="expected JSON, found an error")


def test_a_json_without_a_task_is_refused(fails: Fails, lung_ct: Path, tmp_path: Path) -> None:
    (lung_ct / "LungCT_dataset.json").write_text("{}")
    fails(
        "learn2reg", lung_ct, "-o", tmp_path / "out", match="expected the JSON of a task, with training_paired_images"
    )


def test_a_folder_without_json_is_refused(fails: Fails, tmp_path: Path) -> None:
    fails("learn2reg", tmp_path, "-o", tmp_path / "out", match="expected one file NAME_dataset.json in it, found none")
