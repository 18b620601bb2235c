"""Headers of MetaImage files (`.mha`, `.mhd`), parsed and checked before anything else is read.

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation. Where the header leaves something open, ITK 5.4 decides: what it
makes of a valid file is what these functions make of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError, warn
from nephi.io.files.input_files import reading, require_file
from nephi.io.meta_nrrd.data_files import data_file, numbered_files
from nephi.io.meta_nrrd.header_values import integer, number, numbers, sizes
from nephi.io.meta_nrrd.voxel_data import VoxelData
from nephi.io.meta_nrrd.voxel_file import VoxelFile, require_spatial

LONGEST_HEADER = 2**20  # bytes
LONGEST_LINE = 2**15
MOST_REPEATED = 5  # fields that are warned of
TYPES = {
    **dict.fromkeys(("MET_CHAR", "MET_ASCII_CHAR"), "i1"),
    **dict.fromkeys(("MET_LONG", "MET_INT"), "i4"),  # MetaIO's long has four bytes
    **dict.fromkeys(("MET_ULONG", "MET_UINT"), "u4"),
    **{"MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
# Later ones take precedence, as in ITK 5.4.
POSITIONS = ("Position", "Offset", "Origin", "ImagePosition")
DIRECTIONS = ("Orientation", "Rotation", "TransformMatrix")
Fields = dict[str, str]


def read_meta_header(path: Path) -> VoxelFile:
    """Read the header of a `.mha` or `.mhd` file.

    Raises `DataError` naming the file when it is missing or no MetaImage, when a value is damaged, or when the data
    file is not one that `data_file` follows. A header that contradicts itself, or leaves position or spacing open,
    is a `DataWarning`.
    """
    require_file(path)
    with reading(path, "a MetaImage header"), open(path, "rb") as stream:
        fields, lines_after, end = _fields(path, stream.read(LONGEST_HEADER))
    if fields.get("ObjectType", "Image") != "Image":
        raise DataError(f"{path}: expected ObjectType Image, found {fields['ObjectType'][:40]!r}")
    d = integer(path, "NDims", _required(path, fields, "NDims"), 1, 10)
    lengths = sizes(path, "DimSize", _required(path, fields, "DimSize"), d)
    shape, volumes = (lengths[:3], lengths[3]) if d == 4 else (lengths, 1)
    require_spatial(path, shape)
    channels = integer(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"), 1, 2**20)
    dtype = _element_type(path, fields)
    steps, origin = _placement(path, fields, d, len(shape))
    _warn_of_unused(path, fields)
    data = _data(path, fields, lines_after, end, lengths)
    return VoxelFile(path, shape, dtype, steps, origin, data, channels, volumes=volumes)


def _fields(path: Path, start: bytes) -> tuple[Fields, list[str], int]:
    """Return the fields up to ElementDataFile, the lines after it, and the byte where the line after it starts."""
    fields: Fields = {}
    repeated: dict[str, tuple[str, str]] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.find(b"\n", end) + 1 or len(start)
        line = start[end:line_end]
        if not line or len(line) > LONGEST_LINE:
            raise DataError(f"{path}: expected a MetaImage header that ends with ElementDataFile, found none")
        end = line_end
        text = line.decode("utf-8", "replace").strip()
        key, separator, value = text.partition("=") if "=" in text.split(":")[0] else text.partition(":")
        key, value = key.strip(), value.strip()
        if not separator and text:
            raise DataError(f"{path}: expected lines 'Name = value' in the header, found {text[:40]!r}")
        if fields.get(key, value) != value:
            repeated.setdefault(key, (fields[key], value))
        if text:
            fields[key] = value
    _warn_of_repeated(path, fields, repeated)
    lines_after = (
        start[end:].decode("utf-8", "replace").splitlines() if fields["ElementDataFile"].startswith("LIST") else []
    )
    return fields, lines_after, end


def _warn_of_repeated(path: Path, fields: Fields, repeated: dict[str, tuple[str, str]]) -> None:
    """Issue one `DataWarning` for each of the first few fields that occur again with another value."""
    for key in list(repeated)[:MOST_REPEATED]:
        first, second = (value[:40] for value in repeated[key])
        used = "the second" if fields[key] == repeated[key][1] else f"the last, {fields[key][:40]!r}"
        warn(f"{path}: header has {key[:40]} twice, {first!r} and {second!r}; used {used}, as ITK does")


def _required(path: Path, fields: Fields, name: str) -> str:
    if name not in fields:
        raise DataError(f"{path}: expected a MetaImage header with {name}, found none; the file is damaged")
    return fields[name]


def _element_type(path: Path, fields: Fields) -> np.dtype[Any]:
    name = _required(path, fields, "ElementType")
    code = TYPES.get(name.removesuffix("_ARRAY"))
    if code is None:
        raise DataError(f"{path}: expected ElementType to be one of {', '.join(TYPES)}, found {name[:40]!r}")
    orders = [_is_true(fields[key]) for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if key in fields]
    if len(set(orders)) > 1:
        warn(f"{path}: header has two byte orders; used BinaryDataByteOrderMSB, as ITK does")
    return np.dtype((">" if orders and orders[0] else "<") + code)


def _is_true(word: str) -> bool:
    return word[:1] in ("T", "t", "1")


def _placement(path: Path, fields: Fields, d: int, spatial: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps (columns) and origin in LPS of the first `spatial` of `d` axes."""
    position = _last_given(path, fields, POSITIONS, d)
    direction = _last_given(path, fields, DIRECTIONS, d * d)
    spacing = _last_given(path, fields, ("ElementSize", "ElementSpacing"), d, compared=False)
    if not position:
        warn(f"{path}: header has no position (Offset); used 0 mm, as ITK does")
    if not spacing:
        warn(f"{path}: header has no spacing (ElementSpacing); used 1 mm, as ITK does")
    matrix = np.reshape(direction or np.eye(d), (d, d)).T  # rows of the file are the axes' directions
    steps = matrix * np.array(spacing or np.ones(d))
    if spatial < d and (np.any(steps[spatial:, :spatial]) or np.any(steps[:spatial, spatial:])):
        raise DataError(f"{path}: expected a time axis beside three of space, found a TransformMatrix that mixes them")
    _check_orientation(path, fields, matrix, d)
    return steps[:spatial, :spatial].copy(), np.array(position or np.zeros(d))[:spatial]


def _last_given(path: Path, fields: Fields, names: tuple[str, ...], count: int, compared: bool = True) -> list[float]:
    """Return the numbers of the last of `names` that the header has, none if it has none.

    Where they are `compared`, others that differ are a `DataWarning`.
    """
    values = {name: _leading(path, name, fields[name], count) for name in names if name in fields}
    last = list(values)[-1] if values else ""
    for name in values:
        if compared and not np.allclose(values[name], values[last], rtol=1e-6, atol=1e-6):
            both = f"{name} {fields[name][:60]} and {last} {fields[last][:60]}"
            warn(f"{path}: header has {both}; used the second, as ITK does")
    return values.get(last, [])


def _leading(path: Path, field: str, text: str, count: int) -> list[float]:
    words = text.split(maxsplit=count)
    if len(words) > count:
        warn(f"{path}: header has more than {count} numbers for {field}; used the first {count}, as ITK does")
    return numbers(path, field, " ".join(words[:count]), count)


def _check_orientation(path: Path, fields: Fields, matrix: NDArray[np.float64], d: int) -> None:
    """Issue a `DataWarning` when AnatomicalOrientation, which ITK ignores, contradicts the direction matrix.

    Its letters name the side where an axis starts (ITK's RAI for the identity) or ends: only what is neither counts.
    """
    letters = fields.get("AnatomicalOrientation", "").upper()
    if d != 3 or len(letters) != 3 or not all(sum(c in letters for c in pair) == 1 for pair in ("RL", "AP", "IS")):
        return
    axis = [next(i for i, pair in enumerate(("RL", "AP", "IS")) if letter in pair) for letter in letters]
    signs = np.array([1 if letter in "RAI" else -1 for letter in letters])
    along = matrix[axis, range(3)] * signs
    largest = np.abs(matrix).max(axis=0)
    if not (np.all(along >= 0.7 * largest) or np.all(along <= -0.7 * largest)):
        warn(
            f"{path}: header has AnatomicalOrientation {letters}, which TransformMatrix contradicts; used the matrix, "
            "as ITK does"
        )


def _warn_of_unused(path: Path, fields: Fields) -> None:
    """Issue a `DataWarning` for fields that change values or sizes and that ITK ignores."""
    unit = fields.get("DistanceUnits", "mm")
    if unit not in ("mm", "?", "unknown", ""):
        warn(f"{path}: header has DistanceUnits {unit[:20]}; its numbers are taken for mm, as ITK does")
    scale = [
        fields.get(f"ElementToIntensityFunction{name}", default) for name, default in (("Slope", "1"), ("Offset", "0"))
    ]
    if [number(path, "ElementToIntensityFunction", word) for word in scale] != [1, 0]:
        warn(f"{path}: header has ElementToIntensityFunction {' '.join(scale)}; values are left as stored, as ITK does")


def _data(path: Path, fields: Fields, lines_after: list[str], end: int, shape: tuple[int, ...]) -> VoxelData:
    name = fields["ElementDataFile"]
    binary = _is_true(fields.get("BinaryData", "True"))
    compressed = binary and _is_true(fields.get("CompressedData", "False"))
    packed = integer(path, "CompressedDataSize", fields.get("CompressedDataSize", "0"), 0, 2**53) if compressed else 0
    header = integer(path, "HeaderSize", fields.get("HeaderSize", "0"), -1, 2**53)
    start = max(header, 0)
    files: tuple[Path, ...]
    if name in ("LOCAL", "Local", "local"):
        files, start = (path,), start or end
    elif name.split()[:1] == ["LIST"]:
        files = _listed(path, name, lines_after, shape)
    elif "%" in name:
        files = _numbered(path, name, shape[-1])
    else:
        files, compressed = _single(path, name, compressed)
    if header == -1 and compressed:
        raise DataError(f"{path}: expected uncompressed data with HeaderSize -1, found CompressedData; decompress it")
    encoding = "zlib" if compressed else "raw" if binary else "text"
    return VoxelData(path, files, encoding, start, from_end=0 if header == -1 else None, packed=packed or None)


def _single(path: Path, name: str, compressed: bool) -> tuple[tuple[Path, ...], bool]:
    """Return the data file, or that of the name with `.gz`, which is compressed, when only that is there."""
    try:
        return (data_file(path, name),), compressed
    except DataError as error:
        try:
            return (data_file(path, f"{name}.gz"),), True
        except DataError:
            raise error from None


def _listed(path: Path, name: str, lines_after: list[str], shape: tuple[int, ...]) -> tuple[Path, ...]:
    """Return the files of `LIST [D]`, one a line, each of D axes."""
    words = name.split()
    d = integer(path, "ElementDataFile LIST", words[1], 1, len(shape) - 1) if len(words) > 1 else len(shape) - 1
    count = int(np.prod(shape[d:], dtype=np.int64))
    names = [line.strip() for line in lines_after if line.strip()]
    if len(names) != count:
        raise DataError(f"{path}: expected {count} names of data files in the list, found {len(names)}")
    return tuple(data_file(path, each) for each in names)


def _numbered(path: Path, name: str, slices: int) -> tuple[Path, ...]:
    """Return the files of `PATTERN [first [last [step]]]`, one for each slice."""
    words = name.split()
    first, last, step = 1, slices, 1
    if len(words) > 1:
        first = integer(path, "ElementDataFile", words[1], 0, 2**31)
        last = first + slices - 1
    if len(words) > 2:
        last = integer(path, "ElementDataFile", words[2], first, 2**31)
        step = max(1, (last - first) // slices)
    if len(words) > 3:
        step = integer(path, "ElementDataFile", words[3], 1, 2**31)
    chosen = range(first, last + 1, step)[:slices]
    if len(chosen) != slices or len(words) > 4:
        raise DataError(f"{path}: expected numbers for {slices} data files, found ElementDataFile {name[:80]!r}")
    return numbered_files(path, words[0], chosen)
