"""Write files atomically: complete, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nephi.errors import DataError
from nephi.io.files.commit import commit, real_path, recover_interrupted
from nephi.io.files.input_files import suffix_of
from nephi.io.files.temporary import temporary_folder

FOLDER_ADVICE = "; create it, or choose a folder you may write to"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends without an error, its file replaces `path` atomically.

    The temporary file has the final name, in a hidden folder beside `path`, so that formats that depend on the suffix
    or store the name of a second file (`.mhd` and its `.raw`) are correct, and no copy between disks is needed. Second
    files in that folder are moved with the first. If `path` is a symbolic link, the file it points to is replaced.
    When the block raises, an existing file at `path` is kept, and the temporary files are deleted.

    Raises `DataError` naming the file when the folder is missing or not writable, when `path` exists and is not a
    file, or when writing fails (a full disk).
    """
    target = _resolve_target(Path(path))
    recover_interrupted(target.parent)
    with _workspace(target.parent, f"{path}: cannot write into the folder {target.parent}", FOLDER_ADVICE) as work:
        # The target of a link may have any name; then the suffix of the link gives the format.
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
    """Yield a temporary folder for new files; when the block ends without an error, they replace `names` in `folder`.

    A missing folder is created with its files by one rename. In an existing folder, old files of these names are
    removed first, the last name before the others; then the new files are moved in, the last name last (see `commit`).
    Old and new files are therefore never mixed, even when the process is killed; the next call finishes or undoes an
    interrupted commit. When the block raises, `folder` is unchanged.

    Raises `DataError` naming the folder when it cannot be written.
    """
    message = f"{folder}: cannot write results into this folder"
    target = real_path(folder)
    _mode(folder, target)
    if folder.is_symlink() and not target.parent.is_dir():
        raise DataError(
            f"{message}: it is a link to {target}, and the folder {target.parent} does not exist; create it"
        )
    for parent in (target, target.parent):
        recover_interrupted(parent)
    missing_parents = [p for p in target.parents if not os.path.exists(p)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        existed = os.path.exists(target)
        with _workspace(target if existed else target.parent, message) as work:
            with _errors_with_final_paths(work / "new", folder):
                yield work / "new"
            if existed and names:
                commit(work, target, names)
            elif not existed and any((work / "new").iterdir()):
                os.rename(work / "new", target)
    except OSError as error:
        raise DataError(f"{message}: {error.strerror or error}") from error
    finally:
        for parent in missing_parents:
            with suppress(OSError):
                parent.rmdir()  # fails, as intended, if the results are in it


@contextmanager
def _workspace(parent: Path, message: str, advice: str = "") -> Iterator[Path]:
    """Yield a temporary folder in `parent` that holds an empty folder `new`; errors begin with `message`."""
    with ExitStack() as stack:
        try:
            work = stack.enter_context(temporary_folder(parent))
            (work / "new").mkdir()  # with default permissions, unlike its parent: it may become the result folder
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{message}: {reason}{advice}") from error
        yield work


@contextmanager
def _errors_with_final_paths(temporary: Path, folder: Path) -> Iterator[None]:
    """Replace paths in the `temporary` folder by those in `folder` in the messages of errors."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace(str(temporary), str(folder))) from error


def _resolve_target(path: Path) -> Path:
    """Return the path to write, with links resolved; raise `DataError` if it exists and is not a file."""
    target = real_path(path)
    mode = _mode(path, target)
    if mode is None:
        return target
    if not stat.S_ISREG(mode):
        found = "links that lead in a circle" if stat.S_ISLNK(mode) else "a folder or device"
        raise DataError(f"{path}: expected a path of a file, found {found}; choose another name")
    return target


def _mode(path: Path, target: Path) -> int | None:
    """Return the file mode of `target`; None if it does not exist or is not accessible (writing then fails)."""
    try:
        return target.lstat().st_mode
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{path}: could not be written ({error.strerror})") from None
        return None


def check_output_file(path: str | Path) -> None:
    """Raise `DataError` unless a file can be written to `path`; call this before a long computation.

    Leaves no file behind. Errors are those of `replacing`, and names that are too long.
    """
    target = _resolve_target(Path(path))
    with _workspace(target.parent, f"{path}: cannot write into the folder {target.parent}", FOLDER_ADVICE) as work:
        try:
            (work / "new" / target.name).touch()
        except OSError as error:
            raise DataError(f"{path}: could not be written ({error.strerror or error})") from error


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk (fsync), so that it survives a power failure."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically; raise `DataError` naming the file when it cannot be written.

    Lone surrogates, which UTF-8 cannot encode (from file names in other encodings), are written as `\\udc..`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
