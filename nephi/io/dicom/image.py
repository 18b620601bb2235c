"""DICOM images: a folder that holds one series, or one file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io.dicom.file import DicomFile, has_dicom_prefix, parse_dicom, starts_like_dicom
from nephi.io.dicom.frames import DicomFrame, frames_of
from nephi.io.dicom.geometry import arrange
from nephi.io.dicom.series import DICOM_SUFFIXES, DIRECTORY, find_series
from nephi.io.dicom.values import read_values
from nephi.io.dicom.warnings import LibraryWarnings
from nephi.io.files.input_files import is_folder, reading, require_file, suffix_of

SIBLINGS = 100  # entries of a folder that are looked at for other slices


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its suffix or first bytes; it need not exist to be so by its suffix."""
    return suffix_of(path) in DICOM_SUFFIXES or has_dicom_prefix(path)


def read_dicom(path: Path) -> Image:
    """Read the one series in a folder, or the frames of one file, in the values of slope and intercept (HU for CT).

    Every slice is scaled by its own slope and intercept. A series or multi-frame file gives a volume, one slice a 2-D
    image. The third axis of the grid is the way from slice to slice, so that a tilted gantry comes out as a shear.

    Raises `DataError` when a folder holds no series or several (with their UIDs), a file is damaged or has no
    grey pixels, geometry is missing or contradictory, or slices are missing, unevenly spaced or at one position.
    """
    frames, grid = _arranged(path)
    data, stored_type = read_values(frames, path)
    return Image(data.reshape(grid.shape), grid, stored_type=stored_type, name=str(path))


def dicom_grid(path: Path) -> Grid:
    """Return the grid of a series or file from its headers; raise `DataError` as `read_dicom`."""
    return _arranged(path)[1]


def _arranged(path: Path) -> tuple[list[DicomFrame], Grid]:
    """Return the frames of a folder or file in the order of the third axis, and their grid."""
    messages = LibraryWarnings()
    files = find_series(path, messages) if is_folder(path) else [_single_file(path, messages)]
    frames = [frame for file in files for frame in messages.collect(frames_of, file, file.path)]
    messages.issue()
    if not is_folder(path):
        _warn_of_siblings(path, frames)
    return arrange(frames, path)


def _single_file(path: Path, messages: LibraryWarnings) -> DicomFile:
    if not starts_like_dicom(require_file(path)):
        raise DataError(
            f"{path}: expected a DICOM file, found other contents; check the file, or give its right suffix"
        )
    file = messages.collect(parse_dicom, path, path)
    if file.storage_class == DIRECTORY:
        raise DataError(
            f"{path}: expected an image, found a DICOMDIR, an index of files; give the folder of one series"
        )
    return file


def _warn_of_siblings(path: Path, frames: list[DicomFrame]) -> None:
    """Warn when one slice of a cross-sectional series was given, and its folder holds more."""
    if len(frames) > 1 or frames[0].position is None:
        return
    with reading(path.parent, "a folder that can be listed"):
        others = [other for other in islice(path.parent.iterdir(), SIBLINGS) if other.name != path.name]
    if any(has_dicom_prefix(other) for other in others):
        warn(f"{path}: read as one slice in 2-D; give the folder {path.parent} to read the series as a volume")
