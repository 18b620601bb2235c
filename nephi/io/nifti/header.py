"""Read headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files.

Each field is validated, because the libraries for NIfTI correct damaged fields silently, each in its own way.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nephi.errors import DataError, warn
from nephi.images.voxels import UNSCALED, Scaling
from nephi.io.files.gzipped import Content, content_of
from nephi.io.files.input_files import PAIR_SUFFIXES, reading, require_file, suffix_of
from nephi.io.nifti.layout import ANALYZE, NIFTI_1, NIFTI_2, SPACE_UNITS, TIME_UNITS, VOXEL_TYPES
from nephi.io.nifti.position import analyze_matrix, world_matrix
from nephi.io.stored_volume import StoredVolume

MAGIC_2 = (b"n+2\x00\r\n\x1a\n", b"ni2\x00\r\n\x1a\n")
MAGIC_1 = (b"n+1\x00", b"ni1\x00")


@dataclass(frozen=True, eq=False)
class NiftiFile(StoredVolume):
    """Header of a NIfTI file; `unit` is the unit of its stored positions (`affine` is in mm)."""

    unit: str
    intent: int
    intent_name: str
    intent_p1: float
    description: str


def read_header(path: str | Path) -> NiftiFile:
    """Read the header of a NIfTI or Analyze file, in one file with the voxels or in a pair of `.hdr` and `.img`.

    Voxels may have any type; `require_scalars` rejects all but real numbers. `world_matrix` computes the position.
    Raises `DataError` when a file is missing, damaged, or neither NIfTI nor Analyze, or a field has an invalid value.
    """
    path = Path(path)
    content, voxels = _pair_contents(path) if suffix_of(path) in PAIR_SUFFIXES else (content_of(path),) * 2
    with reading(path, "a NIfTI file"), content.open() as stream:
        block = stream.read(NIFTI_2.itemsize)
    with reading(path, "a NIfTI header"):
        header, magic = _parse(block, path)
    single = magic.startswith(b"n+")
    _require_storage(path, magic, single, content is voxels)
    for each in {content, voxels}:
        each.warn_of_suffix()
    dtype = _voxel_type(header, path)
    unit = int(header["xyzt_units"]) if magic else 2
    return NiftiFile(
        path=path,
        content=voxels,
        shape=_shape(header, path),
        dtype=dtype,
        offset=_offset(header, path, len(header.tobytes()) if single else 0),
        scaling=_scaling(header, path) if magic else _unscaled_analyze(header, path),
        compute_affine=lambda: world_matrix(header, path) if magic else analyze_matrix(header, path),
        unit=SPACE_UNITS.get(unit & 7, "unknown"),
        intent=int(header["intent_code"]) if magic else 0,
        intent_name=_text(header["intent_name"]) if magic else "",
        intent_p1=float(header["intent_p1"]) if magic else 0.0,
        description=_text(header["descrip"]),
        time_step=float(step) if math.isfinite(step := float(header["pixdim"][4])) else 0.0,
        time_unit=TIME_UNITS.get(unit & 0x38, "unknown"),
    )


def _pair_contents(path: Path) -> tuple[Content, Content]:
    """Return the contents of header (`.hdr`) and voxels (`.img`) of the pair to which `path` belongs.

    Either file may be gzipped. Raises `DataError` when the other file is missing.
    """
    require_file(path)
    stem = path.name[: -len(suffix_of(path))]
    is_header = suffix_of(path).startswith(".hdr")
    partner_suffix = ".img" if is_header else ".hdr"
    names = [stem + suffix for lower in (partner_suffix, partner_suffix + ".gz") for suffix in (lower, lower.upper())]
    partner = next((path.with_name(name) for name in names if os.path.exists(path.with_name(name))), None)
    if partner is None:
        missing = "voxels" if is_header else "header"
        raise DataError(f"{path}: expected its {missing} in {names[0]} or {names[2]} beside it, found neither")
    files = (path, partner) if is_header else (partner, path)
    return content_of(files[0]), content_of(files[1])


def _parse(block: bytes, path: Path) -> tuple[Any, bytes]:
    """Return the fields of the header and its magic word, which is empty for Analyze."""
    if block[4:12] in MAGIC_2:
        kind, magic = NIFTI_2, block[4:12]
    elif block[344:348] in MAGIC_1:
        kind, magic = NIFTI_1, block[344:348]
    elif block[:4] in (ANALYZE.itemsize.to_bytes(4, "little"), ANALYZE.itemsize.to_bytes(4, "big")):  # no magic word
        kind, magic = ANALYZE, b""
    else:
        raise DataError(
            f"{path}: expected a NIfTI file, could not read it: found other contents; was the file renamed?"
        )
    if len(block) < kind.itemsize:
        raise DataError(
            f"{path}: expected a header of {kind.itemsize} bytes, found {len(block)}; the file is incomplete"
        )
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        header: Any = np.frombuffer(block, kind.newbyteorder(order), 1)[0]
        if 1 <= header["dim"][0] <= 7:
            break
    else:
        raise DataError(f"{path}: expected 1 to 7 axes (dim[0]), found {header['dim'][0]}; the header is damaged")
    if int(header["sizeof_hdr"]) != kind.itemsize:
        warn(
            f"{path}: expected a sizeof_hdr of {kind.itemsize}, found {int(header['sizeof_hdr'])}; nephi ignores "
            "it, but other tools may refuse the file"
        )
    return header, magic


def _require_storage(path: Path, magic: bytes, single: bool, single_by_suffix: bool) -> None:
    """Raise `DataError` when suffix and magic word disagree whether header and voxels are in a single file."""
    if single and not single_by_suffix:
        raise DataError(f"{path}: expected a pair of .hdr and .img, found header and voxels in one file; name it .nii")
    if single_by_suffix and not single:
        found = "one whose voxels are in another file (.img); name it .hdr" if magic else "one of Analyze"
        raise DataError(f"{path}: expected a NIfTI header, could not read it: found {found}")


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    shape = tuple(int(n) for n in header["dim"][1 : 1 + int(header["dim"][0])])
    if min(shape) < 1:
        raise DataError(f"{path}: expected axes of at least one voxel, found {shape}; the header is damaged")
    return shape


def _voxel_type(header: Any, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    dtype = VOXEL_TYPES.get(code)
    if dtype is None:
        raise DataError(
            f"{path}: expected a voxel type (datatype) of 8 to 64 bits a value, or RGB, found {code}; convert the file"
        )
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        warn(
            f"{path}: expected {8 * dtype.itemsize} bits per voxel (bitpix) for the type {dtype.name}, found "
            f"{int(header['bitpix'])}; the type is used, as in ITK"
        )
    swapped = header.dtype["sizeof_hdr"].byteorder not in ("=", "<" if sys.byteorder == "little" else ">")
    return dtype.newbyteorder("S" if swapped else "=")


def _offset(header: Any, path: Path, header_size: int) -> int:
    """Return the first byte of the voxels, which is behind `header_size` bytes (0 for a file of its own)."""
    value = float(header["vox_offset"])
    if value == 0 and header_size:
        warn(
            f"{path}: expected the start of the voxels in vox_offset, found 0; {header_size + 4} is used, as in "
            "nibabel and FSL; ITK and ANTs read other voxels, 4 bytes earlier"
        )
        return header_size + 4
    if not math.isfinite(value) or value < header_size:
        raise DataError(
            f"{path}: expected a vox_offset behind the header of {header_size} bytes, found {value:g}; the header is "
            "damaged"
        )
    if header_size <= value < header_size + 4 and header_size:
        warn(
            f"{path}: expected a vox_offset of {header_size + 4} or more, found {value:g}; used as in ITK; some "
            f"programs write it although the voxels start at {header_size + 4}: check that the image is not shifted"
        )
    return int(header["vox_offset"])


def _scaling(header: Any, path: Path) -> Scaling:
    """Return slope and intercept; by NIfTI's definition, a slope of 0 or NaN means no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isfinite(slope) and slope != 0:
        if math.isfinite(intercept):
            return Scaling(slope, intercept)
        warn(f"{path}: expected a finite scl_inter, found {intercept:g}; 0 is used, as in ITK")
        return Scaling(slope, 0.0)
    if math.isinf(slope):
        warn(f"{path}: expected a finite scl_slope, found {slope:g}; the values are not scaled, as in ITK")
    elif math.isfinite(intercept) and intercept != 0:
        warn(
            f"{path}: the header has an scl_inter of {intercept:g} without a slope (scl_slope {slope:g}): the values "
            "are not scaled, as NIfTI defines; ITK adds scl_inter. To shift the values, set scl_slope to 1"
        )
    return UNSCALED


def _unscaled_analyze(header: Any, path: Path) -> Scaling:
    """Return no scaling, as in ITK; warn if SPM would scale the values, by a field that Analyze does not define."""
    factor = float(header["funused1"])
    if math.isfinite(factor) and factor not in (0, 1):
        warn(
            f"{path}: the Analyze header has {factor:g} in funused1, where SPM stores a scale factor; it is not used, "
            "as in ITK. If SPM wrote the file, convert it to NIfTI with SPM"
        )
    return UNSCALED


def _text(value: bytes) -> str:
    """Decode a fixed-length text field up to its first zero byte."""
    return bytes(value).split(b"\x00")[0].decode("latin-1").strip()
