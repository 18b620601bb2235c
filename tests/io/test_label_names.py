"""Names of labels in the formats of three tools."""

from pathlib import Path

import pytest

from nephi.errors import DataError
from nephi.io import read_label_names

ITK_SNAP = """\
################################################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "Left lung"
   12     0  255    0     0.35  1  1    "Lobe "upper" #2"
"""
SLICER = """\
# Color table file /home/x/Lungs.ctbl
# 3 values
0 background 0 0 0 0
1 left_lung 128 174 128 255
12 lobe 241 214 145 255
"""
FREESURFER = """\
#$Id: FreeSurferColorLUT.txt,v 1.38 2009/08/12 13:58:27 nicks Exp $

#No. Label Name:                            R   G   B   A

0   Unknown                                 0   0   0   0
2   Left-Cerebral-White-Matter              245 245 245 0
1002    ctx_lh_caudalanteriorcingulate      125 100 160 0
4   Left-Lateral-Ventricle                  120 18  134
"""


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "names.txt"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ITK_SNAP, {0: "Clear Label", 1: "Left lung", 12: 'Lobe "upper" #2'}),
        (SLICER, {0: "background", 1: "left lung", 12: "lobe"}),
        (
            FREESURFER,
            {
                0: "Unknown",
                2: "Left-Cerebral-White-Matter",
                1002: "ctx_lh_caudalanteriorcingulate",
                4: "Left-Lateral-Ventricle",
            },
        ),
    ],
)
def test_the_format_is_recognised(tmp_path: Path, text: str, expected: dict[int, str]) -> None:
    assert read_label_names(written(tmp_path, text)) == expected
    assert read_label_names(written(tmp_path, text.replace("\n", "\r\n"))) == expected
    assert read_label_names(written(tmp_path, "\ufeff" + text, "utf-16-le")) == expected


def test_names_in_any_script(tmp_path: Path) -> None:
    assert read_label_names(written(tmp_path, "3 Лёгкое 1 2 3 4\n")) == {3: "Лёгкое"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("# only comments\n\n", "for each label, found none"),
        ("1 liver 1 2 3 4\nspleen\n", "found 'spleen' in line 2"),
        ("1 left lung 1 2 3 4\n", "name without blanks"),
        ("1 liver 1 2 x 4\n", "in line 1"),
        ("-1 liver 1 2 3 4\n", "in line 1"),
        ("1.5 liver 1 2 3 4\n", "in line 1"),
        ("1_0 liver 1 2 3 4\n", "in line 1"),
        ("\u0663 liver 1 2 3 4\n", "in line 1"),
        ("9" * 5000 + " liver 1 2 3 4\n", "in line 1"),
        ('1 255 0 0 1 1 1 "liver\n', "in line 1"),
        ('1 255 0 0 1 1 "liver"\n', "in line 1"),
        ('1 255 0 0 1 1 1 "liver" 7\n', "in line 1"),
        ("1 liver 1 2 3\n2 spleen 1 2 3\n1 kidney 1 2 3\n", "found 'liver' and 'kidney' for 1 in line 3"),
        ("1 " + " " * 200_000 + "x 1 2 3 y", "in line 1"),
        ("1 liver\0 1 2 3 4\n", "binary data"),
        ("#" * (2**24 + 1), "at most 16777216 characters"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_label_names(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_label_names(tmp_path / "none.ctbl")


def test_the_same_name_twice_is_accepted(tmp_path: Path) -> None:
    assert read_label_names(written(tmp_path, "1 liver 1 2 3\n1 liver 4 5 6\n")) == {1: "liver"}
