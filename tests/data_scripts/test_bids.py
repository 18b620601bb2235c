"""Test the conversion of BIDS folders, on tiny ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nephi
from data_scripts.bids import split_subjects

from .conftest import Fails, Run, contents, write_nifti

SHAPE = (5, 6, 7)


def write_image(path: Path, value: int = 1, shape: tuple[int, ...] = SHAPE) -> None:
    data = np.full(shape, value, np.uint8)
    data.flat[0] = 0
    write_nifti(path, data)


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Five subjects, the first with two sessions; masks in one derivative, labels in another, some in other spaces."""
    raw = tmp_path / "heads"
    (raw / "derivatives/prep").mkdir(parents=True)
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "heads", "BIDSVersion": "1.8.0"}))
    names = ["sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2"]
    names += [f"sub-{n:02d}/anat/sub-{n:02d}" for n in range(2, 6)]
    for k, name in enumerate(names):
        write_image(raw / f"{name}_T1w.nii.gz", 10 + k)
        write_image(raw / f"{name}_T2w.nii.gz", 50 + k)
        write_image(raw / f"derivatives/prep/{name}_desc-brain_mask.nii.gz")
        write_image(raw / f"derivatives/prep/{name}_space-MNI152_desc-brain_mask.nii.gz")
        write_image(raw / f"derivatives/prep/{name}_space-MNI152_desc-preproc_T1w.nii.gz")
        write_image(raw / f"derivatives/labels/{name}_dseg.nii.gz", 3)
    write_image(raw / "sub-02/func/sub-02_task-rest_bold.nii.gz")
    (raw / "sub-02/anat/sub-02_T1w.json").write_text("{}")
    return raw


def test_images_masks_and_labels(run: Run, heads: Path, tmp_path: Path) -> None:
    assert run("bids", heads, "-o", tmp_path / "out").code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert [i.id for i in index.images] == [
        "sub-01_ses-1_T1w",
        "sub-01_ses-2_T1w",
        *(f"sub-0{n}_T1w" for n in range(2, 6)),
    ]
    assert index.name == "heads" and index.images[1].subject == "sub-01" and index.images[1].modality == "T1w"
    for k, image in enumerate(index.images):
        assert image.mask and image.labels
        read = {key: nephi.read_image(index.path(path)) for key, path in index_files(image).items()}
        assert [int(each.data.max()) for each in read.values()] == [10 + k, 1, 3]
        assert all(each.grid.same_as(read["image"].grid) for each in read.values())
    # All ordered pairs but the two within subject 1.
    assert len(index.pairs("train")) == 6 * 5 - 2


def index_files(image: nephi.datasets.DatasetImage) -> dict[str, str]:
    return {key: getattr(image, key) for key in ("image", "mask", "labels")}


def test_pairs_within_subjects(run: Run, heads: Path, tmp_path: Path) -> None:
    run("bids", heads, "-o", tmp_path / "out", "--suffix", "T1w", "--suffix", "T2w", "--pairs", "within-subjects")
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert len(index.images) == 12
    assert len(index.pairs("train")) == 4 * 3 + 4 * 2


def test_a_mask_belongs_to_all_contrasts_of_a_session(run: Run, heads: Path, tmp_path: Path) -> None:
    run("bids", heads, "-o", tmp_path / "out", "--suffix", "T2w")
    assert all(image.mask for image in nephi.datasets.read_dataset_index(tmp_path / "out").images)


def test_splits_by_fraction(run: Run, heads: Path, tmp_path: Path) -> None:
    arguments = ("bids", heads, "--val", 0.4, "--test", 0.2, "-o", tmp_path / "out")
    assert run(*arguments, "--seed", 3, "--pairs", "between-subjects").code == 2, "one subject has no pairs"
    assert not (tmp_path / "out").exists()
    write_image(heads / "sub-06/anat/sub-06_T1w.nii.gz")
    write_image(heads / "sub-07/anat/sub-07_T1w.nii.gz")
    write_image(heads / "sub-08/anat/sub-08_T1w.nii.gz")
    assert run(*arguments).code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert {name: len(split.subjects) for name, split in index.splits.items()} == {"train": 3, "val": 3, "test": 2}


def test_random_splits_depend_on_the_seed_only() -> None:
    subjects = [f"sub-{n:03d}" for n in range(100)]
    first, again, other = (split_subjects(subjects, 0.1, 0.2, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert {name: len(part) for name, part in first.items()} == {"train": 70, "val": 10, "test": 20}
    assert sorted(subject for part in first.values() for subject in part) == subjects


def test_a_second_run_yields_the_same_bytes(run: Run, heads: Path, tmp_path: Path) -> None:
    run("bids", heads, "-o", tmp_path / "out")
    before = contents(tmp_path / "out")
    run("bids", heads, "-o", tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("folder", ["sourcedata", "code/tests", "raw_release"])
def test_other_folders_are_ignored(run: Run, heads: Path, tmp_path: Path, folder: str) -> None:
    run("bids", heads, "-o", tmp_path / "expected")
    write_image(heads / folder / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", 99)
    write_image(heads / folder / "sub-09/anat/sub-09_T1w.nii.gz", 99)
    write_image(heads / folder / "derivatives/prep/sub-02/anat/sub-02_desc-brain_mask.nii.gz", 99)
    assert run("bids", heads, "-o", tmp_path / "out").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_two_images_of_one_name_are_refused(fails: Fails, heads: Path, tmp_path: Path) -> None:
    write_image(heads / "sub-03/anat/sub-03_T1w.nii")
    fails("bids", heads, "-o", tmp_path / "out", match=r"two images sub-03_T1w, .*T1w.nii and .*T1w.nii.gz; keep one")


def test_masks_of_two_derivatives_need_a_choice(run: Run, fails: Fails, heads: Path, tmp_path: Path) -> None:
    write_image(heads / "derivatives/other/sub-03/anat/sub-03_desc-brain_mask.nii.gz")
    arguments = ("bids", heads, "-o", tmp_path / "out")
    fails(*arguments, match="expected one mask for it, found .*other.* and .*prep.*; choose with --derivative")
    assert not (tmp_path / "out").exists(), "refused before anything is written"
    assert run(*arguments, "--derivative", "prep").code == 0
    assert not nephi.datasets.read_dataset_index(tmp_path / "out").images[0].labels


def test_images_of_other_dimensions_are_refused(fails: Fails, heads: Path, tmp_path: Path) -> None:
    write_image(heads / "sub-04/anat/sub-04_T1w.nii.gz", 9, shape=(5, 6))
    fails(
        "bids",
        heads,
        "-o",
        tmp_path / "out",
        match="sub-04_T1w.nii.gz: expected a 3-D image like the first.* found 2-D",
    )


def test_folders_without_images_are_refused(fails: Fails, heads: Path, tmp_path: Path) -> None:
    arguments = ("bids", heads, "-o", tmp_path / "out")
    fails(*arguments, "--suffix", "ct", match=r"expected images sub-\*_ct.nii\[.gz\].* found none; .* check --suffix")
    fails("bids", heads / "no", "-o", tmp_path / "out", match="no such folder")


def test_fractions_above_one_in_total_are_refused(fails: Fails, heads: Path, tmp_path: Path) -> None:
    arguments = ("bids", heads, "-o", tmp_path / "out", "--val", 0.8, "--test", 0.8)
    fails(*arguments, code=2, match="--val 0.8 --test 0.8: expected at most all 5 subjects, got 8")


def test_ct_without_masks_gets_lung_masks(run: Run, tmp_path: Path) -> None:
    pair = nephi.phantoms.lung_phantom(shape=(40, 32, 36))
    for session, image in (("in", pair.moving), ("ex", pair.fixed)):
        folder = tmp_path / f"raw/sub-1/ses-{session}/ct"
        folder.mkdir(parents=True)
        nephi.write_image(image, folder / f"sub-1_ses-{session}_ct.nii.gz")
    arguments = ("bids", tmp_path / "raw", "-o", tmp_path / "out", "--suffix", "ct", "--pairs", "within-subjects")
    assert run(*arguments).code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert [image.mask for image in index.images] == [f"masks/sub-1_ses-{s}_ct.nii.gz" for s in ("ex", "in")]
