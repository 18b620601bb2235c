"""Headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files, and the headers nephi writes.

Headers are read field by field and checked here, because NIfTI's libraries correct damaged fields silently, each
in its own way.
"""

from __future__ import annotations

import io
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.io.files.gzipped import content_of
from nephi.io.files.input_files import PAIR_SUFFIXES, reading, suffix_of
from nephi.io.frames import is_sheared
from nephi.io.nifti.pair import pair_of
from nephi.io.nifti.position import analyze_matrix, world_matrix
from nephi.io.stored_volume import StoredVolume
from nephi.io.voxels import UNSCALED, Scaling

NIFTI_2 = (b"n+2\x00\r\n\x1a\n", b"ni2\x00\r\n\x1a\n")
NIFTI_1 = (b"n+1\x00", b"ni1\x00")
LONGEST = 540  # bytes of a header of NIfTI-2
ANALYZE = 348  # first number in a header of Analyze, which has no magic word
SPACE_UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}
TIME_UNITS = {8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}


@dataclass(frozen=True, eq=False)
class NiftiFile(StoredVolume):
    """Header of a NIfTI file; `unit` is what its positions were stored in (`affine` is in mm)."""

    unit: str
    intent: int
    intent_name: str
    intent_p1: float
    description: str


def read_header(path: str | Path) -> NiftiFile:
    """Read the header of a NIfTI or Analyze file, whose voxels may be in a file of their own (`.hdr`, `.img`).

    Position: see `world_matrix`. Raises `DataError` when a file is missing, damaged, neither NIfTI nor Analyze, or
    announces what cannot be. The voxels may have any type; `require_scalars` allows real numbers only.
    """
    path = Path(path)
    content, voxels = pair_of(path) if suffix_of(path) in PAIR_SUFFIXES else (content_of(path),) * 2
    with reading(path, "a NIfTI file"), content.open() as stream:
        block = stream.read(LONGEST)
    with reading(path, "a NIfTI header"):
        header, magic = _parse(block, path)
    single = magic.startswith(b"n+")
    _require_files(path, magic, single, content is voxels)
    for part in {content, voxels}:
        part.warn_of_suffix()
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


def _parse(block: bytes, path: Path) -> tuple[Any, bytes]:
    """Return the header's fields and its magic word, empty for Analyze."""
    from nibabel.analyze import header_dtype as analyze
    from nibabel.nifti1 import header_dtype as nifti1
    from nibabel.nifti2 import header_dtype as nifti2

    if block[4:12] in NIFTI_2:
        kind, magic = nifti2, block[4:12]
    elif block[344:348] in NIFTI_1:
        kind, magic = nifti1, block[344:348]
    elif block[:4] in (ANALYZE.to_bytes(4, "little"), ANALYZE.to_bytes(4, "big")):
        kind, magic = analyze, b""
    else:
        raise DataError(f"{path}: expected a NIfTI file, could not read it: found other contents; was it renamed?")
    if len(block) < kind.itemsize:
        raise DataError(f"{path}: expected a header of {kind.itemsize} bytes, found {len(block)}; it is incomplete")
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        header: Any = np.frombuffer(block, kind.newbyteorder(order), 1)[0]
        if 1 <= header["dim"][0] <= 7:
            break
    else:
        raise DataError(f"{path}: expected 1 to 7 axes (dim[0]), found {header['dim'][0]}; the header is damaged")
    if int(header["sizeof_hdr"]) != kind.itemsize:
        warn(
            f"{path}: expected a sizeof_hdr of {kind.itemsize}, found {int(header['sizeof_hdr'])}; it is not used, but "
            "other tools may refuse the file"
        )
    return header, magic


def _require_files(path: Path, magic: bytes, single: bool, named_single: bool) -> None:
    """Raise `DataError` when suffix and magic word disagree on whether the voxels are in a file of their own."""
    if single and not named_single:
        raise DataError(f"{path}: expected a pair of .hdr and .img, found header and voxels in one file; name it .nii")
    if named_single and not single:
        found = "one whose voxels are in another file (.img); name it .hdr" if magic else "none that NIfTI begins with"
        raise DataError(f"{path}: expected a NIfTI header, could not read it: found {found}")


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    shape = tuple(int(n) for n in header["dim"][1 : 1 + int(header["dim"][0])])
    if min(shape) < 1:
        raise DataError(f"{path}: expected axes of at least one voxel, found {shape}; the header is damaged")
    return shape


def _voxel_type(header: Any, path: Path) -> np.dtype[Any]:
    from nibabel.nifti1 import data_type_codes

    code = int(header["datatype"])
    types: Any = data_type_codes.dtype
    dtype: np.dtype[Any] = np.dtype(types.get(code, "V0"))
    if dtype.itemsize == 0:
        raise DataError(f"{path}: expected a voxel type that NIfTI defines, found the code {code}; convert the file")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        warn(
            f"{path}: expected {8 * dtype.itemsize} bits a voxel (bitpix) of the type {dtype.name}, found "
            f"{int(header['bitpix'])}; the type is used, as in ITK"
        )
    swapped = header.dtype["sizeof_hdr"].byteorder not in ("=", "<" if sys.byteorder == "little" else ">")
    return dtype.newbyteorder("S" if swapped else "=")


def _offset(header: Any, path: Path, lowest: int) -> int:
    value = float(header["vox_offset"])
    if value == 0 and lowest:
        warn(
            f"{path}: expected the start of the voxels in vox_offset, found 0; {lowest + 4} is used, as in nibabel and "
            "FSL; ITK and ANTs read other voxels, 4 bytes earlier"
        )
        return lowest + 4
    if not math.isfinite(value) or value < lowest:
        raise DataError(
            f"{path}: expected voxels behind the header of {lowest} bytes, found a vox_offset of {value:g}; the header "
            "is damaged"
        )
    if lowest <= value < lowest + 4 and lowest:
        warn(
            f"{path}: expected a vox_offset of {lowest + 4} or more, found {value:g}; it is used, as in ITK; some "
            f"programs write it where the voxels begin at {lowest + 4}: check that the image is not shifted"
        )
    return int(header["vox_offset"])


def _scaling(header: Any, path: Path) -> Scaling:
    """Return slope and intercept; a slope of 0 or NaN means that stored numbers are the values, as NIfTI has it."""
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
            f"{path}: the header has an scl_inter of {intercept:g} without slope (scl_slope {slope:g}): the values are "
            "not scaled, as NIfTI defines; ITK adds scl_inter. If they are to be shifted, set scl_slope to 1"
        )
    return UNSCALED


def _unscaled_analyze(header: Any, path: Path) -> Scaling:
    """Return no scaling, as ITK; warn where SPM would scale (its own use of a field that Analyze leaves open)."""
    factor = float(header["funused1"])
    if math.isfinite(factor) and factor not in (0, 1):
        warn(
            f"{path}: the Analyze header holds {factor:g} where SPM keeps a factor of the values; it is not used, as "
            "in ITK. If SPM wrote the file, convert it to NIfTI with SPM"
        )
    return UNSCALED


def _text(value: bytes) -> str:
    """Return a fixed-length text field of a header up to its first zero byte."""
    return bytes(value).split(b"\x00")[0].decode("latin-1").strip()


def header_bytes(
    path: str | Path,
    grid: Grid,
    dtype: np.dtype[Any],
    extra: tuple[int, ...] = (),
    intent: int = 0,
    time: tuple[float, str] = (0.0, "unknown"),
) -> bytes:
    """Return the 352 bytes in front of the voxels: the grid's axes, then axes of the lengths `extra`.

    sform has code 1, and so has an equal qform, except for a sheared grid, which no qform can hold: code 0.
    Units are mm. A 2-D grid has the height of its plane, 0 without, and a third axis where its file had one.

    Raises `DataError` naming `path` when an axis is too long.
    """
    import nibabel

    space = grid.in_space()
    flat = grid.dimension == 2 and not extra and (grid.plane is None or grid.plane.step is None)
    shape = grid.shape if flat else (*space.shape, *extra)
    if max(shape) > 32767:
        raise DataError(f"{path}: NIfTI-1 holds at most 32767 voxels an axis, found {shape}; write .mha or .nrrd")
    affine = space.affine.numpy()
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_intent(intent)
    header.set_qform(affine, code=0 if is_sheared(grid) else 1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", time[1])
    if len(shape) > 3:
        header["pixdim"][4] = time[0] or 1.0
    block = io.BytesIO()
    header.write_to(block)
    return block.getvalue()
