"""Test the conversion of DIR-Lab's raw volumes and 1-based landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nephi
from data_scripts import dirlab_4dct, dirlab_copd
from data_scripts.dirlab import CaseGeometry, describe_distance, read_volume

from ..conftest import Run, voxels_at
from .conftest import LAYOUTS, POINTS, SHAPE, SPACING, Options, stored


def test_landmarks_lie_on_the_voxels_of_the_raw_data(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    assert run(command, raw, *options, "--fixed", "inhale").code == 0
    for n in (1, 2, 10):
        ids = {side: names[2].format(n=n) for side, names in LAYOUTS[command].items()}
        pairs = nephi.read_point_pairs(tmp_path / f"out/landmarks/{ids['first']}--{ids['second']}.csv")
        for side, points in (("first", pairs.fixed), ("second", pairs.moving)):
            image = nephi.read_image(tmp_path / f"out/images/{ids[side]}.nii.gz")
            expected = [int(stored(n, side)[z - 1, y - 1, x - 1]) - 1024 for x, y, z in POINTS[side]]
            assert voxels_at(image, points) == expected
            assert image.voxel_type == "int16"


def test_values_become_hounsfield_units_and_unmeasured_voxels_air(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    image = nephi.read_image(tmp_path / f"out/images/{LAYOUTS[command]['first'][2].format(n=1)}.nii.gz")
    assert image.data[1, 0, 0] == image.data[2, 0, 0] == -1024
    assert image.data[0, 0, 0] == 101 - 1024
    assert int(image.data.min()) == -1024


def test_orientation_follows_dirlab(tmp_path: Path) -> None:
    """(1, 1, 1) is the right, anterior, superior corner: all RAS coordinates decrease from there."""
    path = tmp_path / "volume.img"
    path.write_bytes(stored(1, "first").tobytes())
    grid = read_volume(path, CaseGeometry(SHAPE, SPACING), 1024, "superior").grid
    assert grid.spacing.tolist() == pytest.approx(SPACING)
    first, last = (grid.voxel_to_world_points(torch.tensor(v)) for v in ((0, 0, 0), (6, 4, 3)))
    assert (last - first).tolist() == pytest.approx([-3.6, -2.8, -7.5])
    upwards = read_volume(path, CaseGeometry(SHAPE, SPACING), 1024, "inferior").grid
    assert upwards.voxel_to_world_points(torch.tensor((6, 4, 3))).tolist() == pytest.approx([-3.6, -2.8, 7.5])


def test_distances_between_landmarks_are_those_of_voxels_and_spacing(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    """These distances, which papers publish, verify a reader independently of the orientation."""
    outcome = run(command, raw, *options, "--first-slice", "inferior")
    (path,) = (tmp_path / "out/landmarks").glob("*1-*--*1-*.csv")
    pairs = nephi.read_point_pairs(path)
    distances = (pairs.fixed.coordinates - pairs.moving.coordinates).norm(dim=1)
    steps = (np.array(POINTS["first"]) - np.array(POINTS["second"])) * SPACING
    expected = np.linalg.norm(steps, axis=1)
    assert distances.tolist() == pytest.approx(expected.tolist())
    assert f"3 landmarks, mean distance {expected.mean():.2f} mm\n" in outcome.out


def test_index_has_splits_and_source(run: Run, command: str, raw: Path, options: Options, tmp_path: Path) -> None:
    outcome = run(command, raw, *options, "--train", "2", "--val", "1")
    assert outcome.code == 0 and outcome.out.endswith("6 images; pairs: 1 train, 1 val, 1 test\n")
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    stem = "case" if "4dct" in command else "copd"
    assert {name: split.subjects for name, split in index.splits.items()} == {
        "train": (f"{stem}2",),
        "val": (f"{stem}1",),
        "test": (f"{stem}10",),
    }
    fixed, moving = ("first", "second") if "4dct" in command else ("second", "first")
    (pair,) = index.pairs("test")
    assert (pair.fixed, pair.moving) == tuple(LAYOUTS[command][side][2].format(n=10) for side in (fixed, moving))
    assert pair.landmarks == f"landmarks/{pair.fixed}--{pair.moving}.csv"
    assert index.image(pair.fixed).modality == "CT" and index.image(pair.fixed).mask is None
    assert "Castillo" in index.source.citation and index.source.page.startswith("https://")


def test_lung_masks_overlap_with_the_phantoms(run: Run, tmp_path: Path) -> None:
    """A phantom in DIR-Lab's format gets a mask of its lungs on the grid of the image."""
    pair = nephi.phantoms.lung_phantom(shape=(40, 32, 36))
    raw = tmp_path / "raw"
    raw.mkdir()
    for side in "ie":
        # The phantom's axes run to R, A, S; DIR-Lab's to L, P, I.
        values = (pair.fixed.data.numpy()[::-1, ::-1, ::-1].astype(np.int16) + 1024).transpose(2, 1, 0)
        (raw / f"copd1_{side}BHCT.img").write_bytes(np.ascontiguousarray(values, "<i2").tobytes())
        (raw / f"copd1_300_{side}BH_xyz_r1.txt").write_text("10 10 10\n")
    spacing = pair.fixed.grid.spacing.tolist()
    geometry = tmp_path / "g.toml"
    geometry.write_text(f"[1]\nshape = [40, 32, 36]\nspacing = {spacing}\n")
    assert run("dirlab-copd", raw, "-o", tmp_path / "out", "--geometry", geometry, "--cases", 1).code == 0
    index = nephi.datasets.read_dataset_index(tmp_path / "out")
    image, mask = (nephi.read_image(tmp_path / "out" / kind / "copd1-eBH.nii.gz") for kind in ("images", "masks"))
    assert index.image("copd1-eBH").mask == "masks/copd1-eBH.nii.gz"
    assert mask.grid.same_as(image.grid) and mask.voxel_type == "uint8"
    segmented, truth = mask.data > 0, pair.fixed_mask.data.flip(0, 1, 2) > 0
    assert 2 * float((segmented & truth).sum()) / float(segmented.sum() + truth.sum()) > 0.9


def test_distances_are_compared_with_the_published_ones(tmp_path: Path) -> None:
    path = tmp_path / "a--b.csv"
    path.write_text("id,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n0,0,0,0,3,4,0\n1,1,1,1,1,1,2\n")
    assert describe_distance(path, None) == "a--b: 2 landmarks, mean distance 3.00 mm"
    assert describe_distance(path, 3.004) == "a--b: 2 landmarks, mean distance 3.00 mm, as published"
    text = "but 3.10 mm is published: check that image and landmarks are those of this case"
    assert describe_distance(path, 3.1).endswith(text)


def test_tables_agree_with_the_published_ones() -> None:
    """Ten cases each, with the published total number of slices."""
    for collection in (dirlab_4dct.COLLECTION, dirlab_copd.COLLECTION):
        assert sorted(collection.cases) == sorted(collection.distances) == list(range(1, 11))
        assert all(g.spacing[0] == g.spacing[1] and g.spacing[2] == 2.5 for g in collection.cases.values())
    assert sum(g.shape[2] for g in dirlab_4dct.COLLECTION.cases.values()) == 1155
    assert sum(g.shape[2] for g in dirlab_copd.COLLECTION.cases.values()) == 1203
