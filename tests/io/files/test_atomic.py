"""Files are written complete or not at all."""

from pathlib import Path

import pytest

from nephi.errors import DataError
from nephi.io import replacing, write_text


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_new_contents_replace_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text(encoding="utf-8") == "old"
        assert temporary.name == "result.txt"
    assert path.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["result.txt"]


def test_second_files_are_moved_with_the_first(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.mhd") as temporary:
        temporary.write_text("header")
        temporary.with_suffix(".raw").write_text("voxels")
    assert names(tmp_path) == ["a.mhd", "a.raw"]


def test_files_have_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_link_is_kept_and_its_target_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/a\.txt: cannot write into the folder .*nowhere"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DataError, match=r"^/proc/a\.txt: cannot write into the folder /proc"):
        write_text("/proc/a.txt", "x")  # not writable, even for root


def test_a_file_as_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"cannot write into the folder .*file"):
        write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.parametrize("obstacle", ["folder", "/dev/null"])
def test_only_files_are_replaced(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="expected a path of a file"):
        write_text(tmp_path / obstacle, "x")


def test_a_full_disk_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt: could not be written \(No space left"), replacing(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "φ\n")
    assert (tmp_path / "a.txt").read_bytes() == "φ\n".encode()


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt: could not be written"), replacing(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_link_to_a_file_of_another_suffix(tmp_path: Path) -> None:
    """As in stores that name files by a hash."""
    (tmp_path / "link.mhd").symlink_to("blob")
    with replacing(tmp_path / "link.mhd") as temporary:
        temporary.write_text("header")
        temporary.with_suffix(".raw").write_text("voxels")
    assert names(tmp_path) == ["blob", "link.mhd", "link.raw"]
    assert (tmp_path / "link.mhd").read_text(encoding="utf-8") == "header"
