"""README's table of formats: what it says is written can be written and read, and nothing else is said.

Which tools agree with these files is tested in tests/interop, tool by tool.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import nephi
from nephi.cli.main import main

README = Path(__file__).parents[2] / "README.md"
# Files that a cell of the table stands for: row, format of `nephi export`, suffix, what `-t` needs to read it.
WRITTEN = [
    *(("displacement field, LPS mm", "itk", suffix, "") for suffix in (".nii.gz", ".nii", ".mha", ".nrrd")),
    ("displacement field, LPS mm", "nrrd", ".nrrd", ""),
    ("displacement field of 3-D Slicer", "slicer", ".nii.gz", ""),
    *(("ITK composite", "h5", suffix, "") for suffix in (".h5", ".tfm")),
    *(("affine", "itk", suffix, "") for suffix in (".mat", ".tfm", ".txt")),
    ("FSL relative warp", "fsl", ".nii.gz", "fsl"),
    ("Learn2Reg", "learn2reg", ".nii.gz", "learn2reg"),
]


def rows() -> dict[str, list[str]]:
    text = README.read_text(encoding="utf-8").split("## Formats")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert cells[0] == ["format", "read by `-t`", "written by `nephi export --format`", "tested with"]
    return {row[0]: row[1:] for row in cells[2:]}


@pytest.fixture(scope="module")
def pair() -> nephi.PhantomPair:
    grid = nephi.Grid.from_spacing((20, 18, 16), (3.0, 3.5, 4.0), (-30.0, -20.0, 10.0))
    return nephi.lung_phantom(motion=12.0, fixed_grid=grid, moving_grid=grid)


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(argument) for argument in arguments])


@pytest.mark.parametrize(("row", "format", "suffix", "convention"), WRITTEN)
def test_written_and_read(
    pair: nephi.PhantomPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    format: str,
    suffix: str,
    convention: str,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source, out, reference = tmp_path / "source.nii.gz", tmp_path / f"out{suffix}", tmp_path / "fixed.nii.gz"
    nephi.write_image(pair.fixed, reference)
    if row == "affine":
        source = tmp_path / "source.mat"
        nephi.write_affine(source, nephi.AffineTransform.translation(torch.tensor([3.0, -2.0, 1.0])))
    else:
        nephi.export_transform(pair.transform, pair.fixed.grid, source, "itk")
    run("export", "-t", source, "-r", reference, "--format", format, "-o", out)
    points = nephi.Points(pair.fixed.grid.voxel_centres().double()[3:-3, 3:-3, 3:-3].reshape(-1, 3)[::7])
    nephi.write_points(tmp_path / "in.csv", points)
    named = ("--transform-format", convention) if convention else ()
    run("points", "-t", out, *named, "-i", tmp_path / "in.csv", "-o", tmp_path / "moved.csv")
    moved, expected = nephi.read_points(tmp_path / "moved.csv"), points.mapped(nephi.read_transform(source))
    torch.testing.assert_close(moved.coordinates, expected.coordinates, rtol=0, atol=1e-3)
    assert (moved.coordinates - points.coordinates).norm(dim=-1).max() > 1


def test_the_table_says_this() -> None:
    table = rows()
    for name, (read, written, _) in table.items():
        claims = [claim for claim in WRITTEN if name.startswith(claim[0])]
        named = set(re.findall(r"--transform-format (\w+)", read))
        assert {claim[3] for claim in claims} - {""} == named, name
        assert {f"`{claim[1]}`" for claim in claims} == set(re.findall(r"`\w+`", written)), name
        suffixes = {s for s in re.findall(r"`(\.[\w.]+)`", name)} or {".nii.gz"} if claims else set()
        assert {claim[2] for claim in claims} == suffixes, name
        assert read, name
    assert all(any(name.startswith(claim[0]) for name in table) for claim in WRITTEN)
    assert set(nephi.FORMATS) == {claim[1] for claim in WRITTEN}
