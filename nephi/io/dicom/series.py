"""Finding the files of one DICOM series in a folder."""

from __future__ import annotations

from pathlib import Path

from nephi.errors import DataError
from nephi.io.dicom.file import DicomFile, has_dicom_prefix, parse_dicom, starts_like_dicom
from nephi.io.dicom.pixels import require_whole, without_pixels
from nephi.io.dicom.warnings import LibraryWarnings
from nephi.io.files.input_files import reading

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
DIRECTORY = "1.2.840.10008.1.3.10"  # storage class of a DICOMDIR
LISTED = 12  # series in an error


def find_series(folder: Path, messages: LibraryWarnings) -> list[DicomFile]:
    """Return the files of the one series of images in `folder`.

    Files that are no DICOM, and DICOM objects without an image (reports, contours, DICOMDIR), are passed over.
    Raises `DataError` when there is no series or several (with their UIDs), or a file is damaged, a device, a pipe or a
    link to nothing.
    """
    images = [file for path in _entries(folder) if (file := messages.collect(_image_file, path, path)) is not None]
    series: dict[str, list[DicomFile]] = {}
    for file in images:
        series.setdefault(file.text("SeriesInstanceUID"), []).append(file)
    if len(series) == 1:
        return images
    found = "; ".join(_described(uid, files) for uid, files in list(series.items())[:LISTED])
    if len(series) > LISTED:
        found += f"; and {len(series) - LISTED} more"
    if len(series) > 2 and len(series) == len(images):
        advice = (
            f" ({found}); every file has a SeriesInstanceUID of its own: these are separate images, of which one is to "
            "be given, or slices whose UIDs an anonymizer changed, and which have to be equal"
        )
    else:
        advice = f" ({found}); move each series into its own folder" if series else _advice_for_none(folder)
    raise DataError(f"{folder}: expected a folder with one DICOM series, found {len(series) or 'none'}{advice}")


def _described(uid: str, files: list[DicomFile]) -> str:
    kind = ", ".join(filter(None, (files[0].text("Modality"), files[0].text("SeriesDescription"))))
    return f"{uid or 'without UID'}: {len(files)} files" + (f" of {kind}" if kind else "")


def _advice_for_none(folder: Path) -> str:
    inner = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if inner:
        listed = ", ".join(inner[:3]) + (", ..." if len(inner) > 3 else "")
        return f" and {len(inner)} folders ({listed}); give the folder that holds the slices themselves"
    return "; give the folder of the slices"


def _entries(folder: Path) -> list[Path]:
    """Return the regular files of a folder by name; raise `DataError` for a device, a pipe or a link to nothing."""
    paths = []
    with reading(folder, "a folder that can be listed"):
        entries = sorted(folder.iterdir())
    for path in entries:
        if path.is_dir():
            continue
        if not path.exists():
            raise DataError(
                f"{path}: expected a file, found a link to one that does not exist; fetch it or delete the link"
            )
        if not path.is_file():
            raise DataError(f"{path}: expected a regular file, found a device or a pipe; move it out of the folder")
        paths.append(path)
    return paths


def _image_file(path: Path) -> DicomFile | None:
    """Return a file of a folder if it holds a DICOM image; raise `DataError` if it should hold one and is damaged."""
    if not starts_like_dicom(path):
        if path.suffix.lower() in DICOM_SUFFIXES and not path.name.startswith("."):
            found = "an empty file" if path.stat().st_size == 0 else "no DICOM file"
            raise DataError(f"{path}: expected a whole DICOM slice, found {found}; copy it again or delete it")
        return None
    prefixed = has_dicom_prefix(path)
    try:
        file = parse_dicom(path)
        if file.pixels is None:
            _require_no_image(file, prefixed)
            return None
        require_whole(file)
    except DataError:
        if prefixed:
            raise
        return None  # a file of another kind that begins like a DICOM header by chance
    return file


def _require_no_image(file: DicomFile, prefixed: bool) -> None:
    """Raise `DataError` for a file without pixels whose header is that of an image, or ends early."""
    from pydicom.uid import UID

    if file.storage_class == DIRECTORY or not prefixed:
        return
    name = UID(file.storage_class).name
    is_unknown = name == file.storage_class  # pydicom has no name for it, or the header ends before it
    if "Image Storage" in name or (is_unknown and (file.text("Rows") or not name)):
        raise without_pixels(file)
