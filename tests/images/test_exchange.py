"""Images of numpy, SimpleITK, nibabel and ANTs in memory: positions, axes, types, and what is refused.

The real libraries are the oracles: positions by their own functions, and `read_image` of files that they wrote.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nephi
from nephi import DataError, Grid, Image, UsageError
from nephi.geometry import Plane

TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32")


def oblique(dimension: int, handedness: int = -1) -> Grid:
    """Return a turned, anisotropic, left-handed grid of unequal edges."""
    angles = torch.tensor([0.3, -0.4, 0.7], dtype=torch.float64)
    turns = []
    for axis, angle in enumerate(angles):
        turn = torch.eye(3, dtype=torch.float64)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = angle.cos()
        turn[i, j], turn[j, i] = -angle.sin(), angle.sin()
        turns.append(turn)
    rotation = turns[2] if dimension == 2 else turns[0] @ turns[1] @ turns[2]
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    steps = torch.tensor([1.5 * handedness, 2.0, 0.7][:dimension], dtype=torch.float64)
    affine[:-1, :-1] = rotation[:dimension, :dimension] * steps
    affine[:-1, -1] = torch.tensor([11.0, -23.0, 37.0][:dimension], dtype=torch.float64)
    return Grid((4, 3, 5)[:dimension], affine)


def voxels(grid: Grid, dtype: str = "int16") -> np.ndarray[Any, Any]:
    numbers = np.arange(grid.size).reshape(grid.shape)
    return (numbers % 2 if dtype == "bool" else numbers).astype(dtype)


def assert_same(one: Image, other: Image) -> None:
    assert one.grid.same_as(other.grid, 1e-5)
    assert one.data.dtype == other.data.dtype and torch.equal(one.data, other.data)
    assert one.voxel_type == other.voxel_type


@pytest.mark.parametrize("dimension", [2, 3])
def test_position_of_an_array(dimension: int) -> None:
    grid = oblique(dimension)
    array = voxels(grid)
    image = Image.from_numpy(array, grid.affine.numpy(), name="ct")
    assert image.grid.same_as(grid, 1e-9) and image.name == "ct"
    by_spacing = Image.from_numpy(
        array, spacing=grid.spacing.tolist(), origin=grid.origin.tolist(), direction=grid.direction.numpy()
    )
    assert by_spacing.grid.same_as(grid, 1e-9)
    assert image.data[(1, 2, 3)[:dimension]] == array[(1, 2, 3)[:dimension]]
    assert Image.from_numpy(array, spacing=2).grid.spacing.tolist() == [2.0] * dimension


@pytest.mark.parametrize("dtype", [*TYPES, ">i2", ">f4"])
def test_types_of_arrays_are_kept(dtype: str) -> None:
    array = voxels(oblique(3), dtype)[::-1]
    array.setflags(write=False)
    image = Image.from_numpy(array, spacing=1.0)
    assert image.numpy().dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(image.numpy(), array)
    assert np.array_equal(np.asarray(image), array) and np.asarray(image, dtype=np.float64).dtype == np.float64


def test_float64_is_rounded_to_seven_digits() -> None:
    array = np.random.default_rng(0).normal(size=(3, 4)) * 100
    image = Image.from_numpy(array, spacing=1.0)
    assert image.data.dtype == torch.float32 and image.numpy().dtype == np.float64
    np.testing.assert_allclose(image.numpy(), array, rtol=6e-8)


def test_voxels_are_copied_both_ways() -> None:
    array = voxels(oblique(2))
    image = Image.from_numpy(array, spacing=1.0)
    array[:] = 99
    image.numpy()[:] = 98
    np.asarray(image)[:] = 97
    assert image.data.flatten().tolist() == list(range(12))


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_simpleitk(dimension: int, dtype: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = Image.from_numpy(voxels(oblique(dimension), dtype), oblique(dimension).affine.numpy())
    foreign = image.to_sitk()
    assert foreign.GetDimension() == dimension and sitk.GetArrayFromImage(foreign).dtype == dtype
    index = (2, 1, 3)[:dimension]
    position = image.grid.voxel_to_world_points(torch.tensor(index, dtype=torch.float64)).numpy()
    lps = position * [-1.0, -1.0, 1.0][:dimension]
    np.testing.assert_allclose(foreign.TransformIndexToPhysicalPoint(index), lps, atol=1e-9)
    assert foreign[index] == image.data[index]
    assert_same(Image.from_sitk(foreign), image)
    sitk.WriteImage(foreign, tmp_path / "image.mha")
    assert_same(Image.from_sitk(foreign), nephi.read_image(tmp_path / "image.mha"))


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "float64"])
def test_nibabel(dimension: int, dtype: str, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = Image.from_numpy(voxels(oblique(dimension), dtype), oblique(dimension).affine.numpy())
    foreign = image.to_nibabel()
    assert foreign.get_data_dtype() == dtype and foreign.header["sform_code"] == foreign.header["qform_code"] == 1
    index = (2, 1, 3)[:dimension]
    position = nibabel.affines.apply_affine(foreign.affine, [*index, 0][:3])[:dimension]
    expected = image.grid.voxel_to_world_points(torch.tensor(index, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(position, expected, atol=1e-5)
    assert_same(Image.from_nibabel(foreign), image)
    nibabel.save(foreign, tmp_path / "image.nii")
    assert_same(Image.from_nibabel(nibabel.load(tmp_path / "image.nii")), nephi.read_image(tmp_path / "image.nii"))


def test_nibabel_scales_as_the_header_states(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    foreign = nibabel.Nifti1Image(voxels(oblique(3)), oblique(3).affine.numpy())
    for slope, intercept, dtype in ((1.0, -1024.0, torch.int32), (0.5, 3.0, torch.float32)):
        foreign.header.set_slope_inter(slope, intercept)
        foreign.header.set_data_dtype(np.int16)
        nibabel.save(foreign, tmp_path / "ct.nii")
        image = Image.from_nibabel(nibabel.load(tmp_path / "ct.nii"))
        assert_same(image, nephi.read_image(tmp_path / "ct.nii"))
        assert image.data.dtype.is_floating_point == dtype.is_floating_point
    foreign.header.set_xyzt_units("micron")
    with pytest.warns(nephi.DataWarning, match="micron"):
        spacing = Image.from_nibabel(foreign).grid.spacing
    torch.testing.assert_close(spacing, oblique(3).spacing / 1000)


def test_scaling_of_formats_that_nibabel_applies_itself(tmp_path: Path) -> None:
    """AFNI has one factor for each volume, which nibabel keeps apart from slope and intercept."""
    brikhead = pytest.importorskip("nibabel.brikhead")
    stored = np.arange(24, dtype="<i2").reshape(4, 3, 2)
    attributes = {
        "DATASET_DIMENSIONS": [4, 3, 2, 0, 0],
        "DATASET_RANK": [3, 1, 0, 0, 0],
        "BRICK_TYPES": [1],
        "BRICK_FLOAT_FACS": [0.25],
        "BYTEORDER_STRING": "LSB_FIRST",
        "TYPESTRING": "3DIM_HEAD_ANAT",
        "SCENE_DATA": [0, 0, 0],
        "ORIGIN": [1.0, 2.0, 3.0],
        "DELTA": [1.0, 2.0, 3.0],
        "ORIENT_SPECIFIC": [0, 3, 4],
        "IJK_TO_DICOM_REAL": [1.0, 0, 0, 1, 0, 2, 0, 2, 0, 0, 3, 3],
    }
    (tmp_path / "image.BRIK").write_bytes(stored.tobytes("F"))
    header = brikhead.AFNIHeader(attributes)
    foreign = brikhead.AFNIImage(brikhead.AFNIArrayProxy(str(tmp_path / "image.BRIK"), header), np.eye(4), header)
    image = Image.from_nibabel(foreign)
    np.testing.assert_allclose(image.numpy(), 0.25 * stored)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "float32"])
def test_ants(dimension: int, dtype: str, tmp_path: Path) -> None:
    ants = pytest.importorskip("ants", reason="antspyx is not installed: a double of its images would prove nothing")
    grid = oblique(dimension)
    flip = np.diag([-1.0, -1.0, 1.0][:dimension])
    foreign = ants.from_numpy(
        voxels(grid, dtype),
        origin=tuple((flip @ grid.origin.numpy()).tolist()),
        spacing=tuple(grid.spacing.tolist()),
        direction=flip @ grid.direction.numpy(),
    )
    image = Image.from_ants(foreign)
    assert_same(image, Image.from_numpy(voxels(grid, dtype), grid.affine.numpy()))
    index = (2, 1, 3)[:dimension]
    lps = image.grid.voxel_to_world_points(torch.tensor(index, dtype=torch.float64)).numpy() @ flip
    np.testing.assert_allclose(ants.transform_index_to_physical_point(foreign, index), lps, atol=1e-5)
    assert image.data[index] == foreign[index]
    ants.image_write(foreign, str(tmp_path / "image.nrrd"))
    assert_same(image, nephi.read_image(tmp_path / "image.nrrd"))


def test_a_slice_is_flat_and_returns_to_its_height() -> None:
    sitk = pytest.importorskip("SimpleITK")
    foreign = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(1, 3, 4))
    foreign.SetOrigin((1.0, 2.0, 30.0))
    image = Image.from_sitk(foreign)
    assert image.grid.shape == (4, 3) and image.grid.plane == Plane(30.0, 1.0)
    assert image.to_sitk().GetOrigin() == (1.0, 2.0, 30.0) and image.to_sitk().GetSize() == (4, 3, 1)
    assert Image.from_numpy(np.zeros((4, 3, 1), np.uint8), spacing=1.0).data.shape == (4, 3)


def test_a_sheared_grid_is_refused_by_simpleitk_only() -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    image = Image.from_numpy(voxels(oblique(3)), affine, name="tilted")
    with pytest.raises(DataError, match="tilted: expected perpendicular axes"):
        image.to_sitk()
    pytest.importorskip("nibabel")
    foreign = image.to_nibabel()
    np.testing.assert_allclose(foreign.affine, affine)
    assert foreign.header["qform_code"] == 0


def test_several_components_are_refused() -> None:
    sitk = pytest.importorskip("SimpleITK")
    with pytest.raises(DataError, match=r"image: expected one real number per voxel, got 3 components.*list of one"):
        Image.from_sitk(sitk.Image([4, 3], sitk.sitkVectorUInt8, 3))
    with pytest.raises(UsageError, match="complex numbers"):
        Image.from_sitk(sitk.Image([4, 3], sitk.sitkComplexFloat32))
    with pytest.raises(DataError, match="4-D"):
        Image.from_sitk(sitk.Image([4, 3, 2, 2], sitk.sitkUInt8))
    with pytest.raises(UsageError, match=r"\(4, 3, 2, 3\).*one image for each channel"):
        Image.from_numpy(np.zeros((4, 3, 2, 3)), spacing=1.0)
    nibabel = pytest.importorskip("nibabel")
    with pytest.raises(DataError, match="4-D"):
        Image.from_nibabel(nibabel.Nifti1Image(np.zeros((4, 3, 2, 3), np.uint8), np.eye(4)))
    with pytest.raises(DataError, match="affine"):
        Image.from_nibabel(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), None))
    ants = pytest.importorskip("ants", reason="antspyx is not installed")
    with pytest.raises(DataError, match="3 components"):
        Image.from_ants(ants.from_numpy(np.zeros((4, 3, 2, 3), np.float32), has_components=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected either spacing .* or affine .*, got neither"),
        ({"spacing": 1.0, "affine": np.eye(3)}, "got both"),
        ({"affine": np.eye(4)}, r"affine: expected real numbers of shape \(3, 3\), got \(4, 4\)"),
        ({"affine": "eye"}, "affine: expected a tensor, an array or a list"),
        ({"affine": np.eye(3), "origin": (0, 0)}, "expected only with spacing"),
        ({"spacing": (1.0, 2.0, 3.0)}, r"spacing: expected real numbers of shape \(2,\), got \(3,\)"),
        ({"spacing": (1.0, -2.0)}, "lengths above 0"),
        ({"spacing": None, "affine": np.diag([1.0, 0.0, 1.0])}, "singular"),
        ({"spacing": {1: 2}}, "spacing: expected"),
    ],
)
def test_positions_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, DataError), match=f"^ct: .*{message}"):
        Image.from_numpy(np.zeros((4, 3)), **arguments, name="ct")


@pytest.mark.parametrize(
    "array", [None, [1], np.zeros(3), np.array([[None]]), np.zeros((2, 2), complex), np.array("x")]
)
def test_arrays_that_are_refused(array: Any) -> None:
    with pytest.raises(UsageError, match=r"^image: expected"):
        Image.from_numpy(array, spacing=1.0)


@pytest.mark.parametrize("constructor", [Image.from_sitk, Image.from_nibabel, Image.from_ants])
@pytest.mark.parametrize("value", [None, {}, "file.nii", np.zeros((3, 3)), 1j])
def test_other_objects_are_refused(constructor: Any, value: Any) -> None:
    with pytest.raises(UsageError, match=r"^image: expected an image of"):
        constructor(value)


def test_no_library_is_imported_unless_given() -> None:
    code = """
import sys, numpy, nephi
image = nephi.Image.from_numpy(numpy.zeros((3, 4), "uint8"), spacing=1.0)
image.numpy(), numpy.asarray(image), nephi.io.as_image(image)
print([name for name in ("SimpleITK", "nibabel", "ants") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
