"""Read DICOM images: a folder with one series, or one file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from nephi.errors import DataError, printable, warn
from nephi.geometry import Grid
from nephi.images import Image, Origin
from nephi.io.dicom.elements import label_text
from nephi.io.dicom.file import DicomFile, has_dicom_prefix, parse_dicom, starts_like_dicom
from nephi.io.dicom.frames import DicomFrame, frames_of
from nephi.io.dicom.geometry import sort_frames
from nephi.io.dicom.series import DICOM_SUFFIXES, DIRECTORY, find_series
from nephi.io.dicom.values import read_values
from nephi.io.dicom.warnings import LibraryWarnings
from nephi.io.files.input_files import is_folder, reading, require_file, suffix_of

MAX_SIBLINGS = 100  # entries of a folder that are tested for other slices


def is_dicom(path: Path) -> bool:
    """Return whether a path is DICOM by its suffix (even if it does not exist) or by its first bytes."""
    return suffix_of(path) in DICOM_SUFFIXES or has_dicom_prefix(path)


def read_dicom(path: Path) -> Image:
    """Read the series in a folder, or the frames of a file, with slope and intercept applied (HU for CT).

    Every slice is scaled by its own slope and intercept. A series or a multi-frame file gives a volume, a single slice
    a 2-D image. The third axis of the grid is the step from slice to slice, so a tilted gantry gives a sheared grid.

    Raises `DataError` when a folder does not have exactly one series (listing their UIDs), a file is damaged or has no
    grey pixels, the geometry is missing or contradictory, or slices are missing, unevenly spaced or at one position.
    """
    frames, grid = _read_sorted_frames(path)
    data, stored_type = read_values(frames, path)
    origin = dicom_origin(frames[0].file)
    return Image(data.reshape(grid.shape), grid, stored_type=stored_type, name=str(path), origin=origin)


def dicom_origin(file: DicomFile) -> Origin:
    """Return what the header of a file says of patient and scan."""
    keywords = ("PatientID", "Modality", "FrameOfReferenceUID", "StudyDate", "SeriesDescription")
    return Origin(*(printable(label_text(file.header, keyword)) for keyword in keywords))


def dicom_grid(path: Path) -> Grid:
    """Read the grid of a series or file from its headers; raise the errors of `read_dicom`."""
    return _read_sorted_frames(path)[1]


def _read_sorted_frames(path: Path) -> tuple[list[DicomFrame], Grid]:
    """Read the frames of a folder or file in the order of the third axis, and their grid."""
    messages = LibraryWarnings()
    files = find_series(path, messages) if is_folder(path) else [_read_single_file(path, messages)]
    frames = [frame for file in files for frame in messages.collect(frames_of, file, file.path)]
    messages.issue()
    if not is_folder(path):
        _warn_about_siblings(path, frames)
    return sort_frames(frames, path)


def _read_single_file(path: Path, messages: LibraryWarnings) -> DicomFile:
    if not starts_like_dicom(require_file(path)):
        raise DataError(f"{path}: expected a DICOM file, found other contents; check the file, or correct its suffix")
    file = messages.collect(parse_dicom, path, path)
    if file.storage_class == DIRECTORY:
        raise DataError(
            f"{path}: expected an image, found a DICOMDIR (an index of files); give the folder of one series"
        )
    return file


def _warn_about_siblings(path: Path, frames: list[DicomFrame]) -> None:
    """Warn when one slice of a cross-sectional series was given, and its folder has further DICOM files."""
    if len(frames) > 1 or frames[0].position is None:
        return
    with reading(path.parent, "a readable folder"):
        others = [other for other in islice(path.parent.iterdir(), MAX_SIBLINGS) if other.name != path.name]
    if any(has_dicom_prefix(other) for other in others):
        warn(f"{path}: read as one slice in 2-D; give the folder {path.parent} to read the series as a volume")
