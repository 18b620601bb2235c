"""Foreign files: their suffixes, and what other libraries say when a file is damaged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nephi.errors import DataError, NephiError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case, `.nii.gz` in one piece."""
    path = Path(path)
    joint = "".join(path.suffixes[-2:]).lower()
    return joint if joint == ".nii.gz" else path.suffix.lower()


def require_file(path: str | Path) -> Path:
    """Return `path`; raise `DataError` when no file is there, or an empty one."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the name")
    if not path.is_file():
        raise DataError(f"{path}: expected a file, found a folder")
    if path.stat().st_size == 0:
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
        raise DataError(
            f"{path}: expected {what}, could not read it ({reason_of(error)}); the file may be damaged or incomplete"
        ) from error


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
