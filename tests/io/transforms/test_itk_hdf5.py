"""ITK's transform files in HDF5: damaged and hostile files are errors that name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.io import read_foreign_transform
from nephi.transforms import AffineTransform

from .itk_files import FIXED_3D, MATRIX, refused

Change = Callable[[h5py.File, Path], Any]
GROUP = "TransformGroup/0/"
NUMBERS = GROUP + "TransformParameters"


def replaced(name: str, **how: Any) -> Change:
    def change(file: h5py.File, _: Path) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return change


def linked(make: Callable[[Path], Any], name: str = NUMBERS) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        del file[name]
        file[name] = make(folder)

    return change


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout(shape=(12,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), NUMBERS, shape=(12,))
    del file[NUMBERS]
    file.create_virtual_dataset(NUMBERS, layout)


def external(file: h5py.File, folder: Path) -> None:
    del file[NUMBERS]
    file.create_dataset(NUMBERS, shape=(12,), dtype="f8", external=[(str(folder / "other.bin"), 0, 96)])


def unwritten(file: h5py.File, _: Path) -> None:
    del file[NUMBERS]
    file.create_dataset(NUMBERS, shape=(12,), dtype="f8", chunks=(12,))


def renumbered(file: h5py.File, _: Path) -> None:
    file.move("TransformGroup/0", "TransformGroup/1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(NUMBERS, data=np.zeros(0)), "expected 12 parameters of AffineTransform in 3-D, found 0"),
        (replaced(NUMBERS, data=np.zeros(11)), "expected 12 parameters of AffineTransform in 3-D, found 11"),
        (replaced(NUMBERS, data=np.full(12, np.nan)), "expected finite parameters of AffineTransform"),
        (replaced(NUMBERS, data=np.zeros((12, 1))), r"expected real numbers in .*, found float64 of shape \(12, 1\)"),
        (replaced(NUMBERS, data=np.arange(12)), "expected real numbers in .*, found int64"),
        (replaced(NUMBERS, data=h5py.Empty("f8")), "expected real numbers in .*, found float64 of shape None"),
        (replaced(NUMBERS, data=b"text"), "expected real numbers"),
        (replaced(GROUP + "TransformFixedParameters", data=np.zeros(2)), "expected 3 fixed parameters .* found 2"),
        (replaced(GROUP + "TransformFixedParameters", data=np.zeros(10**6)), "at most 18 fixed parameters"),
        (replaced(GROUP + "TransformType", data=["a", "b"]), "expected one class name"),
        (replaced(GROUP + "TransformType", data=1.0), "expected one class name"),
        (replaced(GROUP + "TransformType", data="nonsense"), "expected a class such as"),
        (replaced(GROUP + "TransformType", data="ThinPlateSplineKernelTransform_double_3_3"), "found a ThinPlate"),
        (
            lambda file, _: file.__delitem__(NUMBERS),
            "expected a dataset TransformParameters in /TransformGroup/0, found none",
        ),
        (lambda file, _: file.__delitem__("TransformGroup"), "expected a group TransformGroup in /, found none"),
        (replaced("TransformGroup", data=1.0), "expected a group TransformGroup in /, found another entry"),
        (lambda file, _: file["TransformGroup"].create_group("x"), "numbered from 0 in TransformGroup, found 2"),
        (renumbered, "numbered from 0 in TransformGroup, found 1"),
        (
            linked(lambda folder: h5py.ExternalLink(str(folder / "other.h5"), NUMBERS)),
            "found a link to the file .*other",
        ),
        (linked(lambda folder: h5py.ExternalLink("/dev/zero", "/x"), "TransformGroup"), "link to the file /dev/zero"),
        (
            linked(lambda _: h5py.SoftLink("/TransformGroup/0/TransformFixedParameters")),
            "found a link to /TransformGroup",
        ),
        (linked(lambda _: h5py.SoftLink("/TransformGroup"), "TransformGroup/0"), "found a link to /TransformGroup"),
        (virtual, "expected the numbers of .* in the file itself, found them in other files"),
        (external, "expected the numbers of .* in the file itself, found them in other files"),
        (unwritten, "expected 12 numbers in .*, found 0 bytes"),
    ],
)
def test_hdf5(tmp_path: Path, change: Change, message: str) -> None:
    path = tmp_path / "a.h5"
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    (tmp_path / "other.h5").write_bytes(path.read_bytes())
    (tmp_path / "other.bin").write_bytes(np.eye(3).tobytes() + bytes(24))
    read_foreign_transform(path)
    with h5py.File(path, "r+") as file:
        change(file, tmp_path)
    refused(path, message)


def test_a_huge_grid_in_a_small_file(tmp_path: Path) -> None:
    """Chunks that were not written would be read as 24 TB of zeros."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[GROUP + "TransformType"] = ["DisplacementFieldTransform_double_3_3"]
        file[GROUP + "TransformFixedParameters"] = [1e4, 1e4, 1e4, *FIXED_3D[3:]]
        file.create_dataset(NUMBERS, (3 * 10**12,), "f8", chunks=(10**6,), compression="gzip")
    refused(tmp_path / "a.h5", "expected 3000000000000 numbers")


def test_the_spelling_of_itk_4(tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.TranslationTransform(3, (1, 2, 3)), str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for what in ("Parameters", "FixedParameters"):
            file.move(f"{GROUP}Transform{what}", f"{GROUP}Tranform{what}")
    read = read_foreign_transform(tmp_path / "a.h5")
    assert isinstance(read, AffineTransform)
    assert read.matrix[:3, 3].tolist() == [-1, -2, 3]


@pytest.mark.parametrize("part", ["length", "heap", "heap size", "object size"])
def test_hdf5_text_beyond_the_file(tmp_path: Path, part: str) -> None:
    """HDF5 would allocate 1.5 GB, or not terminate."""
    path = tmp_path / "a.h5"
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    read_foreign_transform(path)
    with h5py.File(path) as file:
        position = file["TransformGroup/0/TransformType"].id.get_offset()
    data = bytearray(path.read_bytes())
    heap = int.from_bytes(data[position + 4 : position + 12], "little")
    at, count, value = {
        "length": (position, 4, 0x5FFFFFFF),
        "heap": (position + 4, 8, 0x5FFFFFFF),
        "heap size": (heap + 8, 8, 0x5FFFFFFF),
        "object size": (heap + 24, 8, 2**64 - 16),
    }[part]
    data[at : at + count] = value.to_bytes(count, "little")
    path.write_bytes(data)
    refused(path, "expected a class name in /TransformGroup/0/TransformType, found no text in the file")


def test_a_damaged_length_of_a_name_takes_no_memory(tmp_path: Path) -> None:
    """HDF5 would allocate the 3 GB that the file states."""
    path = tmp_path / "a.h5"
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    with h5py.File(path) as file:
        offset = file[GROUP + "TransformType"].id.get_offset()
    contents = bytearray(path.read_bytes())
    contents[offset : offset + 4] = (3 * 10**9).to_bytes(4, "little")
    path.write_bytes(contents)
    refused(path, r"expected a class name in /TransformGroup/0/TransformType, found no text in the file")
    with h5py.File(path, "r+") as file:
        del file[GROUP + "TransformType"]
        file.create_dataset(GROUP + "TransformType", data=np.array([b"x" * 1000]))
    refused(path, "expected a class such as AffineTransform_double_3_3, found 'xxx")


def test_class_names_of_a_fixed_length(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    with h5py.File(path, "r+") as file:
        del file[GROUP + "TransformType"]
        file.create_dataset(GROUP + "TransformType", data=np.array([b"AffineTransform_double_3_3"]))
    assert isinstance(read_foreign_transform(path), AffineTransform)


@pytest.mark.parametrize("dtype", [">f8", "<f4", ">f4", "<f2", "longdouble"])
@pytest.mark.parametrize("name", ["DisplacementFieldTransform", "BSplineTransform", "AffineTransform"])
def test_numbers_of_other_types_in_hdf5(tmp_path: Path, name: str, dtype: str) -> None:
    linear = name == "AffineTransform"
    numbers = np.array(MATRIX) if linear else np.arange(192) / 4.0
    fixed = [1.0, 2, 3] if linear else [4.0, 4, 4, *FIXED_3D[3:]]
    moved = []
    for kind in ("f8", dtype):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[GROUP + "TransformType"] = [f"{name}_double_3_3"]
            file[GROUP + "TransformFixedParameters"] = fixed
            file[NUMBERS] = numbers.astype(kind)
        read = read_foreign_transform(tmp_path / "a.h5")
        moved.append(read(torch.tensor([[-1.25, -1.5, 1.75]], dtype=torch.float64)))
    torch.testing.assert_close(moved[0], moved[1])
