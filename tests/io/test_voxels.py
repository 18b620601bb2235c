"""Which type voxels are held in, and which they are written in."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.io.voxels import Scaling, encoded, file_type, held_voxels, slabs


@pytest.mark.parametrize(
    ("stored", "values", "held", "remembered"),
    [
        ("uint8", [0, 255], torch.uint8, None),
        ("int8", [-128, 127], torch.int8, None),
        ("int16", [-32768, 32767], torch.int16, None),
        ("int32", [-(2**31), 2**31 - 1], torch.int32, None),
        (">i2", [-300, 300], torch.int16, None),
        ("uint16", [0, 32767], torch.int16, "uint16"),
        ("uint16", [0, 32768], torch.int32, "uint16"),
        (">u2", [1, 258], torch.int16, "uint16"),
        ("uint32", [0, 2**31 - 1], torch.int32, "uint32"),
        ("uint32", [0, 2**31], torch.int64, "uint32"),
        ("int64", [-5, 7], torch.int32, "int64"),
        ("int64", [-5, 2**40], torch.int64, None),
        ("uint64", [0, 2**63], torch.float32, "uint64"),
        ("float32", [0.25, -1e30], torch.float32, None),
        (">f4", [0.25, 3.5], torch.float32, None),
        ("float64", [0.25, 0.5], torch.float32, "float64"),
        ("bool", [False, True], torch.uint8, None),
    ],
)
def test_held_type(stored: str, values: list[float], held: torch.dtype, remembered: str | None) -> None:
    array = np.array([values, values[::-1]], stored, order="F")
    data, name = held_voxels(array.copy(order="F"))
    assert (data.dtype, name) == (held, remembered)
    np.testing.assert_array_equal(data.numpy().astype(array.dtype), array)


@pytest.mark.parametrize(
    ("stored", "values", "scaling", "held", "expected"),
    [
        ("int16", [0, 4095], Scaling(1, -1024), torch.int16, [-1024, 3071]),
        ("uint16", [0, 4095], Scaling(1, -1024), torch.int16, [-1024, 3071]),
        ("uint8", [0, 255], Scaling(2, -1000), torch.int16, [-1000, -490]),
        ("uint8", [0, 255], Scaling(1, 0), torch.uint8, [0, 255]),
        ("int16", [-32768, 32767], Scaling(1, -1024), torch.int32, [-33792, 31743]),
        ("int16", [0, 100], Scaling(-1, 0), torch.int16, [0, -100]),
        ("int16", [0, 100], Scaling(0.5, 0), torch.float32, [0, 50]),
        ("int16", [0, 100], Scaling(1, 0.25), torch.float32, [0.25, 100.25]),
        ("float64", [0.5, 1], Scaling(2, 1), torch.float32, [2, 3]),
    ],
)
def test_scaled_voxels(
    stored: str, values: list[float], scaling: Scaling, held: torch.dtype, expected: list[float]
) -> None:
    data, name = held_voxels(np.array([values], stored, order="F"), scaling)
    assert data.dtype == held
    assert name is None
    assert data.tolist() == [expected]


def test_memory_is_shared_where_the_size_is_the_same() -> None:
    for stored, scaling in (("int16", Scaling()), ("uint16", Scaling()), ("int16", Scaling(1, -1024))):
        array = np.full((4, 3), 7, stored, order="F")
        data, _ = held_voxels(array, scaling)
        assert data.data_ptr() == array.ctypes.data


@given(st.integers(1, 40), st.integers(1, 60))
def test_slabs_cover_the_last_axis_once(rows: int, last: int) -> None:
    covered = [i for start, stop in slabs((rows * 50_000, last)) for i in range(start, stop)]
    assert covered == list(range(last))


def test_slabs_are_about_a_million_voxels() -> None:
    assert list(slabs((1000, 500, 5))) == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        (torch.tensor([-3, 70000], dtype=torch.int32), "uint16", [0, 65535]),
        (torch.tensor([-3, 700], dtype=torch.int16), "uint8", [0, 255]),
        (torch.tensor([-3, 700], dtype=torch.int16), "uint16", [0, 700]),
        (torch.tensor([-0.6, 1.5, 2.5, 300.0]), "int8", [-1, 2, 2, 127]),
        (torch.tensor([3e9, -3e9]), "int32", [2**31 - 1, -(2**31)]),
        (torch.tensor([True, False]), "uint8", [1, 0]),
        (torch.tensor([0.5], dtype=torch.bfloat16), "float32", [0.5]),
    ],
)
def test_encoding_rounds_and_clamps(data: torch.Tensor, dtype: str, expected: list[float]) -> None:
    written = encoded(data, np.dtype(dtype))
    assert written.dtype == dtype
    assert written.tolist() == expected


def test_types_that_files_lack_are_replaced() -> None:
    assert [file_type(n).name for n in ("bool", "float16", "bfloat16", "uint16")] == [
        "uint8",
        "float32",
        "float32",
        "uint16",
    ]
