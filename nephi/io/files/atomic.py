"""Writing files in full or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nephi.errors import DataError
from nephi.io.files.commit import commit, real_path, settle_abandoned
from nephi.io.files.temporary import temporary_folder
from nephi.io.foreign import suffix_of

WRITABLE = "; create it, or choose a folder you may write to"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends well, its file takes the place of `path` at once.

    The temporary file has the final name, in a hidden folder beside `path`: formats that choose by suffix or
    that name a second file (`.mhd` and its `.raw`) come out right, and no copy between disks is needed. Second
    files found there are put in place with the first. A `path` that is a symbolic link stays one: the file it points
    to is replaced. When the block raises, an older file at `path` stays as it was and nothing is left over.

    Raises `DataError` naming the file when the folder is missing or not writable, when something that is not a
    file is in the way, or when writing fails (a full disk).
    """
    target = _file_place(Path(path))
    settle_abandoned(target.parent)
    with _working(target.parent, f"{path}: cannot write into the folder {target.parent}", WRITABLE) as work:
        # The file that a link points to may have any name: the suffix of the link then says what to write.
        new = work / "new" / (target.name if suffix_of(target) == suffix_of(path) else Path(path).name)
        try:
            yield new
            if len(os.listdir(work / "new")) <= 1:
                os.replace(new, target)
            else:
                new.rename(new.with_name(target.name))
                names = os.listdir(work / "new")
                commit(work, target.parent, sorted(names, key=lambda name: (name == target.name, name)))
        except OSError as error:
            raise DataError(f"{path}: could not be written ({error.strerror or error})") from error


@contextmanager
def replacing_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a temporary folder for new files; when the block ends well they take the place of all `names` in `folder`.

    A folder that is missing appears with its files in one rename. In one that exists, older files of these names go
    first, the last name before the others; then the new files come, the last name at the end (see `commit`): older and
    newer files are never mixed, not even when the process is killed, and the next call settles what that left over.
    When the block raises, everything stays as it was.

    Raises `DataError` naming the folder when it cannot be written.
    """
    text = f"{folder}: cannot write the results there"
    target = real_path(folder)
    _mode(folder, target)
    if folder.is_symlink() and not target.parent.is_dir():
        raise DataError(f"{text}: it is a link to {target}, and the folder {target.parent} does not exist; create it")
    for each in (target, target.parent):
        settle_abandoned(each)
    made = [p for p in target.parents if not os.path.exists(p)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        existed = os.path.exists(target)
        with _working(target if existed else target.parent, text) as work:
            with _final_names(work / "new", folder):
                yield work / "new"
            if existed and names:
                commit(work, target, names)
            elif not existed and any((work / "new").iterdir()):
                os.rename(work / "new", target)
    except OSError as error:
        raise DataError(f"{text}: {error.strerror or error}") from error
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()  # refuses where results have arrived


@contextmanager
def _working(parent: Path, text: str, advice: str = "") -> Iterator[Path]:
    """Yield a temporary folder in `parent` that holds an empty folder `new`; `text` begins the error message."""
    with ExitStack() as stack:
        try:
            work = stack.enter_context(temporary_folder(parent))
            (work / "new").mkdir()  # unlike its parent with the rights of an ordinary folder: it may become the result
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{text}: {reason}{advice}") from error
        yield work


@contextmanager
def _final_names(temporary: Path, folder: Path) -> Iterator[None]:
    """Name the files of `folder` in errors about those of the `temporary` folder."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace(str(temporary), str(folder))) from error


def _file_place(path: Path) -> Path:
    """Return where a file goes, links resolved; raise `DataError` where something else lies."""
    target = real_path(path)
    mode = _mode(path, target)
    if mode is None:
        return target
    if not stat.S_ISREG(mode):
        found = "links that lead in a circle" if stat.S_ISLNK(mode) else "a folder or device"
        raise DataError(f"{path}: expected a file or nothing there, found {found}; choose another name")
    return target


def _mode(path: Path, target: Path) -> int | None:
    """Return the kind of what lies at `target`; None for nothing, or for what cannot be reached (to be found later)."""
    try:
        return target.lstat().st_mode
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{path}: could not be written ({error.strerror})") from None
        return None


def check_output_file(path: str | Path) -> None:
    """Raise `DataError` unless a file can be written to `path`: to be called before the work, not after it.

    Nothing is left there. Errors are those of `replacing`, and names that are too long.
    """
    target = _file_place(Path(path))
    with _working(target.parent, f"{path}: cannot write into the folder {target.parent}", WRITABLE) as work:
        try:
            (work / "new" / target.name).touch()
        except OSError as error:
            raise DataError(f"{path}: could not be written ({error.strerror or error})") from error


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it: what is resumed after a power cut has to be there."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all; raises `DataError` naming the file when it cannot be written.

    What UTF-8 cannot encode (lone surrogates, as file names in other encodings have them) is written as `\\udc..`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
