"""Parse and validate headers of MetaImage files (`.mha`, `.mhd`).

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation. Where the format does not define the meaning of a header, it is
read as by ITK 5.4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nephi.errors import DataError, warn
from nephi.io.files.input_files import reading, require_file
from nephi.io.meta_nrrd.header_values import data_file, numbered_files, parse_integer, parse_number, parse_sizes
from nephi.io.meta_nrrd.meta_placement import meta_placement
from nephi.io.meta_nrrd.voxel_data import VoxelData
from nephi.io.meta_nrrd.voxel_file import VoxelFile, require_spatial

MAX_HEADER = 2**20  # bytes
MAX_LINE = 2**15
MAX_WARNINGS = 5  # about repeated fields
TYPES = {
    **dict.fromkeys(("MET_CHAR", "MET_ASCII_CHAR"), "i1"),
    **dict.fromkeys(("MET_LONG", "MET_INT"), "i4"),  # long has four bytes in MetaIO
    **dict.fromkeys(("MET_ULONG", "MET_UINT"), "u4"),
    **{"MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
Fields = dict[str, str]


def read_meta_header(path: Path) -> VoxelFile:
    """Read the header of a `.mha` or `.mhd` file.

    Raises `DataError` naming the file when it is missing or not a MetaImage, when a value is damaged, or when
    `data_file` rejects the data file. Warns when the header contradicts itself, or has no position or spacing.
    """
    require_file(path)
    with reading(path, "a MetaImage header"), open(path, "rb") as stream:
        fields, lines_after, end = _parse_fields(path, stream.read(MAX_HEADER))
    if fields.get("ObjectType", "Image") != "Image":
        raise DataError(f"{path}: expected ObjectType Image, found {fields['ObjectType'][:40]!r}")
    d = parse_integer(path, "NDims", _required(path, fields, "NDims"), 1, 10)
    lengths = parse_sizes(path, "DimSize", _required(path, fields, "DimSize"), d)
    shape, volumes = (lengths[:3], lengths[3]) if d == 4 else (lengths, 1)
    require_spatial(path, shape)
    channels = parse_integer(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"), 1, 2**20)
    dtype = _element_type(path, fields)
    steps, origin = meta_placement(path, fields, d, len(shape))
    _warn_about_ignored_fields(path, fields)
    data = _locate_voxels(path, fields, lines_after, end, lengths)
    return VoxelFile(path, shape, dtype, steps, origin, data, channels, volumes=volumes)


def _parse_fields(path: Path, start: bytes) -> tuple[Fields, list[str], int]:
    """Parse the fields up to ElementDataFile; return them, the lines after it, and the byte where those start."""
    fields: Fields = {}
    repeated: dict[str, tuple[str, str]] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.find(b"\n", end) + 1 or len(start)
        line = start[end:line_end]
        if not line or len(line) > MAX_LINE:
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
    _warn_about_repeated_fields(path, fields, repeated)
    lines_after = (
        start[end:].decode("utf-8", "replace").splitlines() if fields["ElementDataFile"].startswith("LIST") else []
    )
    return fields, lines_after, end


def _warn_about_repeated_fields(path: Path, fields: Fields, repeated: dict[str, tuple[str, str]]) -> None:
    """Warn about fields that occur again with another value, at most `MAX_WARNINGS`."""
    for key in list(repeated)[:MAX_WARNINGS]:
        first, second = (value[:40] for value in repeated[key])
        used = "the second" if fields[key] == repeated[key][1] else f"the last, {fields[key][:40]!r},"
        warn(f"{path}: the header has {key[:40]} twice, {first!r} and {second!r}; {used} is used, as in ITK")


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
        warn(f"{path}: the header has two byte orders; BinaryDataByteOrderMSB is used, as in ITK")
    return np.dtype((">" if orders and orders[0] else "<") + code)


def _is_true(word: str) -> bool:
    return word[:1] in ("T", "t", "1")


def _warn_about_ignored_fields(path: Path, fields: Fields) -> None:
    """Warn about fields that would change values or sizes, and that ITK ignores."""
    unit = fields.get("DistanceUnits", "mm")
    if unit not in ("mm", "?", "unknown", ""):
        warn(f"{path}: the header has DistanceUnits {unit[:20]}; its numbers are read as mm, as in ITK")
    scale = [
        fields.get(f"ElementToIntensityFunction{name}", default) for name, default in (("Slope", "1"), ("Offset", "0"))
    ]
    if [parse_number(path, "ElementToIntensityFunction", word) for word in scale] != [1, 0]:
        warn(f"{path}: the header has ElementToIntensityFunction {' '.join(scale)}; values are not scaled, as in ITK")


def _locate_voxels(path: Path, fields: Fields, lines_after: list[str], end: int, shape: tuple[int, ...]) -> VoxelData:
    """Return files, position and encoding of the voxels."""
    name = fields["ElementDataFile"]
    binary = _is_true(fields.get("BinaryData", "True"))
    compressed = binary and _is_true(fields.get("CompressedData", "False"))
    compressed_size = (
        parse_integer(path, "CompressedDataSize", fields.get("CompressedDataSize", "0"), 0, 2**53) if compressed else 0
    )
    header = parse_integer(path, "HeaderSize", fields.get("HeaderSize", "0"), -1, 2**53)
    start = max(header, 0)
    files: tuple[Path, ...]
    if name in ("LOCAL", "Local", "local"):
        files, start = (path,), start or end
    elif name.split()[:1] == ["LIST"]:
        files = _list_files(path, name, lines_after, shape)
    elif "%" in name:
        files = _pattern_files(path, name, shape[-1])
    else:
        files, compressed = _single_file(path, name, compressed)
    if header == -1 and compressed:
        raise DataError(f"{path}: expected uncompressed data for HeaderSize -1, found CompressedData; decompress it")
    encoding = "zlib" if compressed else "raw" if binary else "text"
    return VoxelData(
        path, files, encoding, start, from_end=0 if header == -1 else None, compressed_size=compressed_size or None
    )


def _single_file(path: Path, name: str, compressed: bool) -> tuple[tuple[Path, ...], bool]:
    """Return the data file and whether it is compressed; `NAME.gz` (compressed) if `NAME` is missing."""
    try:
        return (data_file(path, name),), compressed
    except DataError as error:
        try:
            return (data_file(path, f"{name}.gz"),), True
        except DataError:
            raise error from None


def _list_files(path: Path, name: str, lines_after: list[str], shape: tuple[int, ...]) -> tuple[Path, ...]:
    """Return the files of `LIST [D]`, one per line, each of D axes."""
    words = name.split()
    d = parse_integer(path, "ElementDataFile LIST", words[1], 1, len(shape) - 1) if len(words) > 1 else len(shape) - 1
    count = int(np.prod(shape[d:], dtype=np.int64))
    names = [line.strip() for line in lines_after if line.strip()]
    if len(names) != count:
        raise DataError(f"{path}: expected {count} names of data files in the list, found {len(names)}")
    return tuple(data_file(path, each) for each in names)


def _pattern_files(path: Path, name: str, slices: int) -> tuple[Path, ...]:
    """Return the files of `PATTERN [first [last [step]]]`, one for each slice."""
    words = name.split()
    first, last, step = 1, slices, 1
    if len(words) > 1:
        first = parse_integer(path, "ElementDataFile", words[1], 0, 2**31)
        last = first + slices - 1
    if len(words) > 2:
        last = parse_integer(path, "ElementDataFile", words[2], first, 2**31)
        step = max(1, (last - first) // slices)
    if len(words) > 3:
        step = parse_integer(path, "ElementDataFile", words[3], 1, 2**31)
    chosen = range(first, last + 1, step)[:slices]
    if len(chosen) != slices or len(words) > 4:
        raise DataError(f"{path}: expected numbers for {slices} data files, found ElementDataFile {name[:80]!r}")
    return numbered_files(path, words[0], chosen)
