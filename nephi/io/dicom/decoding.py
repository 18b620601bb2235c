"""Decode compressed DICOM frames with the GDCM of SimpleITK, or with pydicom."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nephi.errors import DataError
from nephi.images.voxels import Array
from nephi.io.dicom.file import DicomFile, open_dicom
from nephi.io.dicom.pixels import PixelFormat, pixel_format
from nephi.io.dicom.warnings import LibraryWarnings
from nephi.io.files.input_files import error_reason, reading, unreadable
from nephi.io.files.messages import find_damage, warn_about
from nephi.io.itk import itk_warnings, simpleitk

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # storage class for which GDCM does not apply a scaling
# JPEG (lossy with 8 and 12 bits, lossless), JPEG-LS and JPEG 2000.
GDCM_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70, 80, 81, 90, 91))
# RLE, where GDCM refuses odd numbers of pixels and divides by the number of segments; HTJ2K, if a plugin is installed.
PYDICOM_SYNTAXES = ("1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{end}" for end in (201, 202, 203)))
# GDCM tries its decoders for 8, 12 and 16 bits in turn; some files have zeros in a field that baseline JPEG ignores.
HARMLESS = ("Unsupported JPEG data precision", "Invalid SOS parameters for sequential JPEG")
LARGE = 2**26  # bytes of a decoded frame
MAX_RATIO = 2000  # of decoded to compressed size of a large frame; real images have far smaller ratios


def decode_frames(file: DicomFile) -> Iterator[Array]:
    """Decode the stored numbers `(rows, columns)` of each frame of a compressed file, in order.

    Raises `DataError` for a transfer syntax that neither library decodes, damaged data, a missing frame, and a frame
    whose compressed header contradicts Rows, Columns or BitsAllocated.
    """
    from pydicom.encaps import generate_frames

    assert file.pixels is not None
    count = file.count("NumberOfFrames", 1)
    if file.transfer_syntax not in GDCM_SYNTAXES + PYDICOM_SYNTAXES:
        raise DataError(
            f"{file.path}: expected uncompressed pixels, JPEG, JPEG-LS, JPEG 2000 or RLE, found "
            f"transfer syntax {file.transfer_syntax or 'none'}; decompress it first, for example with gdcmconv --raw"
        )
    offsets = [file.header.get(f"ExtendedOffsetTable{end}") for end in ("", "Lengths")]
    number = 0
    with open_dicom(file.path) as stream, tempfile.TemporaryDirectory(prefix="nephi-") as folder:
        stream.seek(file.pixels.offset)
        tables = (offsets[0], offsets[1]) if all(offsets) else None
        frames = generate_frames(stream, number_of_frames=count, extended_offsets=tables)
        while number < count:
            with reading(file.path, "complete compressed frames"):
                data = next(frames, None)
            if data is None:
                raise DataError(f"{file.path}: expected {count} compressed frames, found {number}; copy the file again")
            number += 1
            if number == count and next(frames, None) is not None:
                raise DataError(f"{file.path}: expected {count} compressed frames, found more; NumberOfFrames is wrong")
            yield _decode(file, data, Path(folder, "frame.dcm"))


def _decode(file: DicomFile, data: bytes, scratch: Path) -> Array:
    """Decode one frame; GDCM reads it from a temporary file of this frame, whose header states no scaling."""
    form, shape = pixel_format(file), (file.count("Rows"), file.count("Columns"))
    _require_consistent(file, data, form, shape)
    dataset, what = _frame_dataset(file, data, form, shape), "compressed pixels of a DICOM slice"
    if file.transfer_syntax in GDCM_SYNTAXES:
        dataset.save_as(scratch, enforce_file_format=True)
        decoded = _decode_with_gdcm(scratch, file.path, what)
    else:
        messages = LibraryWarnings()
        with reading(file.path, what):
            decoded = messages.collect(lambda data: data.pixel_array, dataset, file.path)
        messages.issue()
    decoded = decoded.reshape(shape) if decoded.size == shape[0] * shape[1] else decoded
    if decoded.shape != shape or decoded.dtype.kind not in "iu" or decoded.dtype.itemsize > form.dtype.itemsize:
        raise DataError(
            f"{file.path}: expected a frame of {shape[0]} x {shape[1]} pixels, found {decoded.shape} when decoding it"
        )
    return decoded.astype(form.dtype, copy=False)


def _decode_with_gdcm(scratch: Path, path: Path, what: str) -> Array:
    """Decode the pixels of the file `scratch`; errors and warnings name `path`."""
    sitk = simpleitk()
    try:
        with itk_warnings() as messages:
            decoded: Array = sitk.GetArrayFromImage(sitk.ReadImage(str(scratch), imageIO="GDCMImageIO")).squeeze()
    except RuntimeError as error:
        raise unreadable(path, what, error_reason(error)) from error
    messages = [text for text in messages if not any(pattern in text for pattern in HARMLESS)]
    damage = find_damage(messages)
    if damage:
        raise unreadable(path, what, damage)
    warn_about(path, messages)
    return decoded


def _frame_dataset(file: DicomFile, data: bytes, form: PixelFormat, shape: tuple[int, int]) -> Any:
    """Return a pydicom data set of one frame, without scaling."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(file.transfer_syntax)
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = form.allocated, form.stored, form.high_bit
    dataset.PixelRepresentation = int(form.is_signed)
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def _require_consistent(file: DicomFile, data: bytes, form: PixelFormat, shape: tuple[int, int]) -> None:
    """Raise `DataError` when the header of a compressed frame differs from that of the file, or the frame is too short.

    A decoder would write beyond memory that it allocated by the other header, or allocate gigabytes.
    """
    size = shape[0] * shape[1] * form.allocated // 8
    if size > max(LARGE, MAX_RATIO * len(data)):
        raise DataError(
            f"{file.path}: expected a compressed frame of {shape[0]} x {shape[1]} pixels, found {len(data)} bytes; "
            "the header may be damaged"
        )
    header = _codestream_header(data)
    if header is not None and (header[:2] != shape or header[2] != 1 or header[3] > form.allocated):
        raise DataError(
            f"{file.path}: expected a frame of {shape[0]} x {shape[1]} pixels of {form.allocated} bits, found one of "
            f"{header[0]} x {header[1]} with {header[2]} components of {header[3]} bits in the compressed data"
        )


def _codestream_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Parse rows, columns, components and bits of a JPEG, JPEG-LS or JPEG 2000 stream; return None for any other."""

    def number(start: int, length: int) -> int:
        return int.from_bytes(data[start : start + length], "big")

    box = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if box >= 0 and (box == 0 or data[4:8] == b"jP  "):  # JPEG 2000, as a codestream or in a JP2 file
        left, top = number(box + 16, 4), number(box + 20, 4)
        bits = (number(box + 42, 1) & 0x7F) + 1
        return number(box + 12, 4) - top, number(box + 8, 4) - left, number(box + 40, 2), bits
    if data[:2] != b"\xff\xd8":
        return None
    start = 2
    while start + 9 < len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker == 0xFF:  # a fill byte
            start += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return number(start + 5, 2), number(start + 7, 2), number(start + 9, 1), number(start + 4, 1)
        else:
            start += 2 + number(start + 2, 2)
    return None
