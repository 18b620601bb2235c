"""Read HDF5 files of ITK's transforms (`.h5`, `.hdf5`); their structure is verified before numbers are read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from nephi.errors import DataError
from nephi.io.files.input_files import reading, require_file
from nephi.io.transforms.itk_linear import Vector
from nephi.io.transforms.itk_member import COMPOSITE, MAX_FIXED, Member, MemberType, member_type, verified_member

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_END = {
    0: 40,
    1: 44,
    2: 28,
    3: 28,
}  # offset of the end-of-file address in the superblock of each version (8-byte addresses)
GROUP = "TransformGroup"
PREFIXES = ("Transform", "Tranform")  # ITK 4 wrote the second
MAX_MEMBERS = 1000
MAX_NAME = 1000  # bytes of the name of a class
MAX_RATIO = 1100  # deflate compresses up to 1032 bytes to one


def read_hdf5_members(path: Path) -> list[Member]:
    """Read the transforms of an ITK HDF5 file in stored order.

    A composite, which is the first transform of its file, becomes a member without parameters.

    Links, data sets stored in other files and virtual data sets are rejected. Raises `DataError` naming the file for
    these, and unless all transforms are of known classes with the correct number of finite parameters.
    """
    _require_complete(path)
    import h5py

    with reading(path, "a transform"), h5py.File(path, "r") as file:
        transforms = _get_entry(path, file, GROUP, h5py.Group)
        count = len(transforms)
        if not 1 <= count <= MAX_MEMBERS or set(transforms) != {str(index) for index in range(count)}:
            raise DataError(
                f"{path}: expected 1 to {MAX_MEMBERS} transforms numbered from 0 in {GROUP}, found {count} entries; "
                "the file is damaged, or of another tool"
            )
        return [_member(path, _get_entry(path, transforms, str(index), h5py.Group)) for index in range(count)]


def _member(path: Path, group: Any) -> Member:
    kind = member_type(path, _class_name(path, group))
    if kind.name == COMPOSITE:
        return Member(kind, np.empty(0), np.empty(0))
    return verified_member(path, kind, _number_dataset(path, group, "Parameters"), _fixed_parameters(path, kind, group))


def _get_entry(path: Path, group: Any, name: str, kind: type) -> Any:
    """Return an entry of a group; raise `DataError` when it is missing, of another kind, or a link."""
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        target = f"the file {link.filename}" if isinstance(link, h5py.ExternalLink) else link.path
        raise DataError(
            f"{path}: expected {group.name}/{name} in the file itself, found a link to {target}; save the transform "
            "without links"
        )
    entry = group.get(name) if link is not None else None
    if not isinstance(entry, kind):
        raise DataError(
            f"{path}: expected a {kind.__name__.lower()} {name} in {group.name}, found "
            f"{'none' if entry is None else 'another entry'}; the file is damaged, or of another tool"
        )
    return entry


def _class_name(path: Path, group: Any) -> str:
    import h5py

    entry = _get_entry(path, group, "TransformType", h5py.Dataset)
    _require_inside(path, entry)
    text_type = h5py.check_string_dtype(entry.dtype)
    if entry.size != 1 or text_type is None or (text_type.length or 0) > MAX_NAME:
        raise DataError(f"{path}: expected one class name in {entry.name}, found {entry.size} of type {entry.dtype}")
    value = _read_heap_text(path, entry) if text_type.length is None else bytes(np.asarray(entry[()]).reshape(-1)[0])
    return value.rstrip(b"\0").decode("utf-8", errors="replace")


def _read_heap_text(path: Path, entry: Any) -> bytes:
    """Read a text of variable length without HDF5, which allocates any damaged length, or does not terminate.

    The data set stores the length of the text, the address of a global heap, and the number of an object in it. The
    heap stores its own length; each object has its number (2 bytes) and its length (8 bytes, from the ninth byte on)
    before its contents. Source: HDF5 File Format Specification 3.0, III.E and IV.A.2.
    """
    offset, size = entry.id.get_offset(), path.stat().st_size
    if offset is not None:
        with open(path, "rb") as file:
            file.seek(offset)
            length, address, object_number = struct.unpack("<IQI", file.read(16).ljust(16, b"\0"))
            file.seek(min(address, size))
            start = file.read(16)
            end = int.from_bytes(start[8:], "little") if start.startswith(b"GCOL") else 0
            heap = start + file.read(end - 16) if 16 <= end <= size - address else b""
        position = 16
        while position + 16 <= len(heap):
            number, stored = struct.unpack_from("<H6xQ", heap, position)
            if number == object_number and length <= min(stored, MAX_NAME, len(heap) - position - 16):
                return heap[position + 16 : position + 16 + length]
            if number == 0 or stored > len(heap):
                break
            position += 16 + (stored + 7) // 8 * 8
    raise DataError(f"{path}: expected a class name in {entry.name}, found no text in the file; the file is damaged")


def _number_dataset(path: Path, group: Any, what: str) -> Any:
    """Return the data set of one axis of real numbers, verified but not yet read."""
    import h5py

    name = next((prefix + what for prefix in PREFIXES if prefix + what in group), PREFIXES[0] + what)
    entry = _get_entry(path, group, name, h5py.Dataset)
    _require_inside(path, entry)
    if entry.shape is None or len(entry.shape) != 1 or entry.dtype.kind != "f":
        raise DataError(f"{path}: expected real numbers in {entry.name}, found {entry.dtype} of shape {entry.shape}")
    stored = entry.id.get_storage_size()
    if entry.size * entry.dtype.itemsize > stored * MAX_RATIO:
        raise DataError(
            f"{path}: expected {entry.size} numbers in {entry.name}, found {stored} bytes; the file is incomplete, "
            "copy it again"
        )
    return entry


def _fixed_parameters(path: Path, kind: MemberType, group: Any) -> Vector:
    entry = _number_dataset(path, group, "FixedParameters")
    if entry.size > MAX_FIXED:
        raise DataError(f"{path}: expected at most {MAX_FIXED} fixed parameters of {kind.name}, found {entry.size}")
    return np.asarray(entry, dtype=np.float64)


def _require_inside(path: Path, entry: Any) -> None:
    """Raise `DataError` when the numbers of a data set are stored in other files."""
    if entry.external or entry.is_virtual:
        raise DataError(f"{path}: expected the numbers of {entry.name} in the file itself, found them in other files")


def _require_complete(path: Path) -> None:
    """Raise `DataError` unless the file is HDF5 and as long as its superblock states."""
    size = require_file(path).stat().st_size
    with open(path, "rb") as file:
        start = file.read(64)
    if not start.startswith(HDF5_SIGNATURE):
        raise DataError(f"{path}: expected an HDF5 file, found other contents; has the file the wrong suffix?")
    offset = HDF5_END.get(start[8]) if len(start) == 64 else None
    expected = int.from_bytes(start[offset : offset + 8], "little") if offset else 64
    if size < expected:
        raise DataError(
            f"{path}: expected at least {expected} bytes, found {size}; the file is incomplete, copy it again"
        )
