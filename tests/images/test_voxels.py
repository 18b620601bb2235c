"""Types of voxels in memory."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import DataError
from nephi.images.voxels import Scaling, slab_to_tensor, slabs, voxels_to_tensor


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
        ("uint64", [0, 2**31 - 1], torch.int32, "uint64"),
        ("uint64", [1, 2**63 - 1], torch.int64, "uint64"),
        ("float32", [0.25, -1e30], torch.float32, None),
        (">f4", [0.25, 3.5], torch.float32, None),
        ("float64", [0.25, 0.5], torch.float32, "float64"),
        ("float64", [float("nan"), 2**24], torch.float32, "float64"),
        ("float64", [614_454_277, 614_454_278], torch.float64, None),
        (">f8", [614_454_277, float("nan")], torch.float64, None),
        ("float64", [-(2**24) - 1, float("inf")], torch.float64, None),
        ("float64", [0.5, 1e300], torch.float64, None),
        ("bool", [False, True], torch.uint8, None),
    ],
)
def test_memory_type(stored: str, values: list[float], held: torch.dtype, remembered: str | None) -> None:
    array = np.array([values, values[::-1]], stored, order="F")
    data, name = voxels_to_tensor(array.copy(order="F"))
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
        ("float32", [614_454_272, 1], Scaling(1, 5), torch.float64, [614_454_277, 6]),
        ("int32", [614_454_277, 1], Scaling(1, 0.5), torch.float32, [614_454_272, 1.5]),
        ("int32", [614_454_277, 2], Scaling(0.5, 0.5), torch.float64, [307_227_139, 1.5]),
        ("int64", [2**60 + 1, 1], Scaling(1, 1), torch.int64, [2**60 + 2, 2]),
        ("int64", [2**60 + 1, 1], Scaling(-3, 0), torch.int64, [-3 * 2**60 - 3, -3]),
        ("uint64", [2**63 + 1, 2**63], Scaling(1, -(2**52)), torch.int64, [2**63 + 1 - 2**52, 2**63 - 2**52]),
        ("uint8", [0, 3], Scaling(2.0**70, 0), torch.float32, [0, 3 * 2.0**70]),
    ],
)
def test_scaled_voxels(
    stored: str, values: list[float], scaling: Scaling, held: torch.dtype, expected: list[float]
) -> None:
    data, name = voxels_to_tensor(np.array([values], stored, order="F"), scaling)
    assert data.dtype == held
    assert name is None
    assert data.tolist() == [expected]


def test_intensities_are_rounded_to_float32() -> None:
    data, name = voxels_to_tensor(np.array([0.1, 20_000_000.3]))
    assert (data.dtype, name) == (torch.float32, "float64")


def test_whole_numbers_that_no_type_represents_are_refused() -> None:
    with pytest.raises(DataError, match=r"below 2\^63, found 18446744073709551615"):
        voxels_to_tensor(np.array([0, 2**64 - 1], "uint64"))
    with pytest.raises(DataError, match=r"below 2\^63"):
        slab_to_tensor(np.array([0, 2**63], "uint64"), Scaling())


@pytest.mark.parametrize(
    ("stored", "scaling", "held", "remembered"),
    [
        ("uint8", Scaling(), torch.uint8, None),
        ("uint16", Scaling(), torch.int32, "uint16"),
        ("uint32", Scaling(), torch.int64, "uint32"),
        ("uint64", Scaling(), torch.int64, "uint64"),
        ("float32", Scaling(), torch.float32, None),
        ("float64", Scaling(), torch.float64, None),
        ("int16", Scaling(1, -1024), torch.int32, None),
        ("int16", Scaling(0.5, 0), torch.float32, None),
        ("int32", Scaling(0.5, 0), torch.float64, None),
    ],
)
def test_volumes_of_a_series_have_a_type_for_all_values(
    stored: str, scaling: Scaling, held: torch.dtype, remembered: str | None
) -> None:
    data, name = slab_to_tensor(np.array([0, 100], stored), scaling)
    assert (data.dtype, name) == (held, remembered)
    assert data.tolist() == [scaling.intercept, 100 * scaling.slope + scaling.intercept]


def test_memory_is_shared_where_the_size_is_the_same() -> None:
    for stored, scaling in (("int16", Scaling()), ("uint16", Scaling()), ("int16", Scaling(1, -1024))):
        array = np.full((4, 3), 7, stored, order="F")
        data, _ = voxels_to_tensor(array, scaling)
        assert data.data_ptr() == array.ctypes.data


@given(st.integers(1, 40), st.integers(1, 60))
def test_slabs_cover_the_last_axis_once(rows: int, last: int) -> None:
    covered = [i for start, stop in slabs((rows * 50_000, last)) for i in range(start, stop)]
    assert covered == list(range(last))


def test_slabs_are_about_a_million_voxels() -> None:
    assert list(slabs((1000, 500, 5))) == [(0, 2), (2, 4), (4, 5)]
