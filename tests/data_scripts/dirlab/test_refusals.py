"""Test what conversions of DIR-Lab's files refuse: wrong sizes, offsets, landmarks and geometries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nephi
from data_scripts.dirlab import CaseGeometry, read_volume

from ..conftest import Fails, Run
from .conftest import LAYOUTS, SHAPE, SPACING, Options


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
