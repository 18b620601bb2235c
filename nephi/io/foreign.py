"""Foreign files: their suffixes, and what other libraries say when a file is damaged."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nephi.errors import DataError, NephiError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
MGH_SUFFIXES = (".mgh", ".mgz", ".mgh.gz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case; `.nii.gz`, `.hdr.gz`, `.img.gz` and `.mgh.gz` in one piece."""
    path = Path(path)
    joint = "".join(path.suffixes[-2:]).lower()
    return joint if joint in NIFTI_SUFFIXES + PAIR_SUFFIXES + MGH_SUFFIXES else path.suffix.lower()


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; not where it cannot be one (too long a name), which `require_file` reports."""
    return stat.S_ISDIR(_mode(path))


def is_pipe(path: Path) -> bool:
    """Return whether a path is a pipe, with a name (`mkfifo`) or without (`/dev/fd/63`)."""
    return stat.S_ISFIFO(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def require_file(path: str | Path) -> Path:
    """Return `path`; raise `DataError` when no file is there, an empty one, or a pipe or device.

    Readers look into a file more than once, which a pipe does not allow; it may also never end.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file or folder; check the name") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{str(path)[:300]}: cannot be opened ({reason}); check the name") from error
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: expected a file, found a folder")
    if stat.S_ISFIFO(status.st_mode):
        raise DataError(
            f"{path}: expected a file, found a pipe, which may carry nothing but images in NIfTI; save its contents to "
            "a file, and give that"
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected a file, found a device; save its contents to a file, and give that")
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    return path


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn whatever a foreign library raises into one `DataError` that names the file.

    Damaged files make nibabel, SimpleITK, gzip, zlib and numpy raise a dozen unrelated types, so the block has
    to be kept to the foreign calls alone. nephi's own errors pass unchanged.
    """
    try:
        yield
    except NephiError:
        raise
    except Exception as error:
        raise unreadable(path, what, reason_of(error)) from error


def unreadable(path: str | Path, what: str, reason: str) -> DataError:
    """Return the error for a file that a library cannot read."""
    return DataError(f"{path}: expected {what}, could not read it ({reason}); the file may be damaged or incomplete")


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the file's name in front of a `DataError` about its contents (a singular affine, NaN, ...)."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def reason_of(error: Exception) -> str:
    """Return what went wrong in one line: ITK wraps it in class names, source files and addresses."""
    text = re.split(r"ERROR: (?:\w+\(0x[0-9a-f]+\): )?", str(error))[-1].strip()
    return text.splitlines()[0].rstrip(".:") if text else type(error).__name__
