"""Parse one DICOM file: its header and the position of its pixels. Lengths in it are limited by the file size."""

from __future__ import annotations

import io
import os
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from nephi.errors import DataError
from nephi.io.dicom.elements import numbers, text_of
from nephi.io.files.input_files import reading

PREAMBLE = 128  # bytes before the prefix DICM
DEFLATED = b"1.2.840.10008.1.2.1.99"  # transfer syntax that compresses the header as well
EXPLICIT = b"1.2.840.10008.1.2.1\0\0\0"
INFLATED_LIMIT = 2**30  # bytes; a deflated file may expand to a thousand times its size
FIRST_GROUPS = (2, 8)  # of the first element in a file without a preamble
FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS = 0x7FE00008, 0x7FE00009, 0x7FE00010
UNDEFINED = 0xFFFFFFFF  # length of encapsulated (compressed) pixels

# Header values of a file that may distinguish frames at one position; those of single frames are in FRAME_ATTRIBUTES.
FILE_ATTRIBUTES = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "DiffusionBValue",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "ImageType",
    "SeriesDescription",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
)
# Elements of the header that are read. All others are skipped, which saves time and tolerates damage in them.
KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    *FILE_ATTRIBUTES,
    "Modality",
    "PatientID",
    "StudyDate",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SpacingBetweenSlices",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "DoseGridScaling",
    "GridFrameOffsetVector",
    "FrameIncrementPointer",
    "SliceVector",
    "DetectorInformationSequence",
    "PixelAspectRatio",
    "SequenceOfUltrasoundRegions",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


class BoundedReader(io.BufferedReader):
    """Reader of a regular file that limits each read to the file size: `read(2**31)` of 24 kB allocates 24 kB."""

    def __init__(self, path: Path) -> None:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe may block for ever, a device may never end
            raise DataError(f"{path}: expected a regular file, found a device or a pipe")
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, or those up to the end of the file."""
        if size is None or not 0 <= size <= io.DEFAULT_BUFFER_SIZE:
            size = max(0, min(size if size is not None and size >= 0 else self.size, self.size - self.tell()))
        return super().read(size)


@dataclass(frozen=True)
class PixelElement:
    """Pixel data of a file: first byte (`offset`), `length` (`UNDEFINED` if compressed), tag and VR."""

    tag: int
    vr: str | None
    offset: int
    length: int


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file with its header, a pydicom `Dataset` of `KEYWORDS`; `pixels` is None without pixel data."""

    path: Path
    header: Any
    size: int
    pixels: PixelElement | None

    @property
    def transfer_syntax(self) -> str:
        """UID of the encoding, empty if the file has no meta header."""
        return text_of(self.header.file_meta, "TransferSyntaxUID", self.path)

    @property
    def storage_class(self) -> str:
        """UID of the kind of object (CT image, ...), empty if missing."""
        meta = text_of(self.header.file_meta, "MediaStorageSOPClassUID", self.path)
        return meta or self.text("SOPClassUID")

    @property
    def is_little_endian(self) -> bool:
        """Whether header and pixels are stored in little-endian byte order."""
        return bool(self.header.original_encoding[1])

    def text(self, keyword: str) -> str:
        """Return a value of the header as text, empty if missing; multiple values are separated by a backslash."""
        return text_of(self.header, keyword, self.path)

    def count(self, keyword: str, default: int | None = None) -> int:
        """Return a whole number of the header; raise `DataError` for other values, or if missing without `default`."""
        values = numbers(self.header, keyword, 1, self.path)
        if values is None and default is not None:
            return default
        if values is None or values[0] != round(values[0]) or not 0 <= values[0] < 2**31:
            found = "it is missing" if values is None else f"found {values[0]:g}"
            raise DataError(f"{self.path}: expected a whole number as {keyword}, {found}; the header may be damaged")
        return int(values[0])


def has_dicom_prefix(path: Path) -> bool:
    """Return whether a regular file has the prefix DICM after its preamble."""
    if not os.path.isfile(path):  # unlike Path.is_file, accepts names of any length
        return False
    with reading(path, "a readable file"), BoundedReader(path) as stream:
        return stream.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def starts_like_dicom(path: Path) -> bool:
    """Return whether a file has the DICM prefix, or starts with an element of a DICOM header."""
    with reading(path, "a readable file"), BoundedReader(path) as stream:
        head = stream.read(PREAMBLE + 4)
    if head[PREAMBLE:] == b"DICM":
        return True
    group, element = int.from_bytes(head[0:2], "little"), int.from_bytes(head[2:4], "little")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = int.from_bytes(head[4:8], "little") <= 64  # the first elements are short
    return len(head) > PREAMBLE and group in FIRST_GROUPS and element <= 0x18 and (explicit or implicit)


def open_dicom(path: Path) -> BinaryIO:
    """Open a DICOM file for `read`, `seek` and `tell`; inflate a deflated file, up to `INFLATED_LIMIT`."""
    stream = BoundedReader(path)
    head = stream.read(1024)
    stream.seek(0)
    if DEFLATED not in head or head[PREAMBLE : PREAMBLE + 8] != b"DICM\x02\0\0\0":
        return stream
    with stream:
        # The meta header is not compressed, and starts with its length.
        start = PREAMBLE + 16 + int.from_bytes(head[PREAMBLE + 12 : PREAMBLE + 16], "little")
        meta, deflated = stream.read(start), stream.read()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, INFLATED_LIMIT)
    if inflater.unconsumed_tail:
        raise DataError(
            f"{path}: expected at most {INFLATED_LIMIT} bytes after inflating, found more; rewrite the file"
        )
    if not inflater.eof:
        raise DataError(f"{path}: expected a complete DICOM slice, the compressed file ends early; copy it again")
    return io.BytesIO(meta.replace(DEFLATED, EXPLICIT) + inflated)


def parse_dicom(path: Path) -> DicomFile:
    """Read the header of one file; raise `DataError` when it cannot be read.

    Call it by `LibraryWarnings.collect`, because pydicom warns about values that violate the standard.
    """
    from pydicom.filereader import read_partial

    pixels: list[PixelElement] = []
    with reading(path, "a complete DICOM slice"), open_dicom(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)

        def is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
            if tag in (FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS):
                pixels.append(PixelElement(int(tag), vr, stream.tell(), length))
            return bool(pixels)

        header = read_partial(stream, is_pixel_data, force=True, specific_tags=list(_tags()))
        for keyword in KEYWORDS:  # pydicom converts a value, and warns, at the first access
            with suppress(Exception):  # raised again, with the file name, when the value is used
                header.get(keyword)
    return DicomFile(path, header, size, pixels[0] if pixels else None)


@cache
def _tags() -> tuple[int, ...]:
    from pydicom.datadict import tag_for_keyword

    return tuple(tag for tag in map(tag_for_keyword, KEYWORDS) if tag is not None)
