"""Replace a set of files in one ordered commit; if the process is killed in it, the next one finishes or undoes it.

The temporary folder `work` holds the new files in `new`. During a commit it also holds the list of file names
(`names`), the old files (`old`) and, once all of those are moved there, an empty file (`emptied`). Old and new files
are therefore never mixed under their final names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from nephi.io.files.temporary import abandoned_folders, deferred_signals, temporary_folder


class _Replacement(NamedTuple):
    """Paths of the new file, of its target, and of the backup of the old file; all on one file system."""

    new: Path
    target: Path
    backup: Path


def commit(work: Path, folder: Path, names: Sequence[str]) -> None:
    """Move the files of `work/new` to `folder`, and remove all old files of these `names`.

    The last name marks a complete set: its old file is removed first, its new file moved last. Names without a new
    file are removed. If a name is a symbolic link in `folder`, the file it points to is replaced. Signals are deferred
    to the end. Raises `OSError` when a file cannot be moved, after all old files were moved back.
    """
    with ExitStack() as stack:
        _stage_link_targets(work, folder, names, stack)
        replacements = _replacements(work, folder, names)
        (work / "old").mkdir()
        _write_names(work, names)
        stack.enter_context(_lock_folder(folder))
        with deferred_signals():
            moved: list[tuple[Path, Path]] = []
            try:
                for replacement in reversed(replacements):
                    if os.path.lexists(replacement.target):
                        _move(replacement.target, replacement.backup, moved)
                (work / "emptied").touch()
                for replacement in replacements:
                    if os.path.lexists(replacement.new):
                        _move(replacement.new, replacement.target, moved)
            except OSError:
                for source, target in reversed(moved):
                    with suppress(OSError):
                        os.replace(target, source)
                raise
            (work / "names").unlink()  # the commit is complete


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against commits of other processes, if the system and its file system support locks."""
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


def recover_interrupted(folder: Path) -> None:
    """Finish or undo the commits of killed processes into `folder`, and delete their temporary folders."""
    for work in abandoned_folders(folder):
        with suppress(OSError):
            _finish_or_undo(work, folder)
            shutil.rmtree(work, ignore_errors=True)


def _finish_or_undo(work: Path, folder: Path) -> None:
    """Finish a commit if all of its old files were removed, otherwise move them back; overwrite nothing."""
    emptied = (work / "emptied").exists()
    for replacement in _replacements(work, folder, _read_names(work)):
        source = replacement.new if emptied else replacement.backup
        if os.path.lexists(source) and not os.path.lexists(replacement.target):
            os.replace(source, replacement.target)


def _replacements(work: Path, folder: Path, names: Sequence[str]) -> list[_Replacement]:
    replacements = []
    for name in names:
        new, target = work / "new" / name, folder / name
        if new.is_symlink():  # see _stage_link_targets
            staged = Path(os.readlink(new))
            replacements.append(_Replacement(staged, real_path(target), staged.with_name("old")))
        else:
            replacements.append(_Replacement(new, target, work / "old" / name))
    return replacements


def _stage_link_targets(work: Path, folder: Path, names: Sequence[str], stack: ExitStack) -> None:
    """Move each new file whose target is a symbolic link beside the file it points to, which may be on another disk.

    In `work/new` a link to the moved file replaces it.
    """
    for name in names:
        new, target = work / "new" / name, folder / name
        if target.is_symlink() and new.exists():
            staging = stack.enter_context(temporary_folder(real_path(target).parent))
            shutil.move(new, staging / "new")
            new.symlink_to(staging / "new")


def real_path(path: Path) -> Path:
    """Return the path with all symbolic links resolved, including the last part and broken links."""
    return Path(os.path.realpath(path))


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    os.replace(source, target)
    moved.append((source, target))


def _write_names(work: Path, names: Sequence[str]) -> None:
    (work / "names.partial").write_bytes(b"\0".join(map(os.fsencode, names)))
    os.replace(work / "names.partial", work / "names")


def _read_names(work: Path) -> list[str]:
    """Read the names of an interrupted commit, except any that are not plain file names."""
    try:
        names = [os.fsdecode(name) for name in (work / "names").read_bytes().split(b"\0")]
    except FileNotFoundError:
        return []
    return [name for name in names if name not in ("", ".", "..") and os.sep not in name]
