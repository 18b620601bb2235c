"""Compressed DICOM frames, decoded by SimpleITK's GDCM or by pydicom."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nephi.errors import DataError
from nephi.io.dicom.file import DicomFile, open_dicom
from nephi.io.dicom.pixels import PixelFormat, pixel_format
from nephi.io.dicom.warnings import LibraryWarnings
from nephi.io.files.input_files import error_reason, reading, unreadable
from nephi.io.files.messages import find_damage, warn_about
from nephi.io.itk import itk_warnings, simpleitk
from nephi.io.voxels import Array

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # a kind of object whose numbers GDCM does not scale
# JPEG (lossy with 8 and 12 bits, lossless), JPEG-LS and JPEG 2000.
GDCM_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70, 80, 81, 90, 91))
# RLE, of which GDCM refuses odd numbers of pixels and divides by the number of segments; with a plugin, HTJ2K.
PYDICOM_SYNTAXES = ("1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{end}" for end in (201, 202, 203)))
# GDCM tries its decoders for 8, 12 and 16 bits in turn; some writers leave zeros in a field that baseline JPEG ignores.
HARMLESS = ("Unsupported JPEG data precision", "Invalid SOS parameters for sequential JPEG")
LARGE = 2**26  # bytes of a decoded frame
LARGEST_RATIO = 2000  # of a large frame's size to its compressed one; real images stay far below


def compressed_frames(file: DicomFile) -> Iterator[Array]:
    """Return the stored numbers `(rows, columns)` of each frame of a compressed file, in their order.

    Raises `DataError` for a transfer syntax that neither library decodes, damaged data, a missing frame, and one
    whose own header contradicts Rows, Columns or BitsAllocated.
    """
    from pydicom.encaps import generate_frames

    assert file.pixels is not None
    count = file.count("NumberOfFrames", 1)
    if file.transfer_syntax not in GDCM_SYNTAXES + PYDICOM_SYNTAXES:
        raise DataError(
            f"{file.path}: expected pixels that are not compressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE, found "
            f"transfer syntax {file.transfer_syntax or 'none'}; decompress it first, with gdcmconv --raw for example"
        )
    offsets = [file.header.get(f"ExtendedOffsetTable{end}") for end in ("", "Lengths")]
    found = 0
    with open_dicom(file.path) as stream, tempfile.TemporaryDirectory(prefix="nephi-") as folder:
        stream.seek(file.pixels.offset)
        tables = (offsets[0], offsets[1]) if all(offsets) else None
        frames = generate_frames(stream, number_of_frames=count, extended_offsets=tables)
        while found < count:
            with reading(file.path, "whole compressed frames"):
                data = next(frames, None)
            if data is None:
                raise DataError(f"{file.path}: expected {count} compressed frames, found {found}; copy the file again")
            found += 1
            if found == count and next(frames, None) is not None:
                raise DataError(f"{file.path}: expected {count} compressed frames, found more; NumberOfFrames is wrong")
            yield _decode(file, data, Path(folder, "frame.dcm"))


def _decode(file: DicomFile, data: bytes, scratch: Path) -> Array:
    """Return one frame, decoded: GDCM reads it from a file of its own, whose header asks for no scaling."""
    form, shape = pixel_format(file), (file.count("Rows"), file.count("Columns"))
    _require_consistent(file, data, form, shape)
    single, what = _single_frame(file, data, form, shape), "compressed pixels of a DICOM slice"
    if file.transfer_syntax in GDCM_SYNTAXES:
        single.save_as(scratch, enforce_file_format=True)
        decoded = _decode_with_gdcm(scratch, file.path, what)
    else:
        messages = LibraryWarnings()
        with reading(file.path, what):
            decoded = messages.collect(lambda data: data.pixel_array, single, file.path)
        messages.issue()
    decoded = decoded.reshape(shape) if decoded.size == shape[0] * shape[1] else decoded
    if decoded.shape != shape or decoded.dtype.kind not in "iu" or decoded.dtype.itemsize > form.dtype.itemsize:
        raise DataError(
            f"{file.path}: expected a frame of {shape[0]} x {shape[1]} pixels, found {decoded.shape} when decoding it"
        )
    return decoded.astype(form.dtype, copy=False)


def _decode_with_gdcm(scratch: Path, path: Path, what: str) -> Array:
    """Return the pixels of the file `scratch`; errors and warnings are about `path`."""
    sitk = simpleitk()
    try:
        with itk_warnings() as messages:
            decoded: Array = sitk.GetArrayFromImage(sitk.ReadImage(str(scratch), imageIO="GDCMImageIO")).squeeze()
    except RuntimeError as error:
        raise unreadable(path, what, error_reason(error)) from error
    messages = [text for text in messages if not any(known in text for known in HARMLESS)]
    damage = find_damage(messages)
    if damage:
        raise unreadable(path, what, damage)
    warn_about(path, messages)
    return decoded


def _single_frame(file: DicomFile, data: bytes, form: PixelFormat, shape: tuple[int, int]) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(file.transfer_syntax)
    single = Dataset()
    single.file_meta = meta
    single.SOPClassUID = meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    single.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    single.SamplesPerPixel, single.PhotometricInterpretation = 1, "MONOCHROME2"
    single.Rows, single.Columns = shape
    single.BitsAllocated, single.BitsStored, single.HighBit = form.allocated, form.stored, form.high_bit
    single.PixelRepresentation = int(form.is_signed)
    single.PixelData = encapsulate([data])
    single["PixelData"].VR, single["PixelData"].is_undefined_length = "OB", True
    return single


def _require_consistent(file: DicomFile, data: bytes, form: PixelFormat, shape: tuple[int, int]) -> None:
    """Raise `DataError` when a compressed frame's own header differs from the file's, or it is far too short.

    A decoder that trusts one of them writes beyond the memory that it allocated by the other, or allocates gigabytes.
    """
    size = shape[0] * shape[1] * form.allocated // 8
    if size > max(LARGE, LARGEST_RATIO * len(data)):
        raise DataError(
            f"{file.path}: expected a compressed frame of {shape[0]} x {shape[1]} pixels, found {len(data)} bytes; "
            "the header may be damaged"
        )
    own = _codestream_header(data)
    if own is not None and (own[:2] != shape or own[2] != 1 or own[3] > form.allocated):
        raise DataError(
            f"{file.path}: expected a frame of {shape[0]} x {shape[1]} pixels of {form.allocated} bits, found one of "
            f"{own[0]} x {own[1]} with {own[2]} components of {own[3]} bits in the compressed data"
        )


def _codestream_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Return rows, columns, components and bits of a JPEG, JPEG-LS or JPEG 2000 stream; None for any other."""

    def number(start: int, length: int) -> int:
        return int.from_bytes(data[start : start + length], "big")

    box = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if box >= 0 and (box == 0 or data[4:8] == b"jP  "):  # JPEG 2000, bare or in a JP2 file
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
