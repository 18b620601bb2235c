"""Folders like BIDS, tiny ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nephi
from data_scripts.bids import split_subjects

from .conftest import Fails, Run, contents, write_nifti

SHAPE = (5, 6, 7)


def put(path: Path, value: int = 1, shape: tuple[int, ...] = SHAPE) -> None:
    data = np.full(shape, value, np.uint8)
    data.flat[0] = 0
    write_nifti(path, data)


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Five subjects; the first with two sessions. Masks in one derivative, labels in another, some in other spaces."""
    raw = tmp_path / "heads"
    (raw / "derivatives/prep").mkdir(parents=True)
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "heads", "BIDSVersion": "1.8.0"}))
    names = ["sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2"]
    names += [f"sub-{n:02d}/anat/sub-{n:02d}" for n in range(2, 6)]
    for k, name in enumerate(names):
        put(raw / f"{name}_T1w.nii.gz", 10 + k)
        put(raw / f"{name}_T2w.nii.gz", 50 + k)
        put(raw / f"derivatives/prep/{name}_desc-brain_mask.nii.gz")
        put(raw / f"derivatives/prep/{name}_space-MNI152_desc-brain_mask.nii.gz")
        put(raw / f"derivatives/prep/{name}_space-MNI152_desc-preproc_T1w.nii.gz")
        put(raw / f"derivatives/labels/{name}_dseg.nii.gz", 3)
    put(raw / "sub-02/func/sub-02_task-rest_bold.nii.gz")
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
    # Every ordered pair but the two within subject 1.
    assert len(index.pairs("train")) == 6 * 5 - 2


def index_files(image: nephi.datasets.DatasetImage) -> dict[str, str]:
    return {key: getattr(image, key) for key in ("image", "mask", "labels")}


def test_pairs_within_subjects(run: Run, heads: Path, tmp_path: Path) -> None:
    run("bids", heads, "-o", tmp_path / "out", "--suffix", "T1w", "--suffix", "T2w", "--pairs", "within-subjects")
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert len(index.images) == 12
    assert len(index.pairs("train")) == 4 * 3 + 4 * 2


def test_a_mask_of_another_contrast_serves_both(run: Run, heads: Path, tmp_path: Path) -> None:
    run("bids", heads, "-o", tmp_path / "out", "--suffix", "T2w")
    assert all(image.mask for image in nephi.datasets.read_dataset_index(tmp_path / "out").images)


def test_splits_by_share(run: Run, heads: Path, tmp_path: Path) -> None:
    arguments = ("bids", heads, "--val", 0.4, "--test", 0.2, "-o", tmp_path / "out")
    assert run(*arguments, "--seed", 3, "--pairs", "between-subjects").code == 2, "one subject has no pairs"
    assert not (tmp_path / "out").exists()
    put(heads / "sub-06/anat/sub-06_T1w.nii.gz")
    put(heads / "sub-07/anat/sub-07_T1w.nii.gz")
    put(heads / "sub-08/anat/sub-08_T1w.nii.gz")
    assert run(*arguments).code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert {name: len(split.subjects) for name, split in index.splits.items()} == {"train": 3, "val": 3, "test": 2}


def test_the_lot_is_the_same_each_time_and_another_with_another_seed() -> None:
    subjects = [f"sub-{n:03d}" for n in range(100)]
    first, again, other = (split_subjects(subjects, 0.1, 0.2, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert {name: len(part) for name, part in first.items()} == {"train": 70, "val": 10, "test": 20}
    assert sorted(subject for part in first.values() for subject in part) == subjects


def test_a_rerun_gives_the_same_bytes(run: Run, heads: Path, tmp_path: Path) -> None:
    run("bids", heads, "-o", tmp_path / "out")
    before = contents(tmp_path / "out")
    run("bids", heads, "-o", tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("folder", ["sourcedata", "code/tests", "raw_release"])
def test_what_else_lies_there_is_left_alone(run: Run, heads: Path, tmp_path: Path, folder: str) -> None:
    run("bids", heads, "-o", tmp_path / "expected")
    put(heads / folder / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", 99)
    put(heads / folder / "sub-09/anat/sub-09_T1w.nii.gz", 99)
    put(heads / folder / "derivatives/prep/sub-02/anat/sub-02_desc-brain_mask.nii.gz", 99)
    assert run("bids", heads, "-o", tmp_path / "out").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_twice_the_same_image(fails: Fails, heads: Path, tmp_path: Path) -> None:
    put(heads / "sub-03/anat/sub-03_T1w.nii")
    fails("bids", heads, "-o", tmp_path / "out", says=r"two images sub-03_T1w, .*T1w.nii and .*T1w.nii.gz; leave one")


def test_two_derivatives_with_masks(run: Run, fails: Fails, heads: Path, tmp_path: Path) -> None:
    put(heads / "derivatives/other/sub-03/anat/sub-03_desc-brain_mask.nii.gz")
    arguments = ("bids", heads, "-o", tmp_path / "out")
    fails(*arguments, says="two files fit as its mask, .*other.* and .*prep.*; choose with --derivative")
    assert not (tmp_path / "out").exists(), "told before anything is written"
    assert run(*arguments, "--derivative", "prep").code == 0
    assert not nephi.datasets.read_dataset_index(tmp_path / "out").images[0].labels


def test_mixed_dimensions(fails: Fails, heads: Path, tmp_path: Path) -> None:
    put(heads / "sub-04/anat/sub-04_T1w.nii.gz", 9, shape=(5, 6))
    fails(
        "bids",
        heads,
        "-o",
        tmp_path / "out",
        says="sub-04_T1w.nii.gz: expected a 3-D image, as the first.* found 2-D",
    )


def test_no_images(fails: Fails, heads: Path, tmp_path: Path) -> None:
    arguments = ("bids", heads, "-o", tmp_path / "out")
    fails(*arguments, "--suffix", "ct", says=r"no image named sub-\*_ct.nii\[.gz\].* is --suffix right")
    fails("bids", heads / "no", "-o", tmp_path / "out", says="no such folder")


def test_shares_that_do_not_fit(fails: Fails, heads: Path, tmp_path: Path) -> None:
    arguments = ("bids", heads, "-o", tmp_path / "out", "--val", 0.8, "--test", 0.8)
    fails(*arguments, code=2, says="--val 0.8 --test 0.8: more than the 5 subjects there are")


def test_lungs_are_found_in_ct(run: Run, tmp_path: Path) -> None:
    pair = nephi.phantoms.lung_phantom(shape=(40, 32, 36))
    for session, image in (("in", pair.moving), ("ex", pair.fixed)):
        folder = tmp_path / f"raw/sub-1/ses-{session}/ct"
        folder.mkdir(parents=True)
        nephi.write_image(image, folder / f"sub-1_ses-{session}_ct.nii.gz")
    arguments = ("bids", tmp_path / "raw", "-o", tmp_path / "out", "--suffix", "ct", "--pairs", "within-subjects")
    assert run(*arguments).code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    assert [image.mask for image in index.images] == [f"masks/sub-1_ses-{s}_ct.nii.gz" for s in ("ex", "in")]
