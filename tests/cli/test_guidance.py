"""`--guide-landmarks` and `--guide-labels`: their weights, errors and output."""

from pathlib import Path

import pytest

import nephi
from nephi.cli.guide_options import split_weight


@pytest.mark.parametrize(
    ("value", "path", "weight"),
    [
        ("a.csv", "a.csv", None),
        ("a.csv:2", "a.csv", 2.0),
        ("C:/a.csv:1e-1", "C:/a.csv", 0.1),
        ("C:/a.csv", "C:/a.csv", None),
        ("folder:x/a.csv", "folder:x/a.csv", None),
        (":3", ":3", None),
    ],
)
def test_weight_after_the_last_colon(value: str, path: str, weight: float | None) -> None:
    assert split_weight(value, "--guide-landmarks") == (Path(path), weight)


def test_a_file_with_the_whole_name_is_no_weight(tmp_path: Path) -> None:
    path = tmp_path / "a.csv:2"
    path.write_text("", encoding="utf-8")
    assert split_weight(str(path), "--guide-landmarks") == (path, None)


@pytest.mark.parametrize("word", ["0", "-1", "nan", "inf"])
def test_weights_above_0(word: str) -> None:
    with pytest.raises(nephi.UsageError, match=f"--guide-labels: expected a finite weight above 0 .*got {word}"):
        split_weight(f"a.nii.gz:{word}", "--guide-labels")
