"""Value of voxels outside a warped image, by the file of the transform."""

from pathlib import Path

import pytest

import nephi
from nephi.fields import StoredTransform, nephi_bytes

GRID = nephi.Grid.from_spacing((4, 5), (1.0, 2.0))


def save(path: Path, settings: dict[str, object]) -> Path:
    """Write a `.nephi` file of an identity with these settings."""
    stored = StoredTransform(nephi.AffineTransform.identity(2), GRID, GRID, settings=settings)
    path.write_bytes(nephi_bytes(stored))
    return path


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"image": {"outside": -1024.0}}, -1024.0),
        ({"image": {"outside": 3}}, 3.0),
        ({"image": {}}, 0.0),
        ({}, 0.0),
    ],
)
def test_value_outside_is_that_of_the_stored_settings(
    settings: dict[str, object], expected: float, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.nephi", settings)
    assert nephi.results.outside_value(path) == nephi.results.outside_value(path, "bspline") == expected
    assert nephi.results.outside_value(path, "label") == nephi.results.outside_value(path, "nearest") == 0


def test_value_outside_is_0_for_other_files(tmp_path: Path) -> None:
    nephi.io.write_affine(tmp_path / "a.tfm", nephi.AffineTransform.identity(2))
    assert nephi.results.outside_value(tmp_path / "a.tfm") == 0


def test_folders_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(nephi.DataError, match=r"expected a transform \(\.nephi, .*found a folder; give the file in it"):
        nephi.read_transform(tmp_path)
    with pytest.raises(nephi.DataError, match=r"expected a transform \(\.nephi, .*found \.doc"):
        nephi.read_transform(tmp_path / "a.doc")


@pytest.mark.parametrize("value", ["-1024", None, float("nan"), [1.0]])
def test_stored_values_that_are_not_numbers_are_refused(value: object, tmp_path: Path) -> None:
    path = save(tmp_path / "a.nephi", {"image": {"outside": value}})
    with pytest.raises(nephi.DataError, match=r"a\.nephi: expected a finite number as image\.outside"):
        nephi.results.outside_value(path)
    assert nephi.results.outside_value(path, "label") == 0
