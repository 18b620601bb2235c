"""Read the values of DICOM frames into one volume; each frame has its own pixel format and scaling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nephi.errors import DataError, warn
from nephi.images.voxels import EXACT, FLOAT32, FLOAT64, SIGNED, Array, Scaling, voxels_to_tensor
from nephi.io.dicom.decoding import decode_frames
from nephi.io.dicom.file import UNDEFINED, DicomFile
from nephi.io.dicom.frames import DicomFrame
from nephi.io.dicom.pixels import native_frames, pixel_format, significant_bits
from nephi.io.files.input_files import prefix_errors, reading

WHOLE_TYPES = tuple(map(np.dtype, ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")))


def read_values(frames: list[DicomFrame], path: Path) -> tuple[Tensor, str | None]:
    """Read the values `(X, Y, Z)` of frames in this order; return them with the stored type, None if it is the same.

    A value is `slope * stored + intercept` with the scaling of its frame; values of MONOCHROME1 are not inverted. Whole
    numbers have an integer type, as narrow as that of the pixels if the values fit (CT of 16 bits with an intercept of
    -1024: int16), other numbers float32 (float64 if float32 would change whole numbers). Beside the volume, one frame
    at a time is in memory.
    """
    _warn_about_values(frames, path)
    with reading(path, f"{len(frames)} frames that fit into memory"):
        volume = np.empty((len(frames), *frames[0].shape), _volume_type(frames))
    targets: dict[DicomFile, dict[int, int]] = {}
    for target, frame in enumerate(frames):
        targets.setdefault(frame.file, {})[frame.index] = target
    extra_bits: list[DicomFile] = []
    for file, slices in targets.items():
        form = pixel_format(file)
        for index, stored in enumerate(_stored_frames(file)):
            if index in slices:
                numbers, outside = significant_bits(stored, form)
                extra_bits += [file] if outside and file not in extra_bits[-1:] else []
                _scale_into(volume[slices[index]], numbers, frames[slices[index]])
    if extra_bits:
        warn(
            f"{path}: pixels have bits set outside of BitsStored, in {len(extra_bits)} files "
            f"({extra_bits[0].path.name}, ...): an overlay, or a wrong header; they were ignored, as in GDCM"
        )
    with prefix_errors(path):
        return voxels_to_tensor(_narrowed(volume, max(pixel_format(file).dtype.itemsize for file in targets)).T)


def _stored_frames(file: DicomFile) -> Iterator[Array]:
    assert file.pixels is not None
    return decode_frames(file) if file.pixels.length == UNDEFINED else native_frames(file)


def _volume_type(frames: list[DicomFrame]) -> np.dtype[Any]:
    """Return the type that represents every value that pixel formats and scalings of the frames allow."""
    kinds = {(pixel_format(frame.file), frame.scaling) for frame in frames}
    largest = max(abs(scaling.slope * end + scaling.intercept) for form, scaling in kinds for end in form.limits)
    # float64 if float32 may change whole numbers; `voxels_to_tensor` then tests whether it does.
    fractional = FLOAT32 if largest <= EXACT and all(form.allocated < 64 for form, _ in kinds) else FLOAT64
    if any(form.is_float or not scaling.is_whole for form, scaling in kinds):
        return fractional
    ends = [int(scaling.slope) * end + int(scaling.intercept) for form, scaling in kinds for end in form.limits]
    size = max(form.dtype.itemsize for form, _ in kinds)
    for candidate in WHOLE_TYPES:
        limits = np.iinfo(candidate)
        if candidate.itemsize >= size and limits.min <= min(ends) and max(ends) <= limits.max:
            return candidate
    return fractional


def _narrowed(volume: Array, size: int) -> Array:
    """Return whole numbers in the narrowest type of at least `size` bytes that represents all of them.

    Unsigned pixels of 16 bits with an intercept of -1024 may exceed int16, so that the headers demand twice the bytes,
    in memory and in every result; the values of a patient do not.
    """
    if volume.dtype.kind not in "iu" or volume.dtype.itemsize <= size:
        return volume
    low, high = int(volume.min()), int(volume.max())
    fitting = (t for t in SIGNED if t.itemsize >= size and np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return volume.astype(next(fitting), copy=False)


def _scale_into(target: Array, numbers: Array, frame: DicomFrame) -> None:
    """Write `slope * numbers + intercept` to `target`, whose type represents the result."""
    slope, intercept = frame.scaling.slope, frame.scaling.intercept
    if slope == 0 and numbers.min() != numbers.max():
        raise DataError(
            f"{frame.file.path}: expected a RescaleSlope other than 0, found 0 for {frame.label}, "
            "with which all values are equal"
        )
    if frame.scaling == Scaling():
        target[...] = numbers
    elif target.dtype.kind == "f":
        target[...] = numbers.astype(np.float64) * slope + intercept
    else:
        # Integers wrap around, so an intermediate overflow (65535 as int16) is undone at the end.
        target[...] = numbers
        if slope != 1:
            target *= np.array(int(slope)).astype(target.dtype)
        target += np.array(int(intercept)).astype(target.dtype)


def _warn_about_values(frames: list[DicomFrame], path: Path) -> None:
    """Warn about slope or intercept without the other, frames without scaling among scaled ones, and MONOCHROME1."""
    incomplete = [frame for frame in frames if frame.has_slope != frame.has_intercept and not _is_dose(frame.file)]
    if incomplete:
        missing = "RescaleIntercept" if incomplete[0].has_slope else "RescaleSlope"
        used = "0" if incomplete[0].has_slope else "1"
        warn(
            f"{path}: {missing} is missing in {len(incomplete)} of {len(frames)} slices ({incomplete[0].label}, ...); "
            f"{used} was used"
        )
    unscaled = [frame for frame in frames if not frame.has_slope and not frame.has_intercept]
    scaled = [frame for frame in frames if frame.scaling != Scaling()]
    if unscaled and scaled:
        warn(
            f"{path}: {len(unscaled)} of {len(frames)} slices have no rescale slope and intercept "
            f"({unscaled[0].label}, ...), the others have; each was read by its own header, so "
            "values may jump between slices"
        )
    if any(frame.file.text("PhotometricInterpretation") == "MONOCHROME1" for frame in frames):
        warn(
            f"{path}: MONOCHROME1, which is displayed inverted (low values bright); the stored values were used, not "
            "inverted: compare with an image of the same kind, or invert one of the two"
        )


def _is_dose(file: DicomFile) -> bool:
    return bool(file.text("DoseGridScaling"))
