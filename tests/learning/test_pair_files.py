"""Tables of pairs: names, paths, and what is refused."""

from pathlib import Path

import pytest

from nephi.errors import DataError, UsageError
from nephi.learning import PairFiles, read_pairs


def table(folder: Path, text: str) -> Path:
    file = folder / "pairs.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    text = "fixed,moving,landmarks,name\na/x.nii.gz,b/y.mha,points.csv,first\n/data/z,b/w.v2.nii,,\n"
    assert read_pairs(table(tmp_path, text)) == [
        PairFiles("first", tmp_path / "a/x.nii.gz", tmp_path / "b/y.mha", landmarks=tmp_path / "points.csv"),
        PairFiles("z--w.v2", Path("/data/z"), tmp_path / "b/w.v2.nii"),
    ]


def test_names_tell_pairs_apart(tmp_path: Path) -> None:
    text = "fixed,moving\nada/ex.nii.gz,ada/in.nii.gz\nben/ex.nii.gz,ben/in.nii.gz\nben/ex.nii.gz,ben/late in.nii.gz\n"
    names = [pair.name for pair in read_pairs(table(tmp_path, text))]
    assert names == ["ada_ex--ada_in", "ben_ex--ben_in", "ex--late_in"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected the columns fixed, moving and at least one row"),
        ("fixed,moving\n", "at least one row"),
        ("fixed,colour\na,b\n", "unknown column 'colour'; expected some of name, fixed"),
        ("fixed,moving\na,\n", "line 2: expected a file under 'moving', found nothing"),
        ("fixed\na\n", "line 2: expected a file under 'moving', found nothing"),
        ("fixed,moving\na,b,c\n", "line 2: expected 2 cells as in the header, found more"),
        ("fixed,moving\na,b\na,b,c\n", "line 3: expected 2 cells as in the header, found more"),
        ("fixed,moving\na,b\na,b\n", "line 2: 2 pairs are called 'a--b'; give each a name of its own"),
        ("fixed,moving,name\na,b,../c\n", "line 2: name: expected letters, .* found '../c'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"pairs\.csv: .*{said}"):
        read_pairs(table(tmp_path, text))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: expected a table of pairs, could not read it"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="a table has no splits"):
        read_pairs(table(tmp_path, "fixed,moving\na,b\n"), "test")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="expected the index of a data set"):
        read_pairs(tmp_path / "other.json")
