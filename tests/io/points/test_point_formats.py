"""Points of 3-D Slicer, elastix and DIR-Lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, Points
from nephi.io import read_points, write_points

RAS = [[-10.5, 20.25, 30.0], [1.0, -2.0, 3.5]]
LPS = [[10.5, -20.25, 30.0], [-1.0, 2.0, 3.5]]


def markups(positions: list[list[float]], **changes: Any) -> str:
    """Return a file in the format of 3-D Slicer 5."""
    rows = [
        {"id": str(i + 1), "label": f"F-{i + 1}", "position": p, "positionStatus": "defined", "selected": True}
        for i, p in enumerate(positions)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": rows}
    return json.dumps({"markups": [{**markup, **changes}]})


def fcsv(positions: list[list[float]], system: str) -> str:
    """Return a file in the format of 3-D Slicer 4 and 5."""
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {system}\n"
    head += "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    return head + "".join(
        f"vtkMRMLMarkupsFiducialNode_{i},{x},{y},{z},0,0,0,1,1,1,0,F-{i + 1},,\n"
        for i, (x, y, z) in enumerate(positions)
    )


def read(path: Path, text: str, **options: Any) -> Points:
    path.write_text(text, encoding="utf-8")
    return read_points(path, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mrk.json", markups(LPS)),
        ("a.mrk.json", markups(RAS, coordinateSystem="RAS", coordinateUnits=["mm", "UCUM", "millimeter"])),
        ("a.fcsv", fcsv(LPS, "LPS")),
        ("a.fcsv", fcsv(RAS, "RAS")),
        ("a.fcsv", fcsv(LPS, "1")),
        ("a.fcsv", fcsv(RAS, "0")),
        ("a.fcsv", fcsv(LPS, "LPS").replace(",,\n", ",,,2,0\n")),
        ("a.txt", "point\n2\n10.5 -20.25 30\n-1 2 3.5\n"),
        ("a.pts", "point\r\n2\r\n10.5 -20.25 30\r\n-1 2 3.5\r\n\r\n"),
        ("a.csv", "id,x,y,z\nF-1,10.5,-20.25,30\nF-2,-1,2,3.5\n"),
    ],
)
@pytest.mark.parametrize("frame", ["lps", "ras"])
def test_frames(tmp_path: Path, name: str, text: str, frame: str) -> None:
    """Files of Slicer and elastix state the frame, CSV files do not."""
    read_ = read(tmp_path / name, text, frame=frame)
    expected = LPS if (frame, name) == ("ras", "a.csv") else RAS
    assert read_.coordinates.tolist() == expected
    assert read_.ids == (("0", "1") if name[-3:] in ("txt", "pts") else ("F-1", "F-2"))


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv", ".pts", ".csv"])
@pytest.mark.parametrize("frame", ["lps", "ras"])
def test_round_trip(tmp_path: Path, suffix: str, frame: str) -> None:
    points = Points(torch.tensor([[1 / 3, -2e-7, 1e5], [0.1, 0.2, 0.3]]).double(), ("a, b", 'c "d"'))
    write_points(tmp_path / f"a{suffix}", points, frame)
    back = read_points(tmp_path / f"a{suffix}", frame)
    assert torch.equal(back.coordinates, points.coordinates)
    assert back.ids == (points.ids if suffix != ".pts" else ("0", "1"))


def test_slicer_refuses_2d_points(tmp_path: Path) -> None:
    for suffix in (".mrk.json", ".fcsv"):
        with pytest.raises(DataError, match=r"expected 3-D points for 3-D Slicer, found 2-D"):
            write_points(tmp_path / f"a{suffix}", Points(torch.zeros(1, 2)))
    write_points(tmp_path / "a.pts", Points(torch.ones(1, 2)))
    assert (tmp_path / "a.pts").read_text(encoding="utf-8") == "point\n1\n-1.0 -1.0\n"


def test_voxels(tmp_path: Path, grid: Grid) -> None:
    d = grid.dimension
    voxels = torch.tensor([[1, 2, 3], [4, 0, 5]])[:, :d]
    expected = grid.voxel_to_world_points(voxels)
    rows = "\n".join(" ".join(map(str, row)) for row in voxels.tolist())
    elastix = read(tmp_path / "a.txt", f"index\n2\n{rows}\n", reference=grid)
    torch.testing.assert_close(elastix.coordinates, expected)
    rows = "\n".join("\t".join(map(str, row)) for row in (voxels + 1).tolist())
    dirlab = read(tmp_path / "a.txt", rows, format="dirlab", reference=grid)
    torch.testing.assert_close(dirlab.coordinates, expected)


@given(st.sets(st.sampled_from("xyz")))
def test_flips_of_dirlab(tmp_path_factory: pytest.TempPathFactory, axes: set[str]) -> None:
    grid = Grid.from_spacing((7, 5, 6), (1.0, 2.0, 3.0))
    path = tmp_path_factory.mktemp("flip") / "a.txt"
    points = read(path, "1 1 1\n7 2 4\n", format="dirlab", reference=grid, flip="".join(axes))
    first = [n - 1 if axis in axes else 0 for n, axis in zip(grid.shape, "xyz", strict=True)]
    second = [n - k if axis in axes else k - 1 for n, k, axis in zip(grid.shape, (7, 2, 4), "xyz", strict=True)]
    torch.testing.assert_close(points.coordinates, grid.voxel_to_world_points(torch.tensor([first, second])))


GRID = Grid.from_spacing((4, 4, 4), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.txt", "10 20 30\n", {}, "found '10 20 30'; give --points-format dirlab"),
        ("a.txt", "point\n3\n1 2 3\n", {}, "expected 3 points by line 2, found 1"),
        ("a.txt", "point\nx\n1 2 3\n", {}, r"finite number in line 2 \(the number of points\), found 'x'"),
        ("a.txt", "point\n", {}, "expected 'point' or 'index', the number of points, and the points"),
        ("a.txt", "point\n0\n", {}, "expected one line for each point, found none"),
        ("a.txt", "point\n2\n1 2 3\n1 2\n", {}, "as many in each line, found 2 in line 4"),
        ("a.txt", "point\n1\n1 nan 3\n", {}, "finite number in line 3, found 'nan'"),
        ("a.txt", "index\n1\n1 2\n", {"reference": GRID}, "expected 3-D points for the reference, found 2-D"),
        (
            "a.txt",
            "1 2 5\n",
            {"format": "dirlab", "reference": GRID},
            r"inside of the reference's \(4, .* found point 1 outside",
        ),
        ("a.txt", "hello\n", {"format": "dirlab", "reference": GRID}, "expected 2 or 3 numbers, as many in each line"),
        ("a.mrk.json", "{", {}, "expected a markups file of 3-D Slicer, could not read it"),
        ("a.mrk.json", "[" * 100_000, {}, "nested at most 32 deep"),
        *(
            (
                "a.mrk.json",
                f'{{"markups": [{{"coordinateSystem": "LPS", "controlPoints": {value}}}]}}',
                {},
                "expected points",
            )
            for value in ("5", "true", '"x"', "{}", "null", "[[]]")
        ),
        ("a.mrk.json", markups([[int("9" * 400), 0, 0]]), {}, "at most 300 digits"),
        ("a.mrk.json", markups(LPS).replace("F-1", "\\ud800"), {}, "found half of a surrogate pair in '.ud800'"),
        ("a.fcsv", fcsv(LPS, "LPS") + "x" * 200_000, {}, "could not read it .field larger than field limit"),
        ("a.mrk.json", "[]", {}, "expected one list of points .* found none"),
        ("a.mrk.json", '{"markups": [{}, {}]}', {}, "found 2 lists; save it alone"),
        ("a.mrk.json", markups(LPS, coordinateSystem="IJK"), {}, "expected the coordinateSystem LPS or RAS, found ijk"),
        ("a.mrk.json", '{"markups": [{"controlPoints": []}]}', {}, "found none; the frame is unknown"),
        ("a.mrk.json", markups(LPS, coordinateUnits="um"), {}, "expected points in mm, found the unit um"),
        ("a.mrk.json", markups(LPS, coordinateUnits=["um", "UCUM", "micrometre"]), {}, "in mm, found the unit .'um'"),
        ("a.mrk.json", markups([]), {}, "expected points .* found none"),
        ("a.mrk.json", markups([[1, 2]]), {}, "expected three coordinates for point F-1"),
        ("a.mrk.json", markups([[1, 2, None]]), {}, "expected a finite number in point 1, found None"),
        ("a.mrk.json", markups(LPS).replace("defined", "undefined"), {}, "for point F-1, found none; place it"),
        ("a.fcsv", fcsv(LPS, "IJK"), {}, "expected the line '# CoordinateSystem = ' .* found IJK"),
        ("a.fcsv", "1,2,3\n", {}, "expected the line '# CoordinateSystem = ' .* found none"),
        *(
            (
                "a.fcsv",
                fcsv(LPS, "LPS").replace("F-2,,", f"F-2,,,{status},0"),
                {},
                "for point F-2, found none; place it",
            )
            for status in (0, 1, 3)  # undefined, preview, missing: written as 0, 0, 0 by Slicer 5
        ),
        ("a.fcsv", fcsv([], "LPS"), {}, "expected one line for each point, found none"),
        ("a.fcsv", fcsv(LPS, "LPS").replace("10.5", "ten"), {}, "finite number in point 1, found 'ten'"),
        ("a.fcsv", fcsv(LPS, "LPS").replace("id,x,y", "id,u,v"), {}, "expected the columns x, y and z"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, name: str, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        read(tmp_path / name, text, **options)


def test_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.txt: expected a reference image for voxel indices"):
        read(tmp_path / "a.txt", "index\n1\n1 2 3\n")
    with pytest.raises(UsageError, match="flip: expected some of the axes x, y, z, got 'w'"):
        read(tmp_path / "a.txt", "1 2 3\n", format="dirlab", reference=GRID, flip="w")
    with pytest.raises(UsageError, match=r"format: expected one of csv, .*, got 'xls'"):
        read(tmp_path / "a.txt", "1 2 3\n", format="xls")
    with pytest.raises(DataError, match="no such file"):
        read_points(tmp_path / "none.txt")
