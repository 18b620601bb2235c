"""Conversion of voxels to the type of a file, and values that the type cannot represent."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from nephi.errors import DataError, DataWarning
from nephi.geometry import Grid
from nephi.images import Image
from nephi.images.encoding import encode_voxels, file_type
from nephi.io import write_image


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        (torch.tensor([-3, 70000], dtype=torch.int32), "uint16", [0, 65535]),
        (torch.tensor([-3, 700], dtype=torch.int16), "uint8", [0, 255]),
        (torch.tensor([-3, 700], dtype=torch.int16), "uint16", [0, 700]),
        (torch.tensor([-0.6, 1.5, 2.5, 300.0]), "int8", [-1, 2, 2, 127]),
        (torch.tensor([3e9, -3e9]), "int32", [2**31 - 1, -(2**31)]),
        (torch.tensor([2.0**70, -1.0]), "int64", [2**63 - 1024, -1]),
        (torch.tensor([2.0**70, -1.0]), "uint64", [2**64 - 2048, 0]),
        (torch.tensor([2**62 + 1, -1]), "uint64", [2**62 + 1, 0]),
    ],
)
def test_encoding_rounds_and_clamps(data: torch.Tensor, dtype: str, expected: list[float]) -> None:
    with pytest.warns(DataWarning, match=rf"x\.nii: expected .* to write as {dtype}, found .*: (rounded|clamped)"):
        written = encode_voxels(data, np.dtype(dtype), "x.nii")
    assert written.dtype == dtype
    assert written.tolist() == expected


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        (torch.tensor([True, False]), "uint8", [1, 0]),
        (torch.tensor([0.5], dtype=torch.bfloat16), "float32", [0.5]),
        (torch.tensor([614_454_277.0], dtype=torch.float64), "uint32", [614_454_277]),
        (torch.tensor([2**40 + 1]), "float64", [2**40 + 1]),
        (torch.tensor([0.1, float("inf")], dtype=torch.float64), "float32", [float(np.float32(0.1)), float("inf")]),
    ],
)
def test_representable_values_give_no_warning(data: torch.Tensor, dtype: str, expected: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode_voxels(data, np.dtype(dtype)).tolist() == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64"])
def test_nan_in_an_integer_type_is_refused(value: float, dtype: str) -> None:
    with pytest.raises(DataError, match=rf"x\.nii: expected finite voxels to write as {dtype}"):
        encode_voxels(torch.tensor([0.0, value]), np.dtype(dtype), "x.nii")


def test_finite_voxels_do_not_become_infinite() -> None:
    with pytest.raises(DataError, match=r"x\.nii: expected voxels in the range of float32"):
        encode_voxels(torch.tensor([1e300], dtype=torch.float64), np.dtype("float32"), "x.nii")


def test_whole_numbers_that_a_float_type_rounds() -> None:
    with pytest.warns(DataWarning, match=r"x\.nii: expected whole numbers that float32 represents exactly"):
        encode_voxels(torch.tensor([2**24 + 1]), np.dtype("float32"), "x.nii")


def test_no_file_is_left_if_its_type_cannot_represent_the_voxels(tmp_path: Path) -> None:
    image = Image(torch.full((2, 2), torch.nan), Grid.from_spacing((2, 2), (1.0, 1.0)), stored_type="int16")
    for name in ("a.nii", "a.nii.gz", "a.mha"):
        with pytest.raises(DataError, match=rf"{name}: expected finite voxels"):
            write_image(image, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_file_types_of_bool_and_half_floats() -> None:
    assert [file_type(n).name for n in ("bool", "float16", "bfloat16", "uint16")] == [
        "uint8",
        "float32",
        "float32",
        "uint16",
    ]
