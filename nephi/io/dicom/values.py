"""Values of DICOM frames: each frame decoded with its own format and scale into a volume that holds them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nephi.errors import DataError, warn
from nephi.io.dicom.decoding import compressed_frames
from nephi.io.dicom.file import UNDEFINED, DicomFile
from nephi.io.dicom.frames import DicomFrame
from nephi.io.dicom.pixels import native_frames, pixel_format, significant_bits
from nephi.io.files.input_files import prefix_errors, reading
from nephi.io.voxels import EXACT, FLOAT32, FLOAT64, Array, Scaling, voxels_to_tensor

WHOLE_TYPES = tuple(map(np.dtype, ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")))


def read_values(frames: list[DicomFrame], path: Path) -> tuple[Tensor, str | None]:
    """Return the values `(X, Y, Z)` of frames in the order given, and the type they are stored with if it is another.

    A value is `slope * stored + intercept` of its own frame; values of MONOCHROME1 are not inverted. Whole numbers
    are held in the smallest integer type for what the headers allow, anything else in float32 (float64 where that would
    change whole numbers). One frame at a time is read beside the volume.
    """
    _warn_of_values(frames, path)
    with reading(path, f"{len(frames)} frames that fit into memory"):
        volume = np.empty((len(frames), *frames[0].shape), _volume_type(frames))
    targets: dict[DicomFile, dict[int, int]] = {}
    for target, frame in enumerate(frames):
        targets.setdefault(frame.file, {})[frame.index] = target
    extra_bits: list[DicomFile] = []
    for file, wanted in targets.items():
        form = pixel_format(file)
        for index, stored in enumerate(_stored_frames(file)):
            if index in wanted:
                numbers, outside = significant_bits(stored, form)
                extra_bits += [file] if outside and file not in extra_bits[-1:] else []
                _scale_into(volume[wanted[index]], numbers, frames[wanted[index]])
    if extra_bits:
        warn(
            f"{path}: pixels have bits set outside of those that BitsStored announces, in {len(extra_bits)} files "
            f"({extra_bits[0].path.name}, ...): an overlay, or a wrong header; they were ignored, as GDCM does"
        )
    with prefix_errors(path):
        return voxels_to_tensor(volume.T)


def _stored_frames(file: DicomFile) -> Iterator[Array]:
    assert file.pixels is not None
    return compressed_frames(file) if file.pixels.length == UNDEFINED else native_frames(file)


def _volume_type(frames: list[DicomFrame]) -> np.dtype[Any]:
    """Return the type that holds every value that the frames' formats and scales allow."""
    kinds = {(pixel_format(frame.file), frame.scaling) for frame in frames}
    reach = max(abs(scaling.slope * end + scaling.intercept) for form, scaling in kinds for end in form.limits)
    # In float64 at first, where float32 may change whole numbers; `voxels_to_tensor` sees whether it does.
    fractional = FLOAT32 if reach <= EXACT and all(form.allocated < 64 for form, _ in kinds) else FLOAT64
    if any(form.is_float or not scaling.is_whole for form, scaling in kinds):
        return fractional
    ends = [int(scaling.slope) * end + int(scaling.intercept) for form, scaling in kinds for end in form.limits]
    size = max(form.dtype.itemsize for form, _ in kinds)
    for candidate in WHOLE_TYPES:
        limits = np.iinfo(candidate)
        if candidate.itemsize >= size and limits.min <= min(ends) and max(ends) <= limits.max:
            return candidate
    return fractional


def _scale_into(target: Array, numbers: Array, frame: DicomFrame) -> None:
    """Write `slope * numbers + intercept` to `target`, whose type holds the result."""
    slope, intercept = frame.scaling.slope, frame.scaling.intercept
    if slope == 0 and numbers.min() != numbers.max():
        raise DataError(
            f"{frame.file.path}: expected a RescaleSlope other than 0 for {frame.label}; with it all values are equal"
        )
    if frame.scaling == Scaling():
        target[...] = numbers
    elif target.dtype.kind == "f":
        target[...] = numbers.astype(np.float64) * slope + intercept
    else:
        # Integers wrap, so that what is too large in between (65535 as int16) is right in the end.
        target[...] = numbers
        if slope != 1:
            target *= np.array(int(slope)).astype(target.dtype)
        target += np.array(int(intercept)).astype(target.dtype)


def _warn_of_values(frames: list[DicomFrame], path: Path) -> None:
    """Warn of half a rescaling, frames without one among others that have it, and inverted display."""
    half = [frame for frame in frames if frame.has_slope != frame.has_intercept and not _is_dose(frame.file)]
    if half:
        missing = "RescaleIntercept" if half[0].has_slope else "RescaleSlope"
        used = "0" if half[0].has_slope else "1"
        warn(
            f"{path}: {missing} is missing in {len(half)} of {len(frames)} slices ({half[0].label}, ...); "
            f"{used} was used"
        )
    bare = [frame for frame in frames if not frame.has_slope and not frame.has_intercept]
    scaled = [frame for frame in frames if frame.scaling != Scaling()]
    if bare and scaled:
        warn(
            f"{path}: {len(bare)} of {len(frames)} slices have no rescale slope and intercept ({bare[0].label}, ...), "
            "the others have; each was read by its own header, so that values may jump between slices"
        )
    if any(frame.file.text("PhotometricInterpretation") == "MONOCHROME1" for frame in frames):
        warn(
            f"{path}: MONOCHROME1, which is displayed inverted (low values bright); values are those stored, with "
            "slope and intercept, and not inverted: compare with an image of the same kind, or invert one of the two"
        )


def _is_dose(file: DicomFile) -> bool:
    return bool(file.text("DoseGridScaling"))
