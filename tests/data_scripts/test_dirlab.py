"""Test the conversion of DIR-Lab's raw volumes and 1-based landmarks, on tiny files in their format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import nephi
from data_scripts import dirlab_4dct, dirlab_copd
from data_scripts.dirlab import CaseGeometry, describe_distance, read_volume

from .conftest import Fails, Run, contents, voxels_at

Options = tuple[object, ...]
SHAPE, SPACING = (7, 5, 4), (0.6, 0.7, 2.5)
GEOMETRY = "".join(f"[{n}]\nshape = {list(SHAPE)}\nspacing = {list(SPACING)}\n" for n in range(1, 11))
POINTS = {"first": [(1, 1, 1), (2, 4, 3), (7, 5, 4)], "second": [(1, 2, 1), (3, 4, 2), (6, 1, 4)]}
LAYOUTS = {
    "dirlab-copd": {
        "first": ("copd{n}/copd{n}/copd{n}_iBHCT.img", "copd{n}/copd{n}/copd{n}_300_iBH_xyz_r1.txt", "copd{n}-iBH"),
        "second": ("copd{n}/copd{n}/copd{n}_eBHCT.img", "copd{n}/copd{n}/copd{n}_300_eBH_xyz_r1.txt", "copd{n}-eBH"),
    },
    "dirlab-4dct": {
        "first": (
            "Case{n}Pack/Images/case{n}_T00_s.img",
            "Case{n}Pack/ExtremePhases/Case{n}_300_T00_xyz.txt",
            "case{n}-T00",
        ),
        "second": (
            "Case{n}Pack/Images/case{n}_T50-ssm.img",
            "Case{n}Pack/extremePhases/case{n}_dirLab300_T50_xyz.txt",
            "case{n}-T50",
        ),
    },
}  # fmt: skip


def stored(n: int, side: str) -> np.ndarray:
    """Return the values of a volume in the order of the file, indexed z, y, x; no two voxels have the same value."""
    start = 100 + 300 * (side == "second") + n
    volume = np.arange(start, start + 140, dtype="<i2").reshape(SHAPE[::-1])
    volume[0, 0, 1] = -2000  # outside of the reconstructed circle
    volume[0, 0, 2] = -30  # noise of air
    return volume


def write_case(raw: Path, command: str, n: int) -> None:
    for side, (image, landmarks, _) in LAYOUTS[command].items():
        path = raw / image.format(n=n)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored(n, side).tobytes())
        path = raw / landmarks.format(n=n)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{x}\t{y}\t{z}\n" for x, y, z in POINTS[side]))


@pytest.fixture(params=sorted(LAYOUTS))
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def raw(tmp_path: Path, command: str) -> Path:
    for n in (1, 2, 10):
        write_case(tmp_path / "raw", command, n)
    return tmp_path / "raw"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    geometry = tmp_path / "geometry.toml"
    geometry.write_text(GEOMETRY)
    return ("-o", tmp_path / "out", "--geometry", geometry, "--no-masks", "--cases", "1-2,10")


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


def test_equal_input_yields_equal_bytes_in_any_folder(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    raw.rename(tmp_path / "elsewhere")
    run(command, tmp_path / "elsewhere", "-o", tmp_path / "again", *options[2:])
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_an_interrupted_run_is_resumed(run: Run, command: str, raw: Path, options: Options, tmp_path: Path) -> None:
    run(command, raw, *options)
    complete = contents(tmp_path / "out")
    deleted = f"images/{LAYOUTS[command]['first'][2].format(n=2)}.nii.gz"
    for name in ("dataset.json", deleted):
        (tmp_path / "out" / name).unlink()
    kept = next(path for path in (tmp_path / "out" / "images").iterdir())
    before = kept.stat().st_mtime_ns
    outcome = run(command, raw, *options)
    assert f"{deleted}: written" in outcome.out and outcome.out.count(": exists") == 5
    assert contents(tmp_path / "out") == complete and kept.stat().st_mtime_ns == before


def test_other_options_need_another_folder(
    run: Run,
    fails: Fails,
    command: str,
    raw: Path,
    options: Options,
    tmp_path: Path,
) -> None:
    run(command, raw, *options)
    other = (*options, "--first-slice", "inferior")
    fails(command, raw, *other, code=2, match="created by another command or with other options .* or --overwrite")
    assert run(command, raw, *other, "--overwrite").code == 0
    assert json.loads((tmp_path / "out/preparation.json").read_text(encoding="utf-8"))["first_slice"] == "inferior"
    assert ": written" not in run(command, raw, *other).out


def test_overwriting_without_raw_data_deletes_nothing(
    run: Run, fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    before = contents(tmp_path / "out")
    fails(command, tmp_path / "typo", *options, "--overwrite", match="no such folder")
    (raw / LAYOUTS[command]["first"][1].format(n=10)).unlink()
    fails(command, raw, *options, "--overwrite", "--first-slice", "inferior", match="expected a file")
    assert contents(tmp_path / "out") == before


def test_an_interrupted_overwrite_loses_nothing_and_is_resumed(
    run: Run, fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", (*options, "--first-slice", "inferior")
    run(command, raw, *options)
    before = contents(out)
    run(command, raw, "-o", tmp_path / "expected", *other[2:])
    path = raw / LAYOUTS[command]["first"][0].format(n=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    fails(command, raw, *other, "--overwrite", match="expected 280 bytes")
    assert contents(out / "replaced") == before, "the old data set is complete"
    assert nephi.datasets.read_dataset_index(out / "replaced").images
    assert not (out / "dataset.json").exists()
    fails(command, raw, *options, code=2, match="created by another command or with other options")
    path.write_bytes(whole)
    again = run(command, raw, *other, "--overwrite")
    assert again.code == 0 and ": exists" in again.out
    assert contents(out) == contents(tmp_path / "expected")


@pytest.mark.parametrize(
    "moved", [["dataset.json"], ["dataset.json", "images"], ["dataset.json", "images", "landmarks"]]
)
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_an_overwrite_interrupted_while_moving_files_is_resumed(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path, moved: list[str], more: Options
) -> None:
    """Old files that were not moved yet are not used for the new data set."""
    run(command, raw, *options)
    whole = contents(tmp_path / "out")
    (tmp_path / "out/replaced").mkdir()
    for name in moved:
        (tmp_path / "out" / name).rename(tmp_path / "out/replaced" / name)
    outcome = run(command, raw, *options, *more)
    assert outcome.code == 0 and ": exists" not in outcome.out
    assert contents(tmp_path / "out") == whole


def test_other_options_after_an_interrupted_overwrite(
    run: Run, fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    before = contents(tmp_path / "out")
    path = raw / LAYOUTS[command]["second"][0].format(n=2)
    whole = path.read_bytes()
    path.write_bytes(b"")
    for offset in (1000, 1001):
        fails(command, raw, *options, "--hu-offset", offset, "--overwrite", match="expected 280 bytes")
        assert contents(tmp_path / "out/replaced") == before, "the last complete data set"
    path.write_bytes(whole)
    outcome = run(command, raw, *options, "--hu-offset", 1002, "--overwrite")
    assert outcome.code == 0 and ": exists" not in outcome.out
    assert not (tmp_path / "out/replaced").exists()


def test_a_folder_with_other_files_is_refused(fails: Fails, raw: Path, tmp_path: Path, command: str) -> None:
    fails(command, raw, "-o", raw, code=2, match="expected a new or empty folder")


def test_a_wrong_file_size_is_refused(fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path) -> None:
    path = raw / LAYOUTS[command]["second"][0].format(n=2)
    path.write_bytes(path.read_bytes()[:-2])
    line = fails(
        command,
        raw,
        *options,
        match="expected 280 bytes, 7 x 5 x 4 voxels of int16, found 278; check that",
    )
    assert str(path) in line
    assert not (tmp_path / "out/dataset.json").exists()


def test_files_in_hounsfield_units_need_an_offset_of_0(
    run: Run,
    fails: Fails,
    command: str,
    raw: Path,
    options: Options,
    tmp_path: Path,
) -> None:
    for path in raw.rglob("*.img"):
        path.write_bytes((np.fromfile(path, "<i2") - 1024).astype("<i2").tobytes())
    fails(command, raw, *options, match=r"expected HU \+ 1024, found .*% of the voxels below -200.*--hu-offset 0")
    assert run(command, raw, *options, "--hu-offset", "0").code == 0, "the failed run wrote nothing"
    image = nephi.read_image(tmp_path / f"out/images/{LAYOUTS[command]['first'][2].format(n=1)}.nii.gz")
    assert image.data[0, 0, 0] == 101 - 1024 and image.data[1, 0, 0] == -1024


@pytest.mark.parametrize("offset", [-32768, -1024, 0, 32767])
def test_offsets_do_not_overflow(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "volume.img"
    values = np.full(140, 100, "<i2")
    values[:4] = (-2000, 0, 20000, 32767)
    path.write_bytes(values.tobytes())
    converted = read_volume(path, CaseGeometry(SHAPE, SPACING), offset, "superior").data[:5, 0, 0].tolist()
    assert converted == [-1024, *(max(-1024, min(v - offset, 32767)) for v in (0, 20000, 32767, 100))]


def test_an_offset_out_of_range_is_refused(run: Run, command: str, raw: Path, options: Options) -> None:
    outcome = run(command, raw, *options, "--hu-offset", 100000)
    assert outcome.code == 2 and "--hu-offset" in outcome.err and "-32768<=x<=32767" in outcome.err


def test_missing_landmarks_are_refused(fails: Fails, command: str, raw: Path, options: Options) -> None:
    (raw / LAYOUTS[command]["first"][1].format(n=10)).unlink()
    fails(
        command,
        raw,
        *options,
        match=r"expected a file (copd10_300_iBH_xyz_r1|case10_300_T00_xyz)\.txt for .*10 in it .* unpack",
    )


def test_landmarks_of_different_number_are_refused(fails: Fails, command: str, raw: Path, options: Options) -> None:
    (raw / LAYOUTS[command]["first"][1].format(n=1)).write_text("1 1 1\n")
    fails(command, raw, *options, match="expected (3|1) landmarks like .*, found (1|3)")


def test_landmarks_outside_of_the_image_are_refused(fails: Fails, command: str, raw: Path, options: Options) -> None:
    (raw / LAYOUTS[command]["first"][1].format(n=1)).write_text("1 1 1\n2 2 2\n8 1 1\n")
    fails(command, raw, *options, match="found point 3 outside")


def test_two_files_of_one_name_are_refused(fails: Fails, command: str, raw: Path, options: Options) -> None:
    path = raw / LAYOUTS[command]["first"][0].format(n=1)
    (raw / path.name).write_bytes(path.read_bytes())
    fails(command, raw, *options, match="two files for .*1, .* and .*; keep one")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--cases", "11"), "--cases: expected some of 1, 2, .* found '11'"),
        (("--cases", "x"), "--cases: expected numbers such as 1,3-5, found 'x'"),
        (("--cases", "1", "--train", "2"), "--train: expected some of --cases 1, found '2'"),
        (("--cases", "1", "--val", "3"), "--val: expected some of --cases 1, found '3'"),
        (
            ("--cases", "1-2", "--train", "1-2", "--val", "2"),
            "--val: expected cases .* not in --train 1-2, found 2",
        ),
    ],
)
def test_invalid_cases_are_refused(
    fails: Fails, raw: Path, command: str, options: Options, more: tuple[str, ...], message: str
) -> None:
    fails(command, raw, *options, *more, code=2, match=message)
    assert not Path(str(options[1])).exists(), "refused before anything is written"


def test_a_missing_raw_folder_is_refused(fails: Fails, command: str, tmp_path: Path, options: Options) -> None:
    fails(command, tmp_path / "no", *options, match="no such folder; expected the unpacked archives of DIR-Lab")


@pytest.mark.parametrize(
    "text",
    [
        "shape = [1, 2]",
        "shape = [7, 5, 4]\nspacing = [0.6, 0.7, inf]",
        "shape = [7, 5, 4]\nspacing = [nan, 0.7, 2.5]",
        "shape = [7, 5, 4]\nspacing = [0.6, 0.7, 0]",
        "shape = [inf, 5, 4]\nspacing = [0.6, 0.7, 2.5]",
        "shape = [7.5, 5, 4]\nspacing = [0.6, 0.7, 2.5]",
        f"shape = [7, 5, 4]\nspacing = [0.6, 0.7, 1{'0' * 400}]",
    ],
)
def test_invalid_geometries_are_refused(fails: Fails, command: str, raw: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "g.toml").write_text(f"[1]\n{text}\n")
    options = ("-o", tmp_path / "out", "--geometry", tmp_path / "g.toml")
    fails(command, raw, *options, match="g.toml: expected TOML tables such as")


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
