"""`--guide-landmarks` and `--guide-labels`: their weights, errors and output."""

from dataclasses import replace
from pathlib import Path

import pytest

import nephi
from nephi.cli.guide_options import split_weight
from nephi.cli.register_methods import with_channels


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


def similarities(*names: str, channels: int = 2, windows: tuple[tuple[float, float], ...] = ()) -> nephi.Settings:
    return with_channels(nephi.Settings(), names, windows, channels)


def test_one_similarity_for_all_channels_or_one_for_each() -> None:
    assert similarities("mind").objective.similarity == "mind" and similarities("mind").channels == ()
    tables = similarities("mse", "0.5 mind", windows=((0.0, 1.0), (0.0, 9.0))).channels
    assert [table.similarity for table in tables] == ["mse", "0.5 mind"]
    assert [table.window for table in tables] == [(0.0, 1.0), (0.0, 9.0)]
    assert similarities(windows=((0.0, 5.0),)).image.window == (0.0, 5.0)
    assert similarities() == nephi.Settings()


def test_options_replace_tables_of_the_settings() -> None:
    tables = tuple(nephi.settings.ChannelSettings(name, (0.0, 1.0)) for name in ("mse", "ncc"))
    settings = with_channels(replace(nephi.Settings(), channels=tables), ["pooled"], [], 2)
    assert settings.objective.similarity == "pooled"
    assert [(table.similarity, table.window) for table in settings.channels] == [("", (0.0, 1.0))] * 2


def test_numbers_of_options_that_match_no_channels() -> None:
    with pytest.raises(nephi.UsageError, match="--similarity: expected one, or one for each of 3 channels, got 2"):
        similarities("mse", "ncc", channels=3)
    with pytest.raises(nephi.UsageError, match="--similarity: expected one, got 2"):
        similarities("mse", "ncc", channels=1)
