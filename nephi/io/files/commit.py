"""Putting a set of files in place in one ordered commit, which the next run settles when the process was killed in it.

The temporary folder `work` holds the new files in `new`. While a commit is under way it also holds the list of its
names (`names`), the older files (`old`), and, once all of those are out of the way, an empty file (`emptied`). So old
and new files never lie side by side under their final names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from nephi.io.files.temporary import abandoned_folders, temporary_folder
from nephi.io.files.uninterrupted import uninterrupted


class _Slot(NamedTuple):
    """Where the new file lies, its final place, and where the older file goes; all on one file system."""

    new: Path
    place: Path
    old: Path


def commit(work: Path, folder: Path, names: Sequence[str]) -> None:
    """Move the files of `work/new` to `folder`, in place of all older files of those `names`.

    The last name seals the set: its older file goes first, its new file comes last. Names without a new file are
    removed. A name that is a symbolic link in `folder` stays one: the file it points to is replaced. SIGINT and
    SIGTERM wait for the end. Raises `OSError` when a file cannot be moved; then all older files are back in place.
    """
    with ExitStack() as stack:
        _stage_linked(work, folder, names, stack)
        slots = _slots(work, folder, names)
        (work / "old").mkdir()
        _write_names(work, names)
        stack.enter_context(_locked(folder))
        with uninterrupted():
            moved: list[tuple[Path, Path]] = []
            try:
                for slot in reversed(slots):
                    if os.path.lexists(slot.place):
                        _move(slot.place, slot.old, moved)
                (work / "emptied").touch()
                for slot in slots:
                    if os.path.lexists(slot.new):
                        _move(slot.new, slot.place, moved)
            except OSError:
                for source, target in reversed(moved):
                    with suppress(OSError):
                        os.replace(target, source)
                raise
            (work / "names").unlink()  # nothing is left to settle


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes' commits into the folder waiting, where system and file system have locks."""
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def settle_abandoned(folder: Path) -> None:
    """Remove what killed processes left in `folder`, after their commits: finished where begun, else undone."""
    for work in abandoned_folders(folder):
        with suppress(OSError):
            _settle(work, folder)
            shutil.rmtree(work, ignore_errors=True)


def _settle(work: Path, folder: Path) -> None:
    """Finish a commit whose older files were all out of the way, put them back otherwise; overwrite nothing."""
    emptied = (work / "emptied").exists()
    for slot in _slots(work, folder, _read_names(work)):
        source = slot.new if emptied else slot.old
        if os.path.lexists(source) and not os.path.lexists(slot.place):
            os.replace(source, slot.place)


def _slots(work: Path, folder: Path, names: Sequence[str]) -> list[_Slot]:
    slots = []
    for name in names:
        new, place = work / "new" / name, folder / name
        if new.is_symlink():  # see _stage_linked
            staged = Path(os.readlink(new))
            slots.append(_Slot(staged, real_path(place), staged.with_name("old")))
        else:
            slots.append(_Slot(new, place, work / "old" / name))
    return slots


def _stage_linked(work: Path, folder: Path, names: Sequence[str], stack: ExitStack) -> None:
    """Copy new files whose places are links beside the files that these point to, perhaps on other disks.

    In `work/new` a link takes the place of the file.
    """
    for name in names:
        new, place = work / "new" / name, folder / name
        if place.is_symlink() and new.exists():
            beside = stack.enter_context(temporary_folder(real_path(place).parent))
            shutil.move(new, beside / "new")
            new.symlink_to(beside / "new")


def real_path(path: Path) -> Path:
    """Return the path with all symbolic links resolved, also of the last part, and one that points nowhere."""
    return Path(os.path.realpath(path))


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    os.replace(source, target)
    moved.append((source, target))


def _write_names(work: Path, names: Sequence[str]) -> None:
    (work / "names.partial").write_bytes(b"\0".join(map(os.fsencode, names)))
    os.replace(work / "names.partial", work / "names")


def _read_names(work: Path) -> list[str]:
    """Return the names of a commit that was begun, without any that are not plain file names."""
    try:
        names = [os.fsdecode(name) for name in (work / "names").read_bytes().split(b"\0")]
    except FileNotFoundError:
        return []
    return [name for name in names if name not in ("", ".", "..") and os.sep not in name]
