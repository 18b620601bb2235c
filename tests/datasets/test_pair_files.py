"""Tables of pairs: names, paths, delimiters, and errors for invalid tables."""

from pathlib import Path

import pytest

from nephi.datasets import PairFiles, read_pairs
from nephi.errors import DataError, UsageError


def write_table(folder: Path, text: str) -> Path:
    file = folder / "pairs.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    text = "fixed,moving,landmarks,name\na/x.nii.gz,b/y.mha,points.csv,first\n/data/z,b/w.v2.nii,,\n"
    assert read_pairs(write_table(tmp_path, text)) == [
        PairFiles("first", tmp_path / "a/x.nii.gz", tmp_path / "b/y.mha", landmarks=tmp_path / "points.csv"),
        PairFiles("z--w.v2", Path("/data/z"), tmp_path / "b/w.v2.nii"),
    ]


def test_default_names_are_unique(tmp_path: Path) -> None:
    text = "fixed,moving\nada/ex.nii.gz,ada/in.nii.gz\nben/ex.nii.gz,ben/in.nii.gz\nben/ex.nii.gz,ben/late in.nii.gz\n"
    names = [pair.name for pair in read_pairs(write_table(tmp_path, text))]
    assert names == ["ada_ex--ada_in", "ben_ex--ben_in", "ex--late_in"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns fixed, moving and at least one row"),
        ("fixed,moving\n", "at least one row"),
        ("fixed,colour\na,b\n", "unknown column 'colour'; expected some of name, fixed"),
        ("fixed,moving\na,\n", "line 2: expected a file in column 'moving', found an empty cell"),
        ("fixed\na\n", "line 2: expected a file in column 'moving', found an empty cell"),
        ("fixed,moving\na,b,c\n", "line 2: expected 2 cells as in the header, found more"),
        ("fixed,moving\na,b\na,b,c\n", "line 3: expected 2 cells as in the header, found more"),
        ("fixed,moving\na,b\na,b\n", "line 2: name: 2 pairs have the name 'a--b'; it must be unique"),
        ("fixed,moving,name\na,b,../c\n", "line 2: name: expected letters, .* found '../c'"),
        ("fixed,moving\na,b\na,x\0y\n", "line 3: expected file names, found one with a null"),
        ("fixed,moving,name\n\na,b,c/d\n", "line 3: name: expected letters"),
        ('fixed,moving,name\n"a\n",b,x\na,b,c\\d\n', "line 4: name: expected letters"),
        ("fixed,moving,name\na,b,x\na,b,.hidden\n", "line 3: name: expected letters"),
        ("fixed,moving,name\na,b,e\u202ed\n", "line 2: name: expected letters"),
        *(
            (f"fixed,moving,name\na,b,x\na,b,{name}\n", f"line 3: name: expected {what}")
            for name, what in (
                ("summary.csv", "another name than summary.csv"),
                ("Summary.CSV", "another name than summary.csv"),
                ("con", "no name that Windows reserves"),
                ("NUL.x", "no name that Windows reserves"),
                ("COM1.nii.gz", "no name that Windows reserves"),
                ("LPT²", "no name that Windows reserves"),
                ("x.", r"no '\.' at the end"),
                ("x..", r"no '\.' at the end"),
                ("n" * 300, "at most 200 bytes, found 300"),
                ("é" * 80, "at most 200 bytes, found 240"),
                ("漢" * 70, "at most 200 bytes, found 210"),
            )
        ),
        (
            "fixed,moving,name\na,b,Ada\na,c,x\na,b,ada\n",
            "line 4: name: 'ada' differs from 'Ada' .line 2. only in case",
        ),
        ("fixed,moving,name\na,b,\u00e9\na,b,e\u0301\n", "line 3: name: "),
        ("fixed,moving,name\na,b,straße\na,b,STRASSE\n", "line 3: name: 'STRASSE' differs from 'straße'"),
        ("fixed,moving,name\na,b,\u00c5\na,b,\u212b\n", "line 3: name: .* Unicode normalization"),
        (
            f"fixed,moving\n{'f' * 150}.nii,{'m' * 150}.nii\n",
            "line 2: name: at most|line 2: name: expected at most 200",
        ),
    ],
)
def test_invalid_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"pairs\.csv: .*{message}"):
        read_pairs(write_table(tmp_path, text))


def test_files_that_are_not_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file; expected a table of pairs"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="a table has no splits"):
        read_pairs(write_table(tmp_path, "fixed,moving\na,b\n"), "test")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="expected the index of a data set"):
        read_pairs(tmp_path / "other.json")


def test_valid_names_are_accepted(tmp_path: Path) -> None:
    names = ["case-01", "_x", "Größe", "console", "com", "com10x", "nullx", "x.nii", "n" * 200, "漢字", "2"]
    rows = "".join(f"a,b,{name}\n" for name in names)
    assert [pair.name for pair in read_pairs(write_table(tmp_path, f"fixed,moving,name\n{rows}"))] == names


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_table_with_delimiter(delimiter: str, tmp_path: Path) -> None:
    """Including empty cells, and a comma in a file name."""
    rows = [["name", "fixed", "fixed_mask", "moving", "landmarks"], ["a", "f.nii", "", "m.nii", ""]]
    rows.append(["b", '"1,5 mm.nii"', "mask.nii", "m.nii", "l.csv"])
    (tmp_path / "pairs.csv").write_text("\n".join(map(delimiter.join, rows)) + "\n", encoding="utf-8-sig")
    first, second = read_pairs(tmp_path / "pairs.csv")
    assert first == PairFiles("a", tmp_path / "f.nii", tmp_path / "m.nii")
    assert (second.fixed, second.fixed_mask) == (tmp_path / "1,5 mm.nii", tmp_path / "mask.nii")
    assert second.landmarks == tmp_path / "l.csv"
