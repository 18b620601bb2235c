"""Points in the encodings that spreadsheets write; errors about binary files name their kind."""

from pathlib import Path

import pytest

from nephi.errors import DataError
from nephi.io import read_point_pairs, read_points

TABLES = {
    "a.csv": "id,x,y,z\nlinks, 1.5,2,3\nÖl,4,5,6\n",
    "a.txt": "id\tx\ty\tz\nlinks\t1.5\t2\t3\nÖl\t4\t5\t6\n",
    "a.fcsv": "# CoordinateSystem = LPS\n1,1.5,2,3,0,0,0,1,1,1,0,links,,\n2,4,5,6,0,0,0,1,1,1,0,Öl,,\n",
    "a.pts": "point\n2\n1.5 2 3\n4 5 6\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TABLES)
def test_encodings(tmp_path: Path, name: str, ends: str, encoding: str) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / name).write_bytes((mark + TABLES[name].replace("\n", ends)).encode(encoding))
    points = read_points(tmp_path / name)
    assert points.coordinates.tolist() == [[-1.5, -2, 3], [-4, -5, 6]]
    assert points.ids == (("0", "1") if name == "a.pts" else ("links", "Öl"))


def test_pairs_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("fixed_x\tfixed_y\tmoving_x\tmoving_y\n1\t2\t3\t4\n", "utf-16")
    assert read_point_pairs(tmp_path / "a.csv").moving.coordinates.tolist() == [[-3, -4]]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"PK\x03\x04" + bytes(200), r"found a spreadsheet \(\.xlsx, \.ods\) or another archive; save it as CSV"),
        (b"x,y,z\n\x00\x01", "found binary data; save it as text in UTF-8"),
        ("x,y,z\n1,2,3\n".encode("utf-16-le"), "found binary data"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.fcsv", "a.pts"])
def test_binary_files(tmp_path: Path, name: str, contents: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        read_points(tmp_path / name)
