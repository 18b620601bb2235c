"""Parse and validate headers of NRRD files (`.nrrd`, `.nhdr`).

Source: https://teem.sourceforge.net/nrrd/format.html. Where the format does not define the meaning of a header, it is
read as by ITK 5.4.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from nephi.errors import DataError
from nephi.io.files.input_files import reading, require_file
from nephi.io.meta_nrrd.header_values import data_file, numbered_files, parse_integer, parse_sizes
from nephi.io.meta_nrrd.nrrd_placement import VECTOR, nrrd_placement
from nephi.io.meta_nrrd.voxel_data import VoxelData
from nephi.io.meta_nrrd.voxel_file import VoxelFile, require_spatial

MAX_HEADER = 2**22  # bytes; 3-D Slicer's key/value pairs may be long
TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
CODES = {name: code for code, names in TYPES.items() for name in names.split(", ")}
ENCODINGS = {
    "raw": "raw",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
    "hex": "hex",
} | dict.fromkeys(("txt", "text", "ascii"), "text")
FIELDS = (
    "content, number, type, block size, dimension, space, space dimension, sizes, spacings, thicknesses, axis mins, "
    "axis maxs, space directions, centers, centerings, kinds, labels, units, min, max, old min, old max, endian, "
    "encoding, line skip, byte skip, sample units, space units, space origin, measurement frame, data file"
)
NAMES = {short: name for name in FIELDS.split(", ") for short in (name, name.replace(" ", ""))} | {
    "centerings": "centers"
}
DOMAINS = ("domain", "space", "time", "???", "none")  # kinds of axes that count voxels
Fields = dict[str, str]


def read_nrrd_header(path: Path) -> VoxelFile:
    """Read the header of a `.nrrd` or `.nhdr` file.

    Raises `DataError` naming the file when it is missing or not a NRRD file, when a value is damaged, or when
    `data_file` rejects a data file. Warns when the header does not define position or frame.
    """
    require_file(path)
    with reading(path, "a NRRD header"), open(path, "rb") as stream:
        fields, lines_after, end = _parse_fields(path, stream.read(MAX_HEADER))
    dimension = parse_integer(path, "dimension", _required(path, fields, "dimension"), 1, 16)
    lengths = parse_sizes(path, "sizes", _required(path, fields, "sizes"), dimension)
    kinds = _axis_kinds(path, fields, lengths)
    domain = [axis for axis, kind in enumerate(kinds) if kind in DOMAINS]
    channel_axes = [axis for axis in range(dimension) if axis not in domain]
    if len(channel_axes) > 1:
        raise DataError(
            f"{path}: expected at most one axis that is not of space or time, found kinds {' '.join(kinds)}"
        )
    time = _time_axis(fields, kinds, domain)
    volumes = 1 if time is None else lengths[time]
    domain = [axis for axis in domain if axis != time]
    shape = tuple(lengths[axis] for axis in domain)
    require_spatial(path, shape)
    channels = lengths[channel_axes[0]] if channel_axes else 1
    steps, origin = nrrd_placement(path, fields, shape, dimension, domain, channels > 1, time is not None)
    data = _locate_voxels(path, fields, lines_after, end, lengths)
    channel_axis = sum(axis < channel_axes[0] for axis in domain) if channel_axes else 0
    return VoxelFile(path, shape, _dtype(path, fields), steps, origin, data, channels, channel_axis, volumes)


def _parse_fields(path: Path, start: bytes) -> tuple[Fields, list[str], int]:
    """Parse the fields; return them, the lines after `data file: LIST`, and the byte where attached voxels start."""
    fields: Fields = {}
    line, end = _read_line(start, 0)
    if not re.fullmatch(r"NRRD(00\.01|000[1-5])", line or ""):
        raise DataError(f"{path}: expected a NRRD file of version 1 to 5, found other contents")
    while True:
        line, end = _read_line(start, end)
        if not line:
            if line is None and "data file" not in fields:
                raise DataError(
                    f"{path}: expected an empty line after the NRRD header, found none; the file is damaged"
                )
            return fields, [], end
        if line.startswith("#"):
            continue
        key, separator, value = line.partition(": ")
        name = NAMES.get(key.lower()) if separator or key.endswith(":") else None
        if name is None and line.endswith(":"):
            name, value = NAMES.get(line[:-1].lower()), ""
        if name is None and ":=" in line:
            continue  # a key/value pair of the user
        if name is None:
            raise DataError(f"{path}: expected a field of the NRRD format, found {line[:40]!r}; the header is damaged")
        if name in fields:
            raise DataError(f"{path}: expected the field {name} once, found it twice; the header is damaged")
        fields[name] = value.strip()
        if name == "data file" and fields[name].startswith("LIST"):
            return fields, start[end:].decode("utf-8", "replace").splitlines(), end


def _read_line(start: bytes, end: int) -> tuple[str | None, int]:
    """Return the line at byte `end` (None at the end of the file) and the byte after it."""
    if end >= len(start):
        return None, end
    line_end = start.find(b"\n", end) + 1 or len(start)
    return start[end:line_end].decode("utf-8", "replace").rstrip("\r\n"), line_end


def _required(path: Path, fields: Fields, name: str) -> str:
    if name not in fields:
        raise DataError(f"{path}: expected a NRRD header with the field {name}, found none; the file is damaged")
    return fields[name]


def _axis_kinds(path: Path, fields: Fields, lengths: tuple[int, ...]) -> list[str]:
    """Return the kind of each axis; without kinds, a first axis without a direction holds the numbers of a voxel."""
    words = fields.get("kinds", "").lower().split()
    if "kinds" in fields and len(words) != len(lengths):
        raise DataError(f"{path}: expected {len(lengths)} kinds, found {fields['kinds'][:60]!r}")
    for word in (word for word in words if word == "complex" or "masked" in word):
        raise DataError(
            f"{path}: expected one real number per voxel, found {word} numbers (kinds); extract one channel first"
        )
    undirected = [i for i, word in enumerate(fields.get("space directions", "").split()) if word.lower() == "none"]
    if not words and len(lengths) > 3 and undirected == [0]:
        return ["list"] + ["domain"] * (len(lengths) - 1)
    return words or ["domain"] * len(lengths)


def _time_axis(fields: Fields, kinds: list[str], domain: list[int]) -> int | None:
    """Return the axis of time among four: of kind time or without a direction, else the last; None for fewer axes."""
    if len(domain) != 4:
        return None
    undirected = [i for i, (vector, word) in enumerate(VECTOR.findall(fields.get("space directions", ""))) if word]
    return next((axis for axis in domain if kinds[axis] == "time" or axis in undirected), domain[-1])


def _dtype(path: Path, fields: Fields) -> np.dtype[Any]:
    name = _required(path, fields, "type").lower()
    code = CODES.get(name)
    if code is None:
        raise DataError(f"{path}: expected a type of NRRD (short, float, ...), found {name[:40]!r}")
    endian = fields.get("endian", "").lower()
    if endian not in ("little", "big") and not (endian == "" and (code[1] == "1" or _encoding(path, fields) == "text")):
        raise DataError(f"{path}: expected endian little or big, found {endian[:20] or 'none'}")
    return np.dtype((">" if endian == "big" and _encoding(path, fields) != "text" else "<") + code)


def _encoding(path: Path, fields: Fields) -> str:
    name = _required(path, fields, "encoding").lower()
    if name not in ENCODINGS:
        raise DataError(f"{path}: expected the encoding {', '.join(ENCODINGS)}, found {name[:40]!r}")
    return ENCODINGS[name]


def _locate_voxels(path: Path, fields: Fields, lines_after: list[str], end: int, lengths: tuple[int, ...]) -> VoxelData:
    """Return files, position and encoding of the voxels."""
    encoding = _encoding(path, fields)
    lines = parse_integer(path, "line skip", fields.get("line skip", "0"), 0, 2**20)
    skip = parse_integer(path, "byte skip", fields.get("byte skip", "0"), -(2**53), 2**53)
    if skip < 0 and encoding != "raw":
        raise DataError(f"{path}: expected uncompressed data for a negative byte skip, found {encoding}; decompress it")
    name = fields.get("data file")
    files = (path,) if name is None else _detached_files(path, name, lines_after, lengths)
    start = end if name is None else 0
    return VoxelData(path, files, encoding, start, lines, max(skip, 0), from_end=-skip - 1 if skip < 0 else None)


def _detached_files(path: Path, name: str, lines_after: list[str], lengths: tuple[int, ...]) -> tuple[Path, ...]:
    """Return the data files of `NAME`, `PATTERN first last step [D]` or `LIST [D]`, each of D axes."""
    words = name.split()
    if words[:1] == ["LIST"]:
        names = [line.strip() for line in lines_after if line.strip()]
        _require_file_count(path, len(names), words[1:], lengths)
        return tuple(data_file(path, each) for each in names)
    if "%" not in name:
        return (data_file(path, name),)
    if len(words) not in (4, 5):
        raise DataError(f"{path}: expected a pattern and first, last and step for the data files, found {name[:80]!r}")
    first, last = (parse_integer(path, "data file", word, 0, 2**31) for word in words[1:3])
    step = parse_integer(path, "data file", words[3], -(2**31), 2**31)
    chosen = range(first, last + (1 if step > 0 else -1), step) if step else range(0)
    _require_file_count(path, len(chosen), words[4:], lengths)
    return numbered_files(path, words[0], chosen)


def _require_file_count(path: Path, count: int, axes: list[str], lengths: tuple[int, ...]) -> None:
    """Raise `DataError` unless `count` files of D axes each, or of slabs of all axes, make up the array."""
    d = parse_integer(path, "data file", axes[0], 1, len(lengths)) if axes else len(lengths) - 1
    expected = int(np.prod(lengths[d:], dtype=np.int64))
    if count != expected if d < len(lengths) else (count == 0 or lengths[-1] % count != 0):
        raise DataError(f"{path}: expected {expected} data files of {d} axes each, found {count}")
