"""Find the files of one DICOM series in a folder."""

from __future__ import annotations

from pathlib import Path

from nephi.errors import DataError
from nephi.io.dicom.file import DicomFile, has_dicom_prefix, parse_dicom, starts_like_dicom
from nephi.io.dicom.pixels import missing_pixels_error, require_complete
from nephi.io.dicom.warnings import LibraryWarnings
from nephi.io.files.input_files import reading

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
DIRECTORY = "1.2.840.10008.1.3.10"  # storage class of a DICOMDIR
MAX_LISTED = 12  # series in an error message


def find_series(folder: Path, messages: LibraryWarnings) -> list[DicomFile]:
    """Return the files of the one series of images in `folder`.

    Files that are not DICOM, and DICOM objects without an image (reports, contours, DICOMDIR), are skipped. Raises
    `DataError` when the folder does not have exactly one series (listing their UIDs), or a file is damaged, a device, a
    pipe or a broken link.
    """
    images = [
        file for path in _regular_files(folder) if (file := messages.collect(_read_image_file, path, path)) is not None
    ]
    series: dict[str, list[DicomFile]] = {}
    for file in images:
        series.setdefault(file.text("SeriesInstanceUID"), []).append(file)
    if len(series) == 1:
        return images
    found = "; ".join(_describe_series(uid, files) for uid, files in list(series.items())[:MAX_LISTED])
    if len(series) > MAX_LISTED:
        found += f"; and {len(series) - MAX_LISTED} more"
    if len(series) > 2 and len(series) == len(images):
        advice = (
            f" ({found}); every file has a different SeriesInstanceUID: these are separate images (give one of them), "
            "or slices whose UIDs an anonymizer changed (make the UIDs equal)"
        )
    else:
        advice = f" ({found}); move each series into its own folder" if series else _advice_without_series(folder)
    raise DataError(f"{folder}: expected a folder with one DICOM series, found {len(series) or 'none'}{advice}")


def _describe_series(uid: str, files: list[DicomFile]) -> str:
    kind = ", ".join(filter(None, (files[0].text("Modality"), files[0].text("SeriesDescription"))))
    return f"{uid or 'without UID'}: {len(files)} files" + (f" of {kind}" if kind else "")


def _advice_without_series(folder: Path) -> str:
    inner = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if inner:
        listed = ", ".join(inner[:3]) + (", ..." if len(inner) > 3 else "")
        return f" and {len(inner)} folders ({listed}); give the folder that holds the slices themselves"
    return "; give the folder of the slices"


def _regular_files(folder: Path) -> list[Path]:
    """Return the regular files of a folder, sorted by name; raise `DataError` for a device, pipe or broken link."""
    paths = []
    with reading(folder, "a readable folder"):
        entries = sorted(folder.iterdir())
    for path in entries:
        if path.is_dir():
            continue
        if not path.exists():
            raise DataError(
                f"{path}: expected a file, found a link to a missing file; restore the file or delete the link"
            )
        if not path.is_file():
            raise DataError(f"{path}: expected a regular file, found a device or a pipe; move it out of the folder")
        paths.append(path)
    return paths


def _read_image_file(path: Path) -> DicomFile | None:
    """Read the header of a file if it is a DICOM image, else return None; raise `DataError` if it is a damaged one."""
    if not starts_like_dicom(path):
        if path.suffix.lower() in DICOM_SUFFIXES and not path.name.startswith("."):
            found = "an empty file" if path.stat().st_size == 0 else "other contents"
            raise DataError(f"{path}: expected a complete DICOM slice, found {found}; copy it again or delete it")
        return None
    has_prefix = has_dicom_prefix(path)
    try:
        file = parse_dicom(path)
        if file.pixels is None:
            _require_no_image(file, has_prefix)
            return None
        require_complete(file)
    except DataError:
        if has_prefix:
            raise
        return None  # a file of another kind that starts like a DICOM header by chance
    return file


def _require_no_image(file: DicomFile, has_prefix: bool) -> None:
    """Raise `DataError` for a file without pixels whose header is that of an image, or is incomplete."""
    from pydicom.uid import UID

    if file.storage_class == DIRECTORY or not has_prefix:
        return
    name = UID(file.storage_class).name
    is_unknown = name == file.storage_class  # pydicom has no name for it, or the header ends before the UID
    if "Image Storage" in name or (is_unknown and (file.text("Rows") or not name)):
        raise missing_pixels_error(file)
