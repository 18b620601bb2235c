"""Input files: their suffixes, checks before reading, and one error type for all that libraries raise."""

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
TEXT_SUFFIXES = (".tfm", ".txt")  # of ITK's transforms, as the next
HDF5_SUFFIXES = (".h5", ".hdf5")
TRANSFORM_SUFFIXES = (*TEXT_SUFFIXES, *HDF5_SUFFIXES, ".mat", ".xfm")


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case; `.nii.gz`, `.hdr.gz`, `.img.gz` and `.mgh.gz` as one suffix."""
    path = Path(path)
    double = "".join(path.suffixes[-2:]).lower()
    return double if double in NIFTI_SUFFIXES + PAIR_SUFFIXES + MGH_SUFFIXES else path.suffix.lower()


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; false for an invalid path, which `require_file` reports."""
    return stat.S_ISDIR(_mode(path))


def is_pipe(path: Path) -> bool:
    """Return whether a path is a pipe, named (`mkfifo`) or anonymous (`/dev/fd/63`)."""
    return stat.S_ISFIFO(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def require_file(path: str | Path) -> Path:
    """Return `path`; raise `DataError` when it is missing, empty, a folder, a pipe or a device.

    Readers open a file several times, which is impossible with a pipe; pipes and devices may also never end.
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
            f"{path}: expected a file, found a pipe, which is allowed for NIfTI images only; save its contents to a "
            "file, and use that"
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected a file, found a device; save its contents to a file, and use that")
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    return path


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Convert any exception of a library that reads a file into a `DataError` naming the file and `what` it should be.

    For damaged files nibabel, SimpleITK, gzip, zlib and numpy raise a dozen unrelated types, so every exception is
    converted: keep the block to the calls of the library. nephi's own errors pass unchanged.
    """
    try:
        yield
    except NephiError:
        raise
    except Exception as error:
        raise unreadable(path, what, error_reason(error)) from error


def unreadable(path: str | Path, what: str, reason: str) -> DataError:
    """Return the `DataError` for a file that a library cannot read."""
    return DataError(f"{path}: expected {what}, could not read it ({reason}); the file may be damaged or incomplete")


@contextmanager
def prefix_errors(path: str | Path) -> Iterator[None]:
    """Prefix a `DataError` about the contents of a file (a singular affine, NaN, ...) with the path."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def error_reason(error: Exception) -> str:
    """Return the first line of an error's message, without the class names and addresses that ITK puts before it."""
    text = re.split(r"ERROR: (?:\w+\(0x[0-9a-f]+\): )?", str(error))[-1].strip()
    return text.splitlines()[0].rstrip(".:") if text else type(error).__name__
