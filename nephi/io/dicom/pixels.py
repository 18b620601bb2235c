"""Stored pixels of DICOM files: their format, validation, and reading of native (uncompressed) frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from nephi.errors import DataError
from nephi.images.voxels import Array
from nephi.io.dicom.elements import items_of
from nephi.io.dicom.file import DOUBLE_PIXELS, FLOAT_PIXELS, UNDEFINED, DicomFile, open_dicom
from nephi.io.files.input_files import reading

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # tags in encapsulated pixels


@dataclass(frozen=True)
class PixelFormat:
    """Storage of one pixel: `stored` of `allocated` bits, with `high_bit` the index of the highest."""

    allocated: int
    stored: int
    high_bit: int
    is_signed: bool
    is_float: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type in native byte order."""
        return np.dtype(f"{'f' if self.is_float else 'i' if self.is_signed else 'u'}{self.allocated // 8}")

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest whole number of the stored bits; for floats, of those up to which all are represented."""
        if self.is_float:
            bits = np.finfo(self.dtype).nmant + 1
            return -(1 << bits), 1 << bits
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.is_signed else (0, (1 << self.stored) - 1)


def pixel_format(file: DicomFile) -> PixelFormat:
    """Return the pixel format of a file; raise `DataError` unless it is that of one grey value per pixel."""
    allocated = file.count("BitsAllocated")
    if file.pixels is not None and file.pixels.tag in (FLOAT_PIXELS, DOUBLE_PIXELS):
        return PixelFormat(64 if file.pixels.tag == DOUBLE_PIXELS else 32, allocated, allocated - 1, True, True)
    if allocated not in (8, 16, 32):
        advice = "; convert a segmentation to a label map in NIfTI first" if allocated == 1 else ""
        raise DataError(f"{file.path}: expected 8, 16 or 32 bits per pixel (BitsAllocated), found {allocated}{advice}")
    stored = file.count("BitsStored", allocated)
    high = file.count("HighBit", stored - 1)
    if not 1 <= stored <= high + 1 <= allocated:
        raise DataError(
            f"{file.path}: expected BitsStored and HighBit within BitsAllocated {allocated}, "
            f"found {stored} and {high}; the header may be damaged"
        )
    return PixelFormat(allocated, stored, high, file.count("PixelRepresentation", 0) == 1)


def require_complete(file: DicomFile) -> None:
    """Raise `DataError` when the pixel data of a file are shorter than their length, or have no final delimiter."""
    pixels = file.pixels
    if pixels is None:
        return
    if pixels.length != UNDEFINED:
        if pixels.offset + pixels.length > file.size:
            raise DataError(
                f"{file.path}: expected a complete DICOM slice of {pixels.length} bytes of pixels, found "
                f"{max(0, file.size - pixels.offset)}; the file is incomplete or its header damaged, copy it again"
            )
        return
    with reading(file.path, "a complete DICOM slice"), open_dicom(file.path) as stream:
        position = pixels.offset
        while position + 8 <= file.size:
            stream.seek(position)
            tag, length = stream.read(4), int.from_bytes(stream.read(4), "little")
            if tag == END:
                return
            if tag != ITEM or length == UNDEFINED:
                break
            position += 8 + length
    raise DataError(
        f"{file.path}: expected a complete DICOM slice, its compressed pixels end without their delimiter; "
        "the file is incomplete, copy it again"
    )


def missing_pixels_error(file: DicomFile) -> DataError:
    """Return the `DataError` for a file without pixel data: an incomplete image, or an object of another kind."""
    from pydicom.uid import UID

    kind = UID(file.storage_class).name
    if kind and "Image Storage" not in kind and not file.text("Rows"):
        advice = "; convert its contours to a label map first (3-D Slicer, plastimatch)" if "Structure" in kind else ""
        return DataError(f"{file.path}: expected a DICOM image, found an object without pixels ({kind}){advice}")
    return DataError(
        f"{file.path}: expected a complete DICOM slice, found a header without pixel data; the file is incomplete or "
        "its header damaged, copy it again"
    )


def require_pixels(file: DicomFile) -> None:
    """Raise `DataError` when a file has no grey pixels, or fewer than its header states."""
    require_complete(file)
    if file.pixels is None:
        raise missing_pixels_error(file)
    rows, columns, frames = file.count("Rows"), file.count("Columns"), file.count("NumberOfFrames", 1)
    if min(rows, columns, frames) < 1:
        raise DataError(f"{file.path}: expected rows, columns and frames, found {rows}, {columns} and {frames}")
    samples, kind = file.count("SamplesPerPixel", 1), file.text("PhotometricInterpretation") or "MONOCHROME2"
    if samples != 1 or not kind.startswith("MONOCHROME"):
        raise DataError(
            f"{file.path}: expected one grey value per pixel (MONOCHROME2), found {samples} samples of {kind}; "
            "extract one channel first"
        )
    if items_of(file.header, "ModalityLUTSequence", file.path):
        raise DataError(
            f"{file.path}: expected values by slope and intercept, found a lookup table "
            "(ModalityLUTSequence); convert the file with dcm2niix or 3-D Slicer first"
        )
    if "MOSAIC" in file.text("ImageType").split("\\"):
        raise DataError(
            f"{file.path}: expected a slice, found a mosaic of slices side by side (ImageType MOSAIC); convert the "
            "series with dcm2niix first"
        )
    bits = pixel_format(file).allocated
    if file.pixels.length == UNDEFINED:
        # A frame needs an item header of 8 bytes and a few more bytes.
        needed, found = 10 * frames, file.size - file.pixels.offset
    else:
        needed, found = rows * columns * frames * bits // 8, file.pixels.length
    if found < needed:
        raise DataError(
            f"{file.path}: expected at least {needed} bytes of pixels ({frames} frames of {rows} x {columns}, {bits} "
            f"bits each), found {found}; the file is incomplete or its header damaged"
        )
    if file.pixels.length != UNDEFINED and found >= 2 * needed:
        raise DataError(
            f"{file.path}: expected {needed} bytes of pixels ({frames} frames of {rows} x {columns}, {bits} bits "
            f"each), found {found}; Rows, Columns, BitsAllocated or NumberOfFrames may be wrong"
        )


def native_frames(file: DicomFile) -> Iterator[Array]:
    """Read the stored numbers `(rows, columns)` of each frame of an uncompressed file, in order."""
    form, pixels = pixel_format(file), file.pixels
    assert pixels is not None
    rows, columns = file.count("Rows"), file.count("Columns")
    count = rows * columns * form.allocated // 8
    swapped = form.allocated == 8 and pixels.vr == "OW" and not file.is_little_endian
    with open_dicom(file.path) as stream:
        for n in range(file.count("NumberOfFrames", 1)):
            data = _read_swapped(stream, pixels.offset, n * count, count) if swapped else None
            if data is None:
                stream.seek(pixels.offset + n * count)
                data = stream.read(count)
            if len(data) != count:
                raise DataError(f"{file.path}: expected a complete DICOM slice, it became shorter while it was read")
            dtype = form.dtype.newbyteorder("<" if file.is_little_endian else ">")
            yield np.frombuffer(data, dtype).reshape(rows, columns)


def _read_swapped(stream: BinaryIO, base: int, start: int, count: int) -> bytes:
    """Read bytes that are stored as big-endian 16-bit words, which reverses each pair."""
    first, last = start - start % 2, start + count + (start + count) % 2
    stream.seek(base + first)
    words = stream.read(last - first)
    swapped = np.frombuffer(words[: len(words) // 2 * 2], ">u2").astype("<u2").tobytes()
    return swapped[start - first : start - first + count]


def significant_bits(stored: Array, form: PixelFormat) -> tuple[Array, bool]:
    """Return the numbers in the stored bits, and whether other bits are set (an overlay of old files).

    Zeros and an extended sign in the other bits do not count as set.
    """
    native = stored.astype(form.dtype, copy=False)
    if form.is_float or form.stored == form.allocated:
        return native, False
    below = form.high_bit + 1 - form.stored
    numbers = np.right_shift(np.left_shift(native, form.allocated - 1 - form.high_bit), form.allocated - form.stored)
    differs = native != (np.left_shift(numbers, below) if below else numbers)
    if not differs.any():
        return numbers, False
    mask = ((1 << form.stored) - 1) << below
    outside = np.bitwise_and(native[differs].view(f"u{form.dtype.itemsize}"), ~mask & ((1 << form.allocated) - 1))
    return numbers, bool(outside.any())
