"""Landmark files."""

import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import DataError, DataWarning, UsageError
from nephi.geometry import PointPairs, Points
from nephi.io import read_point_pairs, read_points, write_point_pairs, write_points

FLOATS = st.floats(-1e4, 1e4, allow_nan=False)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_lps_is_the_default_and_becomes_ras(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\nα,1,2,3,4,5,6\n")
    pairs = read_point_pairs(path)
    assert pairs.fixed.coordinates.tolist() == [[-1, -2, 3]]
    assert pairs.moving.coordinates.tolist() == [[-4, -5, 6]]
    assert pairs.fixed.ids == pairs.moving.ids == ("α",)
    assert read_point_pairs(path, "ras").moving.coordinates.tolist() == [[4, 5, 6]]


def test_2d_flips_both_axes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "fixed_x,fixed_y,moving_x,moving_y\n1,2,3,4\n5,6,7,8\n")
    pairs = read_point_pairs(path)
    assert pairs.fixed.coordinates.tolist() == [[-1, -2], [-5, -6]]
    assert pairs.moving.coordinates.tolist() == [[-3, -4], [-7, -8]]
    assert pairs.fixed.ids == ("0", "1")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("id,x,y,z\na,1,2,3\n", "utf-8-sig"),
        (" id , x, y ,z\n a , 1 , 2,3 \n\n", "utf-8"),
        ("Z,label,Y,X,ID\r\n3,left lung,2,1,a\r\n", "utf-8"),
        ('id,x,y,z,note\na,1,2,3,"one, two"\n', "utf-8"),
        ('note, id, x, y, z\n "one, two", a, 1, 2, 3\n', "utf-8"),
        ("id,x,y,z\na,1e0,2.0,+3", "utf-8"),
        ("id,x,y,z,note\na,1,2,3\n", "utf-8"),
        ("id,x,y,z\na,1,2,3,,\n", "utf-8"),
        ("id;x;y;z\na;1;2;3\n", "utf-8-sig"),
        ("id ; x; y ;z\r\n a ; 1,0 ; 2;3,00 \r\n", "utf-8"),
        ("sep=;\nid;x;y;z\na;1;2,0;3\n", "utf-8"),
        ("id\tx\ty\tz\na\t1\t2\t3\n", "utf-8"),
        ("label,id\tx\ty\tz\tid\n,\t1,0\t2,0\t3,0\ta\n", "utf-8"),
        ('"id";"x";"y";"z";"one, two"\n"a";"1,0";"2,00";"3";"4, 5"\n', "utf-8"),
        ('id,x,y,z\na,"1,0","2,00",3\n', "utf-8"),
        ("label;x;y;z\na;1;2;3\n", "utf-8"),
    ],
)
def test_dialects(tmp_path: Path, text: str, encoding: str) -> None:
    points = read_points(write(tmp_path / "a.csv", text, encoding), "ras")
    assert points.coordinates.tolist() == [[1, 2, 3]]
    assert points.ids == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "found an empty file"),
        ("id,x,y\n", "found only the header"),
        ("id,x\n1,2\n", "expected the columns x,y, separated by commas, found id,x; missing: y"),
        ("id;x\n1;2\n", "expected the columns x,y, separated by semicolons, found id,x; missing: y"),
        ("id x y\n1 2 3\n", "expected the columns x,y, separated by commas, found id x y; missing: x,y"),
        ("id,x,y\na,1,5,2,5\n", "expected 3 cells in line 2 as in the header, found 5; numbers with a decimal comma"),
        ("id;x;y\na;1,5;2.5\n", "found '1,5'"),
        ("id;x;y\na;1.234,5;2\n", "found '1.234,5'"),
        ("id;x;y\na;1,234,5;2\n", "found '1,234,5'"),
        ("id,x,y,x\na,1,2,3\n", "expected one column x, found 2"),
        ("id,x,y,z\n1,2,3,4\n2,2,three,4\n", "expected a finite number in line 3, column y, found 'three'"),
        ("id,x,y\n1,2,nan\n", "in line 2, column y, found 'nan'"),
        ("id,x,y\n1,2,inf\n", "in line 2, column y, found 'inf'"),
        ("id,x,y\n1,2\n", "in line 2, column y, found ''"),
        ('id,x,y\n"a\nb",2,3\n2,,3\n', "in line 4, column x, found ''"),
    ],
)
def test_errors_name_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(DataError) as caught:
        read_points(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_decimal_commas_that_could_separate_thousands_are_read_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id;x;y\na;1,234;-12,500\n")
    with pytest.warns(DataWarning, match=r"a\.csv: read numbers such as 1,234 with a decimal comma, as 1\.234"):
        points = read_points(path, "ras")
    assert points.coordinates.tolist() == [[1.234, -12.5]]
    clear = write(tmp_path / "b.csv", "id;x;y\na;1,234;0,500\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_points(clear, "ras").coordinates.tolist() == [[1.234, 0.5]]


def test_pairs_in_a_table_with_semicolons(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id;fixed_x;fixed_y;moving_x;moving_y\n7;1,5;2;3;-4,25\n")
    pairs = read_point_pairs(path)
    assert pairs.fixed.coordinates.tolist() == [[-1.5, -2]] and pairs.moving.coordinates.tolist() == [[-3, 4.25]]
    assert pairs.fixed.ids == ("7",)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("label,x,y\nb,1,2\na,3,4\n", ("b", "a")),
        ("label,x,y\n1,1,2\n1,3,4\n", None),
        ("name,label,x,y\nb,1,1,2\na,1,3,4\n", ("b", "a")),
        ("id,label,x,y\n,b,1,2\n,a,3,4\n", ("b", "a")),
        ("id,x,y\n,1,2\n,3,4\n", None),
    ],
)
def test_columns_of_ids(tmp_path: Path, text: str, ids: tuple[str, ...] | None) -> None:
    points = read_points(write(tmp_path / "a.csv", text))
    assert points.has_ids == (ids is not None) and points.ids == (ids or ("0", "1"))


def test_pairs_need_both_sides_in_one_dimension(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,fixed_x,fixed_y,fixed_z,moving_x,moving_y\n1,2,3,4,5,6\n")
    with pytest.raises(DataError, match="missing: moving_z"):
        read_point_pairs(path)


@pytest.mark.parametrize("separator", ",;\t")
def test_points_of_one_image_for_pairs_and_the_reverse(tmp_path: Path, separator: str) -> None:
    one, two = "id,x,y\n1,2,3\n", "id,fixed_x,fixed_y,moving_x,moving_y\n1,2,3,4,5\n"
    for text, read, advice in (
        (
            one,
            read_point_pairs,
            "missing: fixed_x,fixed_y,moving_x,moving_y; these are points of one image: .*--moving-",
        ),
        (two, read_points, "missing: x,y; these are pairs of points: save the columns of one image"),
    ):
        path = write(tmp_path / "a.csv", text.replace(",", separator))
        with pytest.raises(DataError, match=advice):
            read(path)


@pytest.mark.parametrize("contents", [b"\xff\xfe\x00id", b"id,x,y\n\x80,1,2\n", bytes(range(256))])
def test_binary_files_are_refused(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(contents)
    with pytest.raises(DataError, match=r"a\.csv: expected (a CSV file|text)"):
        read_points(tmp_path / "a.csv")


def test_unknown_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y\n1,2\n")
    with pytest.raises(UsageError, match=r"frame: expected lps .* got 'voxel'"):
        read_points(path, "voxel")
    with pytest.raises(UsageError, match=r"frame: expected lps .* got 'LPS'"):
        write_points(tmp_path / "b.csv", read_points(path), "LPS")
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize("frame", ["lps", "ras"])
@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1, max_size=5))
def test_points_round_trip_exactly(
    tmp_path_factory: pytest.TempPathFactory, frame: str, rows: list[tuple[float, float, float]]
) -> None:
    path = tmp_path_factory.mktemp("points") / "a.csv"
    points = Points(torch.tensor(rows, dtype=torch.float64), tuple(f"ü, {i}" for i in range(len(rows))))
    write_points(path, points, frame)
    back = read_points(path, frame)
    assert torch.equal(back.coordinates, points.coordinates)
    assert back.ids == points.ids


def test_contents_of_written_files(tmp_path: Path) -> None:
    write_points(tmp_path / "a.csv", Points(torch.tensor([[0.1, -2, 3]], dtype=torch.float64), ("a",)))
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "id,x,y,z\na,-0.1,2.0,3.0\n"
    pairs = PointPairs.from_coordinates(torch.tensor([[1.0, 2]]), torch.tensor([[3.0, 4]]), ["b"])
    write_point_pairs(tmp_path / "b.csv", pairs, "ras")
    assert (tmp_path / "b.csv").read_text(
        encoding="utf-8"
    ) == "id,fixed_x,fixed_y,moving_x,moving_y\nb,1.0,2.0,3.0,4.0\n"
    back = read_point_pairs(tmp_path / "b.csv", "ras")
    assert torch.equal(back.moving.coordinates, pairs.moving.coordinates)
