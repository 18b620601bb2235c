"""Sets of files are all old or all new, at whichever step the process is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nephi.errors import DataError
from nephi.io import recover_interrupted, replacing, replacing_files
from nephi.io.files.temporary import abandoned_folders, temporary_folder

from .commit_kills import NAMES, TERMINATED

OLD = {name: "old" for name in NAMES}
NEW = {name: "new" for name in NAMES if name != "stale"}
ROOT = Path(__file__).parents[3]


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text(encoding="utf-8") for name in NAMES if (folder / name).exists()}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def kill_at_each_step(root: Path, number: int) -> dict[Path, int]:
    """Return the folder of each step and the exit code of the process that was killed there; the last one was not."""
    command = [sys.executable, "-m", "tests.io.files.commit_kills", str(root), str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    codes = dict(map(int, line.split()) for line in done.stdout.splitlines())
    assert len(codes) > 5 and list(codes.values())[-1] == 0
    return {root / str(step) / "out": code for step, code in codes.items()}


def test_a_missing_folder_appears_with_all_files(tmp_path: Path) -> None:
    for folder, code in kill_at_each_step(tmp_path, signal.SIGKILL).items():
        assert code in (-signal.SIGKILL, 0)
        assert not folder.exists() or contents(folder) == NEW
        existed = folder.exists()
        with replacing_files(folder, ()):
            pass
        assert [p.name for p in folder.parent.iterdir()] == (["out"] if existed else [])


def test_old_and_new_files_are_never_mixed(tmp_path: Path) -> None:
    write(tmp_path / "before", {**OLD, "mine": "mine"})
    seals = set()
    for folder, code in kill_at_each_step(tmp_path, signal.SIGKILL).items():
        assert code in (-signal.SIGKILL, 0)
        found = contents(folder)
        assert found.items() <= OLD.items() or found.items() <= NEW.items()
        assert "seal" not in found or found in (OLD, NEW)
        recover_interrupted(folder)
        assert contents(folder) in (OLD, NEW)
        assert sorted(p.name for p in folder.iterdir()) == sorted([*contents(folder), "mine"])
        seals.add(contents(folder)["seal"])
    assert seals == {"old", "new"}


def test_links_are_written_through_whenever_killed(tmp_path: Path) -> None:
    """The target is in a separate folder per step, because links are relative."""
    before = write(tmp_path / "before", {"a": "old", "seal": "old"})
    write(before / "elsewhere", {"b": "old"})
    (before / "b").symlink_to("elsewhere/b")
    old = {"a": "old", "b": "old", "seal": "old"}
    for folder in kill_at_each_step(tmp_path, signal.SIGKILL):
        found = contents(folder)
        assert found.items() <= old.items() or found.items() <= NEW.items()
        recover_interrupted(folder)
        recover_interrupted(folder / "elsewhere")
        assert contents(folder) in (old, NEW)
        assert (folder / "b").is_symlink()
        assert [p.name for p in (folder / "elsewhere").iterdir()] == ["b"]
        assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("existing", [True, False])
def test_a_termination_leaves_all_or_nothing_at_once(existing: bool, tmp_path: Path) -> None:
    if existing:
        write(tmp_path / "before", OLD)
    for folder, code in kill_at_each_step(tmp_path, signal.SIGTERM).items():
        assert code in (TERMINATED, 0)
        whole = contents(folder) in (OLD, NEW) if existing else not folder.exists() or contents(folder) == NEW
        assert whole and not list(folder.parent.rglob(".nephi-*"))


def test_a_failed_rename_puts_the_old_files_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "out", OLD)
    rename, calls = os.replace, []

    def failing(source: Path, target: Path) -> None:
        if target == folder / "b" and not calls:
            calls.append(1)
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(DataError, match="Input/output error"), replacing_files(folder, NAMES) as work:
        write(work, NEW)
    assert contents(folder) == OLD and len(list(folder.iterdir())) == len(OLD)


def test_temporary_folders_of_running_and_other_processes_are_kept(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as live:
        host, boot, *rest = live.name.removeprefix(".nephi-").split("-")
        foreign = tmp_path / "-".join([".nephi-0123456789ab", boot, *rest])
        older_boot = tmp_path / "-".join([f".nephi-{host}", "01234567", *rest])
        reused = tmp_path / "-".join([f".nephi-{host}", boot, rest[0], "1", "x"])
        unmarked = tmp_path / ".nephi-abcd"
        for folder in (foreign, older_boot, reused, unmarked):
            folder.mkdir()
        assert abandoned_folders(tmp_path) == sorted([older_boot, reused])
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("x")
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", foreign.name, unmarked.name, live.name])
    assert not live.exists()


def test_a_link_named_like_a_temporary_folder_is_not_followed(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as live:
        host, boot, process, _, _ = live.name.removeprefix(".nephi-").split("-")
    write(tmp_path / "mine", {"a": "mine"})
    (tmp_path / f".nephi-{host}-{boot}-{process}-1-x").symlink_to("mine")
    recover_interrupted(tmp_path)
    assert contents(tmp_path / "mine") == {"a": "mine"}


def test_two_files_of_one_image_are_replaced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header, which names the voxel file, is moved last."""
    write(tmp_path, {})
    for name in ("i.mhd", "i.raw"):
        (tmp_path / name).write_text("old")
    order: list[str] = []
    rename = os.replace
    monkeypatch.setattr(
        os, "replace", lambda a, b: (order.append(f"{Path(a).parent.name} {Path(a).name}"), rename(a, b))
    )
    with replacing(tmp_path / "i.mhd") as temporary:
        temporary.write_text("new")
        temporary.with_suffix(".raw").write_text("new")
    moves = [each for each in order if "names" not in each]
    assert [each.split()[1] for each in moves] == ["i.mhd", "i.raw", "i.raw", "i.mhd"]
    assert {(tmp_path / name).read_text(encoding="utf-8") for name in ("i.mhd", "i.raw")} == {"new"}


@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_folder_that_is_a_link_is_kept(target: str, tmp_path: Path) -> None:
    write(tmp_path / "there", {})
    (tmp_path / "out").symlink_to(target)
    with replacing_files(tmp_path / "out", NAMES) as work:
        write(work, NEW)
    assert (tmp_path / "out").is_symlink() and contents(tmp_path / target) == NEW


def test_broken_links(tmp_path: Path) -> None:
    """A missing file is created, a missing folder (an unmounted disk) is not, and a cycle is an error."""
    (tmp_path / "missing").symlink_to("later")
    with replacing(tmp_path / "missing") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "later").read_text(encoding="utf-8") == "x" and (tmp_path / "missing").is_symlink()
    (tmp_path / "unmounted").symlink_to("disk/out")
    for write_there in (
        lambda: replacing(tmp_path / "unmounted"),
        lambda: replacing_files(tmp_path / "unmounted", NAMES),
    ):
        with pytest.raises(DataError, match="unmounted"), write_there():
            pass
    assert not (tmp_path / "disk").exists()
    (tmp_path / "circle").symlink_to("circle")
    for write_there in (lambda: replacing(tmp_path / "circle"), lambda: replacing_files(tmp_path / "circle", NAMES)):
        with pytest.raises(DataError, match="circle"), write_there() as place:
            place.mkdir(exist_ok=True)
            (place / "a").write_text("x")
    assert os.readlink(tmp_path / "circle") == "circle"


def test_a_new_folder_has_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    with replacing_files(tmp_path / "out", NAMES) as work:
        write(work, NEW)
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_commits_into_one_folder_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two registrations into one folder are not mixed."""
    fcntl = pytest.importorskip("fcntl")
    folder, rename, refused = write(tmp_path / "out", OLD), os.replace, []

    def trying(source: Path, target: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(Path(target).name)
        finally:
            os.close(descriptor)
        rename(source, target)

    monkeypatch.setattr(os, "replace", trying)
    with replacing_files(folder, NAMES) as work:
        write(work, NEW)
    assert sorted(refused) == sorted([*OLD, *NEW])
    assert contents(folder) == NEW


def test_names_that_are_too_long(tmp_path: Path) -> None:
    for place in (replacing(tmp_path / ("n" * 300)), replacing_files(tmp_path / ("n" * 300), NAMES)):
        with pytest.raises(DataError, match="File name too long"), place:
            pytest.fail("begun")
    assert list(tmp_path.iterdir()) == []
